// What a cycle comes to: what happened, when it goes on by itself, and the exit code. Its parts write into it.
import { counted, type Evaluation } from '#manifests/decide';
import { EXIT, type ExitCode } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { isRefusal, type SyncOutcome } from '../poll/index.ts';
import { type Ended, oneLine, type ResultStamp, type RunEnd, type RunStep } from '../run/index.ts';
import type { Agent } from './agent.ts';
import type { Notice } from './notices.ts';
import { noteRun } from './wake.ts';

export interface CycleReport {
  readonly exit: ExitCode;
  readonly at: string;
  /** What happened, a sentence each. */
  readonly says: readonly string[];
  /** What a person has to know although nothing has failed; null when this cycle did not look. */
  readonly notices: readonly Notice[] | null;
  /** When something happens by itself, ms; null when nothing is known to. */
  readonly nextAt: number | null;
  readonly evaluation: Evaluation | null;
  readonly runs: readonly Ended[];
  readonly sync: { readonly kind: SyncOutcome['kind']; readonly changed: boolean; readonly relay: string | null };
}

export class Tally {
  readonly says: string[] = [];
  /** The states before a run: Sync, Evaluate, Wait. */
  readonly trail: RunStep[] = [];
  readonly runs: Ended[] = [];
  notices: readonly Notice[] | null = null;
  /** Relays that have nothing as new as this host holds. */
  lagging: readonly Notice[] = [];
  sync: CycleReport['sync'] = { kind: 'paused', changed: false, relay: null };
  evaluation: Evaluation | null = null;
  nextAt: number | null = null;
  /** The strongest reason for an exit code other than "compliant or not". */
  exit: ExitCode | null = null;
  readonly #agent: Pick<Agent, 'clock' | 'trustedNow' | 'journal'>;

  constructor(agent: Pick<Agent, 'clock' | 'trustedNow' | 'journal'>) {
    this.#agent = agent;
  }

  note(state: RunStep['state'], says: string): void {
    this.trail.push({ state, at: utcSeconds(this.#agent.trustedNow()), says: oneLine(says) });
  }

  stamp(boot: string): ResultStamp {
    return { boot, trustedTime: utcSeconds(this.#agent.trustedNow()), wallTime: utcSeconds(this.#agent.clock.now()) };
  }

  /** Something happens by itself at this moment, milliseconds. */
  soonest(at: number | null): void {
    if (at !== null && at > this.#agent.trustedNow() && (this.nextAt === null || at < this.nextAt)) this.nextAt = at;
  }

  /** Takes in how a run ended. @returns whether the cycle goes on */
  took(ended: RunEnd): boolean {
    if (ended.kind === 'rebooting') {
      this.says.push(ended.says ?? 'the host reboots; the run goes on when it is back');
      this.exit = EXIT.deferred;
      return false;
    }
    if (ended.kind === 'stopped') {
      this.says.push(`stopped in ${ended.state}; the run goes on at the next start`);
      this.exit = EXIT.deferred;
      return false;
    }
    this.runs.push(ended);
    noteRun(this.#agent.journal);
    const { body, outcome } = ended;
    const why = body.error === null ? '' : `: ${body.error.code}: ${oneLine(body.error.message, 300)}`;
    this.says.push(`run ${body.run.slice(0, 8)} ${outcome} (${counted(body.patches.length, 'patch', 'patches')})${why}`);
    if (outcome === 'rolled-back') this.exit = EXIT.rolledBack;
    else if (outcome === 'rollback-failed') this.exit = EXIT.handsNeeded;
    else if (outcome !== 'committed') {
      const refused = body.error !== null && isRefusal({ code: body.error.code });
      this.exit = refused ? EXIT.refused : body.error?.code.startsWith('transfer.') === true ? EXIT.unreachable : EXIT.deferred;
      if (ended.retryAt !== null) this.says.push(`tried again after ${utcSeconds(ended.retryAt)}`);
    }
    this.soonest(ended.retryAt);
    if (body.rebootNeeded.needed) this.says.push(`a reboot is needed: ${body.rebootNeeded.evidence.join('; ')}`);
    return true;
  }

  report(): CycleReport {
    const { evaluation, says, notices, nextAt, runs, sync } = this;
    const did = runs.length > 0 || sync.changed;
    const state = evaluation === null ? EXIT.current : !evaluation.compliant ? EXIT.findings : did ? EXIT.done : EXIT.current;
    const at = utcSeconds(this.#agent.trustedNow());
    return { exit: this.exit ?? state, at, says, notices, nextAt, evaluation, runs, sync };
  }
}
