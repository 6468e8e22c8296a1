// What the fleet has shown, as far as signing needs it: how patches fared in each ring of a rollout, how many hosts a ring has,
// how long a patch takes. Damped, so that signing again does not change a document for a figure that hardly moved.
import { type RingFigures, ringOf } from '#manifests/decide';
import type { Group, Kev, ResolvedBaseline, Rollout, Roster, SignedRollout } from '#manifests/schema';
import type { Knowledge, RunRecord } from '../results/index.ts';

/** Runs of a patch that a figure needs, and how far it must move (a share of the old one) to be signed anew. */
const TIMING = { runs: 3, moves: 0.25, roundSeconds: 5, entries: 20_000 } as const;
const HOSTS_MOVE = 0.1;

/** What a policy is resolved with, beside catalogs and time. */
export interface PolicyFacts {
  readonly kev: Kev | null;
  /** Baselines and groups as they are published, by name. */
  readonly baselines: ReadonlyMap<string, ResolvedBaseline>;
  readonly groups: ReadonlyMap<string, Group>;
  /** How these patches fared in each ring. */
  figures(rollout: Rollout, patches: readonly string[]): RingFigures[];
  /** Hosts in each ring. */
  hosts(rollout: Rollout): ReadonlyMap<string, number>;
  /** Seconds that nine of ten runs of a patch stayed below, by patch. */
  readonly timings: ReadonlyMap<string, { readonly seconds: number; readonly runs: number }>;
}

/** Nothing published, nothing reported. */
export const NO_FACTS: PolicyFacts = {
  kev: null,
  baselines: new Map(),
  groups: new Map(),
  figures: () => [],
  hosts: () => new Map(),
  timings: new Map(),
};

/** What the results store and the roster show. @param runsSince moment of the oldest run that counts */
export function factsOf(
  signed: Pick<PolicyFacts, 'kev' | 'baselines' | 'groups'>,
  roster: Roster,
  knowledge: Knowledge,
  runsSince: string,
): PolicyFacts {
  const ringsOf = (rollout: Rollout) => ringByAgent(rollout, roster, knowledge);
  return {
    ...signed,
    hosts(rollout) {
      const counts = new Map<string, number>();
      for (const ring of ringsOf(rollout).values()) counts.set(ring, (counts.get(ring) ?? 0) + 1);
      return counts;
    },
    figures(rollout, patches) {
      if (patches.length === 0) return [];
      const rings = ringsOf(rollout);
      const figures = new Map<string, { patch: string; ring: string; installed: number; failed: number }>();
      for (const { agent, patch, state } of knowledge.states(patches)) {
        const ring = rings.get(agent);
        const good = state === 'INSTALLED' || state === 'INSTALLED_OTHER';
        if (ring === undefined || !(good || state === 'FAILED' || state === 'ROLLED_BACK')) continue;
        const key = `${ring} ${patch}`;
        const one = figures.get(key) ?? { patch, ring, installed: 0, failed: 0 };
        if (good) one.installed += 1;
        else one.failed += 1;
        figures.set(key, one);
      }
      return [...figures.values()];
    },
    timings: timingsOf(knowledge.runs(runsSince)),
  };
}

/** The ring of each approved agent, by what the roster and its inventory say. */
function ringByAgent({ spec }: Rollout, roster: Roster, knowledge: Knowledge): Map<string, string> {
  const rollout = { rings: spec.rings } as unknown as Pick<SignedRollout, 'rings'>;
  const byLabel = spec.rings.some(({ labels }) => Object.keys(labels).length > 0);
  const found = new Map<string, string>();
  for (const { id, group, site, labels, status } of roster.agents) {
    if (status !== 'approved') continue;
    const own = byLabel ? (knowledge.inventory(id)?.labels ?? {}) : {};
    const ring = ringOf(rollout, { agent: id, group, site: site ?? null, labels: { ...own, ...labels } });
    if (ring !== undefined) found.set(id, ring.name);
  }
  return found;
}

/** Per patch: what committed runs took to install, shared out evenly over the patches of a run. Interrupted runs do not count. */
export function timingsOf(runs: Iterable<RunRecord>): Map<string, { seconds: number; runs: number }> {
  const shares = new Map<string, number[]>();
  for (const { body } of runs) {
    if (body.outcome !== 'committed' || body.resumed > 0 || body.patches.length === 0) continue;
    let ms = 0;
    for (const [index, { state, at }] of body.states.entries()) {
      if (state !== 'Install') continue;
      ms += Math.max(0, Date.parse(body.states[index + 1]?.at ?? body.finished) - Date.parse(at));
    }
    if (ms === 0) continue;
    for (const patch of body.patches) {
      const list = shares.get(patch) ?? [];
      list.push(ms / 1_000 / body.patches.length);
      shares.set(patch, list);
    }
  }
  return new Map(
    [...shares]
      .filter(([, list]) => list.length >= TIMING.runs)
      .map(([patch, list]) => {
        const ordered = list.toSorted((a, b) => a - b);
        const ninth = ordered[Math.ceil(ordered.length * 0.9) - 1] ?? 0; // nearest rank
        const seconds = Math.ceil(ninth / TIMING.roundSeconds) * TIMING.roundSeconds;
        return [patch, { seconds, runs: list.length }] as const;
      }),
  );
}

/** Timings of a group: of its own patches, sorted; what hardly moved stays as it was signed. */
export function groupTimings(
  timings: PolicyFacts['timings'],
  patches: ReadonlySet<string>,
  before: Group['timings'],
): NonNullable<Group['timings']> {
  const known = new Map((before ?? []).map((one) => [one.patch, one]));
  return [...patches]
    .flatMap((patch) => {
      const now = timings.get(patch);
      const then = known.get(patch);
      if (now === undefined) return then ?? [];
      if (then !== undefined && Math.abs(now.seconds - then.seconds) <= then.seconds * TIMING.moves) return then;
      return { patch, ...now };
    })
    .toSorted((a, b) => (a.patch < b.patch ? -1 : 1))
    .slice(0, TIMING.entries);
}

/** Hosts of the rings whose concurrency is given as a number; what hardly moved stays as it was signed. */
export function ringHosts(
  rollout: Rollout,
  counted: ReadonlyMap<string, number>,
  before: SignedRollout | undefined,
): Map<string, number> {
  const found = new Map<string, number>();
  for (const { name, maxConcurrency } of rollout.spec.rings) {
    if (maxConcurrency === undefined || !('hosts' in maxConcurrency)) continue;
    const now = counted.get(name) ?? 0;
    const then = before?.rings.find((ring) => ring.name === name)?.hosts ?? null;
    found.set(name, then !== null && Math.abs(now - then) <= then * HOSTS_MOVE ? then : now);
  }
  return found;
}

/** A rollout as it was last signed, in whichever groups: what any of them has open stays open. */
export function rolloutBefore(name: string, groups: Iterable<Group>): SignedRollout | undefined {
  let merged: SignedRollout | undefined;
  for (const { rollout } of groups) {
    if (rollout?.name !== name) continue;
    if (merged === undefined) {
      merged = rollout;
      continue;
    }
    const opened = [...merged.opened];
    for (const one of rollout.opened) {
      if (!opened.some(({ ring, patch }) => ring === one.ring && patch === one.patch)) opened.push(one);
    }
    const halted = [
      ...merged.halted,
      ...rollout.halted.filter(({ patch }) => !merged?.halted.some((one) => one.patch === patch)),
    ];
    merged = { ...merged, opened, halted };
  }
  return merged;
}
