// Leases on disk: flushed before they are told, so that no restart gives out a slot twice.
import { z } from 'zod';
import type { Clock } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import type { RebootLease } from '#manifests/schema';
import { acquire, type Lease, type LeaseAnswer, type LeaseState, liveLeases, NO_LEASES, release } from './leases.ts';
import { SITE_LIMITS } from './limits.ts';

const ms = z.int().min(0);
const leaseFile = z.strictObject({
  schema: z.literal('patchferry/relay-leases'),
  schemaVersion: z.literal(1),
  /** Milliseconds by the clock of leases, which only runs while the relay does, and by the host's at that moment. */
  now: ms,
  wall: ms,
  /** When leases given before were lost, until all of them have surely ended. */
  lostAt: ms.nullable(),
  leases: z.array(z.strictObject({ id: z.string(), group: z.string(), since: ms, until: ms })),
  given: z.array(z.strictObject({ group: z.string(), at: ms })),
  /** Time of the newest signed request of each agent that changed something lately. */
  asked: z.array(z.strictObject({ id: z.string(), at: ms })),
});

export type StoreAnswer =
  | LeaseAnswer
  /** What was given out before is unknown: nothing new until all of it has ended. */
  | { readonly kind: 'lost'; readonly freeAt: number };

export interface LeaseStore {
  acquire(id: string, group: string, policy: RebootLease): StoreAnswer;
  release(id: string): void;
  /** Leases now, by since; times by the host's clock. */
  held(): Lease[];
  /** Writes now and then how much of the leases has gone, so that a restart does not prolong them by much. */
  tick(): void;
  /** The same, at the end. */
  close(): void;
  /** Whether a signed request of this agent is newer than those before it; notes it if so. */
  isNewer(id: string, at: number): boolean;
}

/** Opens the leases in `file`; none there are no leases. @throws files.unreadable; `acquire` and `release`: files.unwritable */
export function openLeases(file: string, clock: Clock): LeaseStore {
  const read = readLeaseFile(file);
  const started = clock.monotonic();
  // Ends are reckoned by a clock of their own that runs while the relay does: setting the host's clock never ends a lease early,
  // and nobody knows for sure how long a relay was down.
  const base = read?.now ?? 0;
  const now = () => Math.round(base + clock.monotonic() - started);
  const byHost = (moment: number) => clock.now() + moment - now();
  let keptAt = now();
  let state = read?.state ?? NO_LEASES;
  const asked = new Map(read?.asked);
  const lostAt = read === undefined ? base : read.lostAt;

  function keep(next: LeaseState): void {
    const at = now();
    const oldest = clock.now() - 2 * SITE_LIMITS.requestSkewMs;
    for (const [id, time] of asked) if (time < oldest) asked.delete(id);
    const content: z.infer<typeof leaseFile> = {
      schema: 'patchferry/relay-leases',
      schemaVersion: 1,
      now: at,
      wall: clock.now(),
      lostAt,
      leases: liveLeases(next, at),
      given: [...next.given].map(([group, time]) => ({ group, at: time })),
      asked: [...asked].map(([id, time]) => ({ id, at: time })),
    };
    writeFileAtomic(file, `${JSON.stringify(content, null, 1)}\n`, { mode: 0o640 });
    state = next;
    keptAt = at;
  }

  return {
    acquire(id, group, policy) {
      const at = now();
      const { state: next, answer } = acquire(state, { id, group, policy, now: at, renewAfterMs: SITE_LIMITS.renewAfterMs });
      const known = state.leases.some((lease) => lease.id === id && lease.group === group);
      const freeAt = (lostAt ?? Number.NEGATIVE_INFINITY) + policy.ttlMinutes * 60_000;
      if (!known && at < freeAt) return { kind: 'lost', freeAt: byHost(freeAt) };
      if (answer.kind === 'held' && answer.changed) keep(next);
      return answer.kind === 'held' ? { ...answer, until: byHost(answer.until) } : { ...answer, freeAt: byHost(answer.freeAt) };
    },
    release: (id) => keep(release(state, id)),
    held: () =>
      liveLeases(state, now())
        .toSorted((a, b) => a.since - b.since)
        .map((lease) => ({ ...lease, since: byHost(lease.since), until: byHost(lease.until) })),
    tick() {
      if (state.leases.length === 0 && lostAt === null) return;
      if (now() - keptAt >= SITE_LIMITS.renewAfterMs) keep(state);
    },
    close() {
      if (state.leases.length > 0 || lostAt !== null) keep(state);
    },
    isNewer(id, at) {
      if (at <= (asked.get(id) ?? 0)) return false;
      asked.set(id, at);
      return true;
    },
  };
}

interface ReadLeases {
  readonly now: number;
  readonly wall: number;
  readonly lostAt: number | null;
  readonly state: LeaseState;
  readonly asked: ReadonlyArray<readonly [string, number]>;
}

/** Undefined for a file that is there and cannot be understood. */
function readLeaseFile(file: string): ReadLeases | undefined {
  const bytes = readFileBounded(file, SITE_LIMITS.leaseFileBytes);
  if (bytes === undefined) return { now: 0, wall: 0, lostAt: null, state: NO_LEASES, asked: [] };
  try {
    const { now, wall, lostAt, leases, given, asked } = leaseFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    const state = { leases, given: new Map(given.map(({ group, at }) => [group, Math.min(at, now)])) };
    return { now, wall, lostAt, state, asked: asked.map(({ id, at }) => [id, at]) };
  } catch {
    return undefined;
  }
}

/** Leases as last written, for who only looks, by the host's clock; undefined when the file cannot be understood. */
export function readLeases(file: string): Lease[] | undefined {
  const read = readLeaseFile(file);
  if (read === undefined) return undefined;
  const offset = read.wall - read.now;
  const live = liveLeases(read.state, read.now);
  return live.map((lease) => ({ ...lease, since: lease.since + offset, until: lease.until + offset }));
}
