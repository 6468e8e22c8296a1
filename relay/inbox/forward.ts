// Forwarding: every item of the spool to the first next hop that takes it, at least once, in order for each agent. An item
// leaves the spool only when the hop has it durably.
import { isFault, type PatchferryError } from '#manifests/errors';
import type { Log } from '#manifests/platform/log';
import { envelopeHash } from '#manifests/trust';
import type { Delivery, Hop } from './hops.ts';
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

  async function forwardOf(items: readonly SpoolItem[]): Promise<void> {
    for (const [index, item] of items.entries()) {
      options.signal?.throwIfAborted();
      const bytes = spool.read(item);
      const end = await deliver(item, bytes);
      if (end.kind === 'delivered') {
        ledger.add(item.agent, envelopeHash(bytes));
        spool.remove(item);
        counts.delivered += 1;
      } else if (end.kind === 'refused') {
        spool.setAside(item, end.says);
        options.log.error({ item: item.path, reason: end.says }, 'the next hop refuses an item for good');
        counts.refused += 1;
      } else {
        reasons.add(end.says);
        counts.waiting += items.length - index;
        return; // order is kept for each agent
      }
    }
  }

  const groups = [...spool.items('enrolments').map((item) => [item]), ...byAgent(spool.items('results'))].values();
  const worker = async () => {
    for (const items of groups) await forwardOf(items);
  };
  await Promise.all(Array.from({ length: INBOX_LIMITS.parallelAgents }, worker));
  return { ...counts, reasons: [...reasons] };
}

function describe(error: PatchferryError): string {
  return `${error.code}: ${error.message}`;
}

function byAgent(items: readonly SpoolItem[]): SpoolItem[][] {
  return [...Map.groupBy(items, ({ agent }) => agent).values()];
}
