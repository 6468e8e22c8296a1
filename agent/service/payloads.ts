// Payloads of a set, brought here before its window opens: a thin line must not eat the window.
import type { Evaluation } from '#manifests/decide';
import { EXIT, isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { openPayloadStore } from '#manifests/repository';
import { tellAlert } from '../outbox/index.ts';
import { isRefusal, type PolicyView } from '../poll/index.ts';
import { hasHooks, oneLine, RUN_LIMITS, type RunWorld } from '../run/index.ts';
import type { Agent } from './agent.ts';
import type { Tally } from './tally.ts';

interface Fetching {
  readonly agent: Agent;
  readonly view: PolicyView;
  readonly world: RunWorld;
  readonly tally: Tally;
  /** Of the inventory that the decision was made from. */
  readonly boot: string;
  /** News came, or a person asks: what was absent is asked for again. */
  readonly again: boolean;
  readonly signal: AbortSignal;
}

/**
 * Brings the payloads of the set here while a window for downloads is open and no halt stops them. What a relay does not have yet
 * comes when the publisher has fetched it. @returns whether all are here, or the run itself fetches them
 */
export async function bringPayloads(evaluation: Evaluation, fetching: Fetching): Promise<boolean> {
  const { agent, view, world, tally, boot, signal } = fetching;
  const { packages, digest, hooks, mayDownload } = evaluation;
  const { journal, clock } = agent;
  if (packages.length === 0) return true;
  const store = openPayloadStore(agent.places.payloads);
  if (!mayDownload && packages.some(({ sha256, size }) => !store.has(sha256, size))) {
    const says = notNow(evaluation);
    if (!evaluation.windows.download.open) tally.soonest(evaluation.windows.download.opensAt);
    tally.note('Wait', says);
    tally.says.push(says);
    tally.exit ??= EXIT.deferred;
    return false;
  }
  if (packages.some(({ sha256, size }) => !store.has(sha256, size))) {
    const line = await agent.line.now(evaluation.window.open);
    if (!line.payloads) return lineWaits(tally, line.says, line.until);
  }
  // such a hook has its say first, inside the run and with a result of its own (trap 21)
  if (hasHooks([...(view.group?.hooks ?? []), ...hooks], 'pre-download')) return true;
  const name = `payloads:${digest}`;
  if (fetching.again) journal.backOff.clear(name);
  const paused = journal.backOff.get(name);
  if (paused !== undefined && paused.until > clock.now()) {
    tally.soonest(paused.until);
    tally.exit ??= EXIT.deferred;
    tally.says.push(`payloads have not arrived (${oneLine(paused.says, 200)}); asked again after ${utcSeconds(paused.until)}`);
    return false;
  }
  try {
    const began = clock.now();
    await world.fetchPayloads(packages, signal);
    journal.backOff.clear(name);
    // another relay had them: what the first one sent has to be known all the same
    for (const { relay, lastFailure } of agent.relays.report().relays) {
      if (lastFailure === null || Date.parse(lastFailure.at) + 1_000 < began || !isRefusal(lastFailure)) continue;
      const { code, says } = lastFailure;
      tally.says.push(`${relay}: ${code}: ${oneLine(says, 300)}`);
      tellAlert(journal, { code, message: `${relay}: ${says}`, where: null }, tally.stamp(boot), clock.now());
    }
    return true;
  } catch (error) {
    if (signal.aborted || !isFault(error)) throw error;
    if (error.code === 'poll.line-closed') return lineWaits(tally, error.message, null);
    const reasons = error.cause instanceof AggregateError ? (error.cause.errors as unknown[]) : [error];
    const refusal = reasons.find((reason) => isFault(reason) && isRefusal(reason));
    const absent = reasons.every((reason) => isFault(reason, 'transfer.missing'));
    const told = isFault(refusal) ? refusal : error;
    const message = absent ? 'not every payload of the set is at a relay yet' : told.message;
    const code = absent ? 'run.payloads-missing' : told.code;
    if (refusal !== undefined || absent)
      tellAlert(journal, { code, message, where: told.where ?? null }, tally.stamp(boot), clock.now());
    const says = `${code}: ${message}`;
    const { until } = journal.backOff.fail(name, says, clock.now(), RUN_LIMITS.fetchFirstMs, RUN_LIMITS.fetchMostMs);
    tally.soonest(until);
    tally.exit ??= refusal !== undefined ? EXIT.refused : absent ? EXIT.deferred : EXIT.unreachable;
    tally.says.push(`${code}: ${oneLine(message, 300)}; asked again after ${utcSeconds(until)}`);
    return false;
  }
}

function lineWaits(tally: Tally, says: string, until: number | null): false {
  tally.soonest(until);
  tally.note('Wait', says);
  tally.says.push(says);
  tally.exit ??= EXIT.deferred;
  return false;
}

/** Why no payload is fetched now, in words. */
export function notNow({ halts, windows: { download } }: Evaluation): string {
  const halt = halts.find(({ stops }) => stops.includes('download'));
  if (halt !== undefined) return `payloads are not fetched: ${halt.says}`;
  if (download.open || download.opensAt === null)
    return 'payloads are not fetched: no maintenance window for downloads is to come';
  return `payloads are fetched when window ${download.name} opens at ${utcSeconds(download.opensAt)}`;
}
