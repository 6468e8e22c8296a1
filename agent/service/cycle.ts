// One full cycle of an agent: go on with what was interrupted, sync, evaluate, wait or run, tell. The order of the states
// is the transition table's; what a run does inside is in run/.
import type { Evaluation } from '#manifests/decide';
import { evaluate } from '#manifests/decide';
import { EXIT, type ExitCode, isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import type { Inventory } from '#manifests/schema';
import { makeScan, OUTBOX_LIMITS, readEnrolment, sendEnrolment, tellAlert } from '../outbox/index.ts';
import { isRefusal, type PolicyView, type SyncOutcome, syncOnce } from '../poll/index.ts';
import {
  asRunError,
  beginRun,
  type Ended,
  HANDS_NEEDED,
  hasHooks,
  makeOwedReboot,
  oneLine,
  type ResultStamp,
  RUN_LIMITS,
  type RunEnd,
  type RunStep,
  type RunWorld,
  rebootNeed,
  rebootWaits,
  setPause,
  takeUp,
  wantsReboot,
} from '../run/index.ts';
import type { Agent } from './agent.ts';
import { askAgainAt, giveLeaseBack, withLeases } from './lease.ts';
import { sweep } from './sweep.ts';
import { missedBySleep, noteRun } from './wake.ts';
import { decideInput, makeWorld } from './world.ts';

export interface CycleOptions {
  readonly signal: AbortSignal;
  /** By hand: relays that rest are asked all the same. */
  readonly eager: boolean;
  /** No relay is asked: what was verified and fetched before has to do. */
  readonly offline?: boolean | undefined;
  /** By hand: failures, rolled-back sets and their pauses are forgotten first. */
  readonly retry: boolean;
  /** Evaluate only when the poll brought something new, or this moment (ms) has come. */
  readonly onlyAfter?: number | undefined;
  readonly say: (line: string) => void;
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
}

export interface CycleReport {
  readonly exit: ExitCode;
  readonly at: string;
  /** What happened, a sentence each. */
  readonly says: readonly string[];
  /** When something happens by itself, ms; null when nothing is known to. */
  readonly nextAt: number | null;
  readonly evaluation: Evaluation | null;
  readonly runs: readonly Ended[];
  readonly sync: { readonly kind: SyncOutcome['kind']; readonly changed: boolean; readonly relay: string | null };
}

/** Name of the pause between attempts at a reboot that is owed. */
const OWED_REBOOT = 'reboot:owed';

/** Key of the last cycle's summary in the journal. */
export const LAST_CYCLE = 'last-cycle';

/** Runs one cycle. @throws lock.held when another process works on this host's state */
export async function runCycle(agent: Agent, options: CycleOptions): Promise<CycleReport> {
  const lock = takeLock(agent.places.lock, 'agent cycle');
  try {
    const report = await new Cycle(agent, options).run();
    const { exit, at, says, nextAt } = report;
    agent.journal.setMeta(LAST_CYCLE, JSON.stringify({ exit, at, says, nextAt, sync: report.sync.kind }));
    return report;
  } finally {
    lock.release();
  }
}

const STANDING_SAYS: Readonly<Record<PolicyView['standing'], string>> = {
  approved: 'this host is approved',
  unknown: 'this host waits for approval: the publisher has to approve it into the roster',
  revoked: 'this host was revoked by the publisher: it installs nothing and its results are not taken',
};

class Cycle {
  readonly #agent: Agent;
  readonly #options: CycleOptions;
  readonly #world: RunWorld;
  readonly #says: string[] = [];
  readonly #trail: RunStep[] = [];
  readonly #runs: Ended[] = [];
  #view: PolicyView;
  #sync: CycleReport['sync'] = { kind: 'paused', changed: false, relay: null };
  #evaluation: Evaluation | null = null;
  #nextAt: number | null = null;
  /** The strongest reason for an exit code other than "compliant or not". */
  #exit: ExitCode | null = null;

  constructor(agent: Agent, options: CycleOptions) {
    this.#agent = agent;
    this.#options = options;
    this.#view = agent.documents.view(agent.keys?.id ?? null);
    this.#world = withLeases(
      makeWorld(agent, () => this.#view, options),
      agent,
    );
  }

  async run(): Promise<CycleReport> {
    if (this.#options.retry) this.#forget();
    const taken = await takeUp(this.#world);
    if (taken !== undefined && !this.#took(taken)) return this.#report();
    const damaged = this.#view.damaged !== null;
    if (this.#options.offline === true) this.#note('Sync', 'no relay was asked');
    else {
      await this.#poll();
      await giveLeaseBack(this.#agent, this.#view.group, this.#options.signal);
      await this.#tell();
    }
    const quiet = !damaged && this.#options.onlyAfter !== undefined && this.#agent.trustedNow() < this.#options.onlyAfter;
    if (taken === undefined && quiet && !this.#sync.changed) {
      this.#nextAt = this.#options.onlyAfter ?? null;
      return this.#report();
    }
    await sweep(this.#agent, this.#view, this.#world);
    await this.#decideAndRun();
    if (this.#options.offline !== true) await this.#tell();
    return this.#report();
  }

  #forget(): void {
    const { journal } = this.#agent;
    journal.runs.forget();
    for (const kind of ['set:', 'patch:']) for (const { name } of journal.backOff.list(kind)) journal.backOff.clear(name);
    journal.setMeta(HANDS_NEEDED, null);
  }

  #note(state: RunStep['state'], says: string): void {
    this.#trail.push({ state, at: utcSeconds(this.#agent.trustedNow()), says: oneLine(says) });
  }

  #stamp(boot: string): ResultStamp {
    return { boot, trustedTime: utcSeconds(this.#agent.trustedNow()), wallTime: utcSeconds(this.#agent.clock.now()) };
  }

  /** Takes in how a run ended. @returns whether the cycle goes on */
  #took(ended: RunEnd): boolean {
    if (ended.kind === 'rebooting') {
      this.#says.push('the host reboots; the run goes on when it is back');
      this.#exit = EXIT.deferred;
      return false;
    }
    if (ended.kind === 'stopped') {
      this.#says.push(`stopped in ${ended.state}; the run goes on at the next start`);
      this.#exit = EXIT.deferred;
      return false;
    }
    this.#runs.push(ended);
    noteRun(this.#agent.journal);
    const { body, outcome } = ended;
    const why = body.error === null ? '' : `: ${body.error.code}: ${oneLine(body.error.message, 300)}`;
    this.#says.push(`run ${body.run.slice(0, 8)} ${outcome} (${body.patches.length} patches)${why}`);
    if (outcome === 'rolled-back') this.#exit = EXIT.rolledBack;
    else if (outcome === 'rollback-failed') this.#exit = EXIT.handsNeeded;
    else if (outcome !== 'committed') {
      const refused = body.error !== null && isRefusal({ code: body.error.code });
      this.#exit = refused
        ? EXIT.refused
        : body.error?.code.startsWith('transfer.') === true
          ? EXIT.unreachable
          : EXIT.deferred;
      if (ended.retryAt !== null) this.#says.push(`tried again after ${utcSeconds(ended.retryAt)}`);
    }
    this.#soonest(ended.retryAt);
    if (body.rebootNeeded.needed) this.#says.push(`a reboot is needed: ${body.rebootNeeded.evidence.join('; ')}`);
    return true;
  }

  #soonest(at: number | null): void {
    if (at !== null && at > this.#agent.trustedNow() && (this.#nextAt === null || at < this.#nextAt)) this.#nextAt = at;
  }

  async #poll(): Promise<void> {
    const { origins, trust, documents, keys, journal, clock } = this.#agent;
    const outcome = await syncOnce({
      origins,
      trust,
      documents,
      agent: keys?.id ?? null,
      pauses: journal.backOff,
      now: clock.now(),
      eager: this.#options.eager,
      keep: journal.runs.open()?.data.catalogs ?? [],
      signal: this.#options.signal,
    });
    const synced = outcome.kind === 'synced';
    this.#sync = { kind: outcome.kind, changed: synced && outcome.changed, relay: synced ? outcome.origin.name : null };
    for (const { relay, code, message, where } of outcome.kind === 'paused' ? [] : outcome.attempts) {
      this.#says.push(`${relay}: ${code}: ${oneLine(message, 300)}`);
      // a line that is down is no news; bytes that are not genuine are
      if (isRefusal({ code }) && keys !== undefined) {
        tellAlert(journal, { code, message: `${relay}: ${message}`, where }, this.#stamp(await this.#boot()), clock.now());
      }
    }
    if (outcome.kind === 'unreachable') this.#exit ??= EXIT.unreachable;
    if (outcome.kind === 'refused') this.#exit ??= EXIT.refused;
    if (outcome.kind === 'paused') this.#says.push(`every relay rests until ${utcSeconds(outcome.until)} after failures`);
    this.#note(
      'Sync',
      synced ? `${outcome.origin.name}: ${outcome.changed ? 'news' : 'nothing new'}` : `no news: ${outcome.kind}`,
    );
    this.#view = documents.view(keys?.id ?? null);
  }

  async #boot(): Promise<string> {
    return (await this.#inventory()).bootId;
  }

  #found: Inventory | undefined;
  async #inventory(): Promise<Inventory> {
    this.#found ??= await this.#agent.hands.inventory();
    return this.#found;
  }

  async #decideAndRun(): Promise<void> {
    const { keys, trust } = this.#agent;
    if (keys === undefined || this.#view.member === null) {
      const says =
        keys === undefined ? 'this host is not enrolled' : (this.#view.damaged ?? STANDING_SAYS[this.#view.standing]);
      this.#note('Evaluate', says);
      this.#says.push(says);
      this.#exit ??= EXIT.deferred;
      return;
    }
    const evaluation = await this.#evaluateAndScan();
    const delivered = await this.#prefetch(evaluation);
    if (!(await this.#mayRun(evaluation)) || !delivered) return await this.#makeOwedReboot(evaluation);
    const inventory = await this.#inventory();
    const ended = await beginRun(
      {
        evaluation,
        inventory,
        group: this.#view.group,
        catalogs: this.#view.catalogDocuments,
        trail: this.#trail,
      },
      this.#world,
    );
    trust.noteTime(this.#agent.trustedNow());
    if (!this.#took(ended)) return;
    if (ended.kind === 'ended' && ended.outcome === 'committed') await this.#afterCommit(evaluation);
    else await this.#evaluateAndScan();
  }

  /** A reboot that an earlier run could not make: made as soon as window, people and policy let it, and judged like any other. */
  async #makeOwedReboot(evaluation: Evaluation): Promise<void> {
    const { journal } = this.#agent;
    const inventory = await this.#inventory();
    const owed = journal.runs
      .memory()
      .installedByUs.some(({ boot, rebootNeeded }) => rebootNeeded && boot === inventory.bootId);
    if (!owed) journal.backOff.clear(OWED_REBOOT);
    if (!owed || journal.meta(HANDS_NEEDED) !== undefined) return;
    const { group } = this.#view;
    const need = rebootNeed({ world: this.#world, data: { group, rebooted: false, installed: ['deb'] } }, inventory);
    if (!wantsReboot(this.#world, group, need)) return;
    const pause = journal.backOff.get(OWED_REBOOT);
    const paused = pause !== undefined && pause.until > this.#agent.trustedNow();
    const waits = paused
      ? `the last attempt to reboot came to nothing; tried again after ${utcSeconds(pause.until)}`
      : evaluation.mayReboot
        ? await rebootWaits(this.#world, { group }, inventory.zone)
        : 'no window for reboots is open, or a halt stops them';
    if (waits !== undefined) {
      this.#says.push(`a reboot is owed but ${waits}`);
      return;
    }
    const now = this.#agent.trustedNow();
    const tries = { first: RUN_LIMITS.retryFirstMs, most: RUN_LIMITS.retryMostMs };
    journal.backOff.fail(OWED_REBOOT, 'the host did not reboot', now, tries.first, tries.most);
    const request = { evaluation, inventory, group, catalogs: this.#view.catalogDocuments, trail: this.#trail };
    const ended = await makeOwedReboot(request, this.#world);
    if (this.#took(ended)) await this.#evaluateAndScan();
  }

  /** Looks at the host again, tells what it is now, and gives back what no longer has to be kept. */
  async #afterCommit(before: Evaluation): Promise<void> {
    const after = await this.#evaluateAndScan();
    const left = after.install.filter((patch) => before.install.includes(patch));
    if (left.length > 0) this.#says.push(`${left.length} patches of the set are left for the next window`);
    await sweep(this.#agent, this.#view, this.#world);
  }

  async #evaluateAndScan(): Promise<Evaluation> {
    const { journal, trust, clock } = this.#agent;
    this.#found = undefined;
    const inventory = await this.#inventory();
    journal.runs.forgetOtherBoots(inventory.bootId);
    const input = decideInput(this.#agent, this.#view, inventory, journal.runs.memory());
    const slept = missedBySleep(journal, this.#view.group?.windows ?? [], inventory.zone);
    if (slept !== undefined) {
      this.#says.push(slept);
      tellAlert(journal, { code: 'agent.slept', message: slept, where: null }, this.#stamp(inventory.bootId), clock.now());
    }
    const evaluation = evaluate(input);
    this.#evaluation = evaluation;
    this.#note('Evaluate', evaluation.next.says);
    const versions = trust.versions();
    makeScan(journal, {
      inventory,
      evaluation,
      evidence: {
        timestampVersion: versions?.timestamp ?? 0,
        snapshotVersion: versions?.snapshot ?? 0,
        baselines: [...this.#view.baselineDocuments],
        group: this.#view.group?.name ?? null,
        ...input.freshness,
      },
      stamp: this.#stamp(inventory.bootId),
      now: clock.now(),
    });
    const { softExpired, hardExpired, since } = trust.freshness();
    if (softExpired || hardExpired)
      this.#says.push(`the signed documents are ${hardExpired ? 'expired' : 'stale'} since ${since ?? 'an unknown moment'}`);
    if (hardExpired) this.#exit ??= EXIT.refused;
    if (evaluation.next.at !== null) this.#soonest(Date.parse(evaluation.next.at));
    if (!evaluation.window.open) this.#soonest(evaluation.window.opensAt);
    this.#soonest(Number(journal.meta('scan.at') ?? clock.now()) + OUTBOX_LIMITS.scanEveryMs);
    return evaluation;
  }

  /**
   * Brings the payloads of the set here, also before its window opens: a thin line must not eat the window. What a relay
   * does not have yet comes when the publisher has fetched it. @returns whether all are here
   */
  async #prefetch({ packages, digest, hooks }: Evaluation): Promise<boolean> {
    const { journal, clock } = this.#agent;
    if (packages.length === 0) return true;
    // such a hook has its say first, inside the run and with a result of its own (trap 21)
    if (hasHooks([...(this.#view.group?.hooks ?? []), ...hooks], 'pre-download')) return true;
    const name = `payloads:${digest}`;
    if (this.#sync.changed || this.#options.eager) journal.backOff.clear(name);
    const paused = journal.backOff.get(name);
    if (paused !== undefined && paused.until > clock.now()) {
      this.#soonest(paused.until);
      this.#exit ??= EXIT.deferred;
      this.#says.push(
        `payloads have not arrived (${oneLine(paused.says, 200)}); asked again after ${utcSeconds(paused.until)}`,
      );
      return false;
    }
    try {
      await this.#world.fetchPayloads(packages, this.#options.signal);
      journal.backOff.clear(name);
      return true;
    } catch (error) {
      if (this.#options.signal.aborted || !isFault(error)) throw error;
      const reasons = error.cause instanceof AggregateError ? (error.cause.errors as unknown[]) : [error];
      const refusal = reasons.find((reason) => isFault(reason) && isRefusal(reason));
      const absent = reasons.every((reason) => isFault(reason, 'transfer.missing'));
      const told = isFault(refusal) ? refusal : error;
      const message = absent ? 'not every payload of the set is at a relay yet' : told.message;
      const code = absent ? 'run.payloads-missing' : told.code;
      if (refusal !== undefined || absent) {
        tellAlert(journal, { code, message, where: told.where ?? null }, this.#stamp(await this.#boot()), clock.now());
      }
      const { until } = journal.backOff.fail(
        name,
        `${code}: ${message}`,
        clock.now(),
        RUN_LIMITS.fetchFirstMs,
        RUN_LIMITS.fetchMostMs,
      );
      this.#soonest(until);
      this.#exit ??= refusal !== undefined ? EXIT.refused : absent ? EXIT.deferred : EXIT.unreachable;
      this.#says.push(`${code}: ${oneLine(message, 300)}; asked again after ${utcSeconds(until)}`);
      return false;
    }
  }

  /** The state Wait: whether the set may be installed now; says until when not. */
  async #mayRun(evaluation: Evaluation): Promise<boolean> {
    const { journal } = this.#agent;
    const wait = (says: string, exit: ExitCode | null) => {
      this.#note('Wait', says);
      this.#says.push(says);
      if (exit !== null) this.#exit ??= exit;
      return false;
    };
    const hands = journal.meta(HANDS_NEEDED);
    if (hands !== undefined) {
      this.#exit = EXIT.handsNeeded;
      return wait(
        `the rollback of run ${hands.slice(0, 8)} failed: nothing is installed until it was looked at (once --retry, or rollback)`,
        null,
      );
    }
    if (evaluation.next.action !== 'install')
      return wait(evaluation.next.says, evaluation.next.action === 'wait' ? EXIT.deferred : null);
    const pause = journal.backOff.get(setPause(evaluation.digest));
    if (pause !== undefined && pause.until > this.#agent.trustedNow()) {
      this.#soonest(pause.until);
      return wait(
        `the last attempt failed (${oneLine(pause.says, 200)}); tried again after ${utcSeconds(pause.until)}`,
        EXIT.deferred,
      );
    }
    this.#note('Wait', evaluation.next.says);
    return true;
  }

  /** Results out, acks in. Trouble here is never a reason to stop. */
  async #tell(): Promise<void> {
    const { outbox, journal, origins, settings, clock, keys } = this.#agent;
    if (outbox === undefined || keys === undefined) return;
    try {
      if (this.#view.member === null) {
        const enrolment = readEnrolment(settings.stateDir);
        const sentAt = enrolment?.sentAt ?? null;
        const due = enrolment !== undefined && (sentAt === null || clock.now() - Date.parse(sentAt) > OUTBOX_LIMITS.againMs);
        if (due && this.#sync.kind === 'synced') {
          this.#says.push((await sendEnrolment(settings.stateDir, origins, clock.now(), this.#options.signal)).says);
        }
        return;
      }
      if (journal.meta('chain.lost') === undefined || this.#sync.kind === 'synced') {
        const took = outbox.applyAck(this.#view.ack, this.#stamp(await this.#boot()));
        if (took === 'reverted')
          this.#says.push('this machine was put back to an older state; its results go on after the ack');
        if (took === 'fork') this.#says.push('another machine reports under the same identity');
      }
      outbox.seal(this.#view.recipients);
      if (this.#sync.kind !== 'synced') return;
      const { sent, left, says } = await outbox.upload(origins, clock.now(), this.#options.signal);
      if (sent > 0) this.#says.push(`${sent} results sent`);
      if (left > 0 && says !== null) this.#says.push(`${left} results wait: ${says}`);
    } catch (error) {
      if (this.#options.signal.aborted || !isFault(error)) throw error;
      this.#says.push(`results wait: ${error.message}`);
      this.#agent.log.warn({ error: asRunError(error) }, 'results could not be sent');
    }
  }

  #report(): CycleReport {
    const evaluation = this.#evaluation;
    this.#soonest(askAgainAt(this.#agent));
    const did = this.#runs.length > 0 || this.#sync.changed;
    const state = evaluation === null ? EXIT.current : !evaluation.compliant ? EXIT.findings : did ? EXIT.done : EXIT.current;
    return {
      exit: this.#exit ?? state,
      at: utcSeconds(this.#agent.trustedNow()),
      says: this.#says,
      nextAt: this.#nextAt,
      evaluation,
      runs: this.#runs,
      sync: this.#sync,
    };
  }
}
