// What the mirror's signed documents say that this station needs: roster, acks, groups, halts. Decoded once for each that comes.
import { readStop } from '#manifests/decide';
import {
  type Acks,
  type DocumentKind,
  type DocumentOf,
  decodeDocument,
  type Group,
  type RosterAgent,
  type SignedDelegation,
} from '#manifests/schema';
import { currentGeneration, type Generation, mirrorLayout, readCurrentTarget } from '../mirror/index.ts';

export type SignedStop = ReturnType<typeof readStop>;

export interface SignedSource {
  /** Agents by id; undefined before the first sync. */
  roster(): ReadonlyMap<string, RosterAgent> | undefined;
  /** When the roster was signed, `YYYY-MM-DDTHH:MM:SSZ`. */
  rosterSignedAt(): string | undefined;
  /** Up to where the publisher has an agent's results. */
  acks(): ReadonlyMap<string, number>;
  group(name: string): Group | undefined;
  groups(): readonly Group[];
  /** What the relays of a site may do. */
  delegation(site: string): SignedDelegation | undefined;
  /** Halts and recalls that stop something. */
  stops(): readonly SignedStop[];
  generation(): Generation | undefined;
}

const LOOK_MS = 200;

/** @param onError is told of a document that cannot be read; it counts as not there @param monotonic milliseconds */
export function signedSource(mirror: string, onError: (reason: string) => void, monotonic: () => number): SignedSource {
  const layout = mirrorLayout(mirror);
  let generation: Generation | undefined;
  let lookedAt = Number.NEGATIVE_INFINITY;
  const read = new Map<string, { sha256: string; value: unknown }>();

  function current(): Generation | undefined {
    const now = monotonic();
    if (now - lookedAt < LOOK_MS) return generation;
    lookedAt = now;
    try {
      generation = currentGeneration(layout);
    } catch (error) {
      onError((error as Error).message);
    }
    return generation;
  }

  /** The value made of a target's bytes, kept while its hash stays. */
  function made<T>(path: string, make: (bytes: Uint8Array) => T): T | undefined {
    const from = current();
    const sha256 = from?.targets.find((target) => target.path === path)?.sha256;
    if (from === undefined || sha256 === undefined) return undefined;
    const known = read.get(path);
    if (known?.sha256 === sha256) return known.value as T | undefined;
    let value: T | undefined;
    try {
      const bytes = readCurrentTarget(layout, from, path);
      value = bytes === undefined ? undefined : make(bytes);
    } catch (error) {
      onError(`${path}: ${(error as Error).message}`);
    }
    read.set(path, { sha256, value });
    return value;
  }

  const decoded = <K extends DocumentKind>(kind: K, path: string): DocumentOf<K> | undefined =>
    made(path, (bytes) => decodeDocument(kind, bytes, path));
  const ROSTER = 'roster/roster.json.zst';
  let byId: { from: unknown; agents: Map<string, RosterAgent> } | undefined;
  let byAgent: { from: Acks | undefined; sequences: Map<string, number> } | undefined;

  return {
    generation: current,
    roster() {
      const roster = decoded('roster', ROSTER);
      if (roster === undefined) return undefined;
      if (byId?.from !== roster) byId = { from: roster, agents: new Map(roster.agents.map((agent) => [agent.id, agent])) };
      return byId.agents;
    },
    rosterSignedAt: () => decoded('roster', ROSTER)?.signedAt,
    acks() {
      const acks = decoded('acks', 'roster/acks.json.zst');
      if (byAgent === undefined || byAgent.from !== acks)
        byAgent = { from: acks, sequences: new Map(acks?.acks.map(({ agent, sequence }) => [agent, sequence])) };
      return byAgent.sequences;
    },
    group: (name) => decoded('group', `policy/groups/${name}.json.zst`),
    groups() {
      const paths = (current()?.targets ?? []).flatMap(
        ({ path }) => /^policy\/groups\/([^/]+)\.json\.zst$/.exec(path)?.[0] ?? [],
      );
      return paths.flatMap((path) => decoded('group', path) ?? []);
    },
    delegation: (site) => decoded('site-delegation', `policy/sites/${site}.json.zst`),
    stops() {
      const paths = (current()?.targets ?? []).map(({ path }) => path).filter((path) => /^halts\/[^/]+\.json\.zst$/.test(path));
      return paths.flatMap((path) => made(path, (bytes) => readStop(bytes, path)) ?? []);
    },
  };
}
