// The gate: whether this host may be handed over, because it is at the level that signed policy requires of it. For machines that
// were resumed, put back to an older state, or cloned. The verdict is a plain function; passing is the loop around it.
import type { Evaluation } from '#manifests/decide';
import { EXIT, type ExitCode, isFault } from '#manifests/errors';
import { pause, utcSeconds } from '#manifests/platform/clock';
import { HANDS_NEEDED } from '../run/index.ts';
import type { Agent } from './agent.ts';
import { runCycle } from './cycle.ts';
import type { CycleReport } from './tally.ts';
import { noteHandedOver } from './wake.ts';

const GATE_LIMITS = {
  /** Between two looks while it waits, milliseconds: each costs one conditional request. */
  firstPauseMs: 5_000,
  mostPauseMs: 60_000,
  /** Findings that are named. */
  named: 5,
} as const;

export interface GateFacts {
  readonly evaluation: Evaluation | null;
  readonly sync: CycleReport['sync']['kind'];
  /** No relay was to be asked: what was verified last has to do. */
  readonly offline: boolean;
  readonly hardExpired: boolean;
  readonly openRun: boolean;
  readonly handsNeeded: boolean;
}

export interface GateVerdict {
  readonly ready: boolean;
  readonly exit: ExitCode;
  /** Why not; empty when it is ready. */
  readonly says: readonly string[];
  /** When it may be by itself, where that is known. */
  readonly at: string | null;
}

/** Lacking although nothing of policy keeps it off; what policy itself puts off is not required yet. */
function lacking({ findings, held }: Evaluation): string[] {
  const off = new Set(held.map(({ patch, product }) => `${product} ${patch}`));
  return findings.flatMap(({ patch, product, state, compliant }) =>
    compliant || off.has(`${product} ${patch}`) || state === 'PENDING_APPROVAL' || state === 'AVAILABLE_SECURITY_UPDATE'
      ? []
      : [`${patch} is ${state}`],
  );
}

/** Whether a host may pass. Without a poll that came through nobody knows what is required, so it does not. */
export function gateVerdict(facts: GateFacts): GateVerdict {
  const { evaluation, sync } = facts;
  const no = (exit: ExitCode, says: readonly string[], at: string | null = null) => ({ ready: false, exit, says, at });
  if (facts.handsNeeded)
    return no(EXIT.handsNeeded, ['a rollback failed on this host: nothing is installed until it was looked at']);
  if (!facts.offline && sync === 'refused') return no(EXIT.refused, ['what the relays sent is not genuine or not fresh']);
  if (!facts.offline && sync === 'behind')
    return no(EXIT.unreachable, [
      'every relay that answers has an older state than this host: what is required now is not known',
    ]);
  if (!facts.offline && sync !== 'synced')
    return no(EXIT.unreachable, ['no relay could be asked what is required of this host now']);
  if (evaluation === null) return no(EXIT.deferred, ['nothing decides about this host yet: it waits for approval']);
  if (facts.hardExpired)
    return no(EXIT.refused, ['the signed documents have expired: nobody knows what is required of this host now']);
  if (facts.openRun) return no(EXIT.deferred, ['a run is under way']);
  const lacks = lacking(evaluation);
  const { rollback, next } = evaluation;
  if (lacks.length === 0 && rollback === null) return { ready: true, exit: EXIT.done, says: [], at: null };
  const few = lacks.slice(0, GATE_LIMITS.named);
  const more = lacks.length > few.length ? [`and ${lacks.length - few.length} more`] : [];
  const waits = next.action !== 'nothing' || rollback !== null;
  return no(waits ? EXIT.deferred : EXIT.findings, [...few, ...more, next.says], next.at);
}

export interface GateOptions {
  readonly signal: AbortSignal;
  /** How long to bring this host up, milliseconds; 0 looks once and installs nothing. */
  readonly waitMs: number;
  readonly offline: boolean;
  readonly say: (line: string) => void;
}

/** Looks, and while there is time brings the host up as policy lets it, until it may pass. One that passes is handed over. */
export async function passGate(agent: Agent, options: GateOptions): Promise<GateVerdict> {
  const { signal, waitMs, offline, say } = options;
  const until = agent.clock.monotonic() + waitMs;
  let verdict: GateVerdict = { ready: false, exit: EXIT.deferred, says: ['another process is at work'], at: null };
  let rest: number = GATE_LIMITS.firstPauseMs;
  let told = '';
  for (;;) {
    try {
      const report = await runCycle(agent, { signal, eager: true, offline, retry: false, lookOnly: waitMs === 0, say });
      verdict = gateVerdict({
        evaluation: report.evaluation,
        sync: report.sync.kind,
        offline,
        hardExpired: agent.trust.freshness().hardExpired,
        openRun: agent.journal.runs.open() !== undefined,
        handsNeeded: agent.journal.meta(HANDS_NEEDED) !== undefined,
      });
    } catch (error) {
      if (!isFault(error, 'lock.held')) throw error; // the service is bringing it up already
    }
    if (verdict.ready) {
      noteHandedOver(agent.journal);
      return verdict;
    }
    const left = until - agent.clock.monotonic();
    if (left <= 0 || signal.aborted) return verdict;
    const now = verdict.says.join('; ');
    if (now !== told) say(`${utcSeconds(agent.trustedNow())} not ready: ${now}`);
    told = now;
    await pause(Math.min(rest, left), signal).catch(() => undefined);
    if (signal.aborted) return verdict;
    rest = Math.min(rest * 2, GATE_LIMITS.mostPauseMs);
  }
}
