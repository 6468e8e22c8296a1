// Forwarding: every item of the spool to the first next hop that takes it, at least once, in order for each agent. An item
// leaves the spool only when the hop has it durably.
import { isFault, type PatchferryError } from '#manifests/errors';
import type { Log } from '#manifests/platform/log';
import { envelopeHash } from '#manifests/trust';
import { BATCH_LIMITS } from './batch.ts';
import type { Delivery, Hop, Loaded } from './hops.ts';
import type { Ledger } from './ledger.ts';
import { INBOX_LIMITS } from './limits.ts';
import type { Spool, SpoolItem } from './spool.ts';

export interface ForwardReport {
  readonly delivered: number;
  readonly waiting: number;
  readonly refused: number;
  /** Why something waits, each reason once. */
  readonly reasons: readonly string[];
}

const NOT_ANSWERED: Delivery = { kind: 'later', says: 'not answered' };
const STOPPING: Delivery = { kind: 'later', says: 'the relay is stopping' };

/**
 * Tries once to bring everything on. Nothing is thrown for a hop that cannot be reached: the report says so, items stay.
 * @param hops in order of preference; one that fails is left alone for the rest of this call
 */
export async function forwardAll(
  spool: Spool,
  ledger: Ledger,
  hops: readonly Hop[],
  options: { log: Log; signal?: AbortSignal | undefined },
): Promise<ForwardReport> {
  const counts = { delivered: 0, waiting: 0, refused: 0 };
  const reasons = new Set<string>();
  if (hops.length === 0) return { ...counts, reasons: [] };
  const down = new Map<Hop, string>();

  /** To the first hop that is not down; `later` when none is left. */
  async function deliver(item: SpoolItem, bytes: Uint8Array): Promise<Delivery> {
    for (const hop of hops) {
      if (down.has(hop)) continue;
      try {
        return await hop.deliver(item, bytes, options.signal);
      } catch (error) {
        if (!isFault(error)) throw error;
        down.set(hop, describe(error));
      }
    }
    return { kind: 'later', says: [...down.values()].join('; ') };
  }

  /** Of each its end; after one that waits, those of the same agent behind it wait too. */
  async function deliverAll(chunk: readonly Loaded[]): Promise<Delivery[]> {
    if (chunk.length > 1) {
      for (const hop of hops) {
        if (down.has(hop)) continue;
        try {
          const ends = await hop.deliverMany?.(chunk, options.signal);
          if (ends !== undefined) return ends;
          break;
        } catch (error) {
          if (!isFault(error)) throw error;
          down.set(hop, describe(error));
        }
      }
    }
    const ends: Delivery[] = [];
    const held = new Map<string, Delivery>();
    for (const { item, bytes } of chunk) {
      // Told to stop in the middle of a slow folder: what has arrived is noted, the rest is the next start's.
      const end = held.get(item.agent) ?? (options.signal?.aborted === true ? STOPPING : await deliver(item, bytes));
      if (end.kind === 'later') held.set(item.agent, end);
      ends.push(end);
    }
    return ends;
  }

  /** What came of each; what arrived is written down before it leaves the spool, all of them at once. */
  function settle(ended: ReadonlyArray<readonly [Loaded, Delivery]>): void {
    const arrived = ended.flatMap(([each, end]) => (end.kind === 'delivered' ? [each] : []));
    ledger.add(arrived.flatMap(({ item, bytes }) => (item.kind === 'records' ? [] : [envelopeHash(bytes)])));
    for (const { item } of arrived) spool.remove(item);
    counts.delivered += arrived.length;
    for (const [{ item }, end] of ended) {
      if (end.kind === 'delivered') continue;
      if (end.kind === 'refused') {
        spool.setAside(item, end.says);
        options.log.error({ item: item.path, reason: end.says }, 'the next hop refuses an item for good');
        counts.refused += 1;
      } else {
        reasons.add(end.says);
        counts.waiting += 1;
      }
    }
  }

  function loadedOf(item: SpoolItem): Loaded | undefined {
    try {
      return { item, bytes: spool.read(item) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async function forwardLane(items: readonly SpoolItem[]): Promise<void> {
    let rest = items;
    while (rest.length > 0) {
      options.signal?.throwIfAborted();
      const chunk: Loaded[] = [];
      let bytes = 0;
      let looked = 0;
      for (const item of rest.slice(0, BATCH_LIMITS.items)) {
        const loaded = loadedOf(item);
        if (loaded === undefined) {
          looked += 1; // dropped for want of room, or collected, this moment
          continue;
        }
        if (chunk.length > 0 && bytes + loaded.bytes.length > BATCH_LIMITS.plainBytes) break;
        chunk.push(loaded);
        looked += 1;
        bytes += loaded.bytes.length;
      }
      const ends = await deliverAll(chunk);
      const ended = chunk.map((each, index) => [each, ends[index] ?? NOT_ANSWERED] as const);
      settle(ended);
      const held = new Set(ended.flatMap(([{ item }, end]) => (end.kind === 'later' ? [item.agent] : [])));
      const left = rest.slice(looked);
      rest = left.filter(({ agent }) => !held.has(agent)); // order is kept for each agent
      counts.waiting += left.length - rest.length;
    }
  }

  // What relays say goes first, and each alone: a relay of an older version takes none, and must not keep results up.
  for (const item of spool.items('records')) {
    const loaded = loadedOf(item);
    if (loaded !== undefined) settle([[loaded, await deliver(item, loaded.bytes)]]);
  }
  const lanes = lanesOf([...spool.items('enrolments').map((item) => [item]), ...byAgent(spool.items('results'))]).values();
  const worker = async () => {
    for (const items of lanes) await forwardLane(items);
  };
  await Promise.all(Array.from({ length: INBOX_LIMITS.parallelAgents }, worker));
  return { ...counts, reasons: [...reasons] };
}

/** Agents together, so that batches are full; all of one agent are in one lane. */
function lanesOf(groups: readonly (readonly SpoolItem[])[]): SpoolItem[][] {
  const lanes: SpoolItem[][] = [];
  for (const group of groups) {
    const last = lanes.at(-1);
    if (last !== undefined && last.length + group.length <= BATCH_LIMITS.items) last.push(...group);
    else lanes.push([...group]);
  }
  return lanes;
}

function describe(error: PatchferryError): string {
  return `${error.code}: ${error.message}`;
}

function byAgent(items: readonly SpoolItem[]): SpoolItem[][] {
  return [...Map.groupBy(items, ({ agent }) => agent).values()];
}
