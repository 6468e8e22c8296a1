// Rollouts without a server: each host works out from the signed rollout and its own id whether its turn has come. A bucket never
// changes for one id, a ramp never falls, a ring that opened stays open: so a chosen host stays chosen (field guide 8, row 3).
import { hash } from 'node:crypto';
import type { Gate, Rollout, SignedRing, SignedRollout } from '#manifests/schema';
import { hasLabels, type Who } from './targeting.ts';
import { byText, momentOf } from './text.ts';

const HOUR_MS = 3_600_000;

/**
 * Where a host stands in the order of a rollout, in [0, 1): the first 8 bytes of sha256("rollout-v1" ‖ rolloutId ‖ agentId),
 * over 2^64. The last 11 bits are dropped, so that the largest is still less than 1.
 */
export function bucketOf(rolloutId: string, agent: string): number {
  const digest = hash('sha256', `rollout-v1${rolloutId}${agent}`, 'buffer');
  return (digest.readUInt32BE(0) * 0x20_0000 + (digest.readUInt32BE(4) >>> 11)) / 0x20_0000_0000_0000;
}

/** The id hosts are shuffled by for a patch. */
export function shuffleId({ id, canaries }: Pick<SignedRollout, 'id' | 'canaries'>, patch: string): string {
  return canaries === 'same' ? id : `${id}/${patch}`;
}

/** The first ring that takes the host. */
export function ringOf(rollout: Pick<SignedRollout, 'rings'>, who: Who): SignedRing | undefined {
  return rollout.rings.find(
    ({ groups, labels }) =>
      (groups.length === 0 || (who.group !== undefined && who.group !== null && groups.includes(who.group))) &&
      hasLabels(labels, who.labels),
  );
}

type Ramp = Pick<SignedRing, 'ramp' | 'stepped'>;

/** The share, 0 to 1, so many milliseconds after the ring opened. Before the first point nobody. */
export function shareAt({ ramp, stepped }: Ramp, elapsedMs: number): number {
  let share = 0;
  for (const [index, { afterHours, percent }] of ramp.entries()) {
    const from = afterHours * HOUR_MS;
    if (elapsedMs < from) break;
    share = percent / 100;
    const next = ramp[index + 1];
    if (stepped || next === undefined) continue;
    const done = Math.min(1, (elapsedMs - from) / (next.afterHours * HOUR_MS - from));
    share = (percent + (next.percent - percent) * done) / 100;
  }
  return share;
}

/** How long after the ring opened its share exceeds the bucket, in whole seconds; null for never. */
export function reachedAfter(ring: Ramp, bucket: number): number | null {
  for (const [index, { afterHours, percent }] of ring.ramp.entries()) {
    const from = afterHours * HOUR_MS;
    if (bucket < percent / 100) return from;
    const next = ring.ramp[index + 1];
    if (ring.stepped || next === undefined || bucket >= next.percent / 100) continue;
    const length = next.afterHours * HOUR_MS - from;
    let at = from + Math.floor((((bucket * 100 - percent) / (next.percent - percent)) * length) / 1_000) * 1_000;
    while (shareAt(ring, at) <= bucket) at += 1_000; // the first whole second past it
    return at;
  }
  return null;
}

export interface Turn {
  readonly ring: string | null;
  /** When the ring opened or opens for the patch; null while a gate keeps it shut. */
  readonly ringOpensAt: number | null;
  /** When this host's turn is; null when nobody can say yet. */
  readonly at: number | null;
  readonly now: boolean;
  readonly says: string;
}

/**
 * Whether and when a host may take a patch.
 * @param since milliseconds at which the patch was approved @param at milliseconds of trusted time
 * @param ringPercent share a site leaves of what the ramp gives, at most 100
 */
export function turnOf(rollout: SignedRollout, who: Who, patch: string, since: number, at: number, ringPercent = 100): Turn {
  const stopped = rollout.halted.find((one) => one.patch === '*' || one.patch === patch);
  const ring = ringOf(rollout, who);
  if (ring === undefined) {
    const says = `no ring of rollout ${rollout.name} takes this host`;
    return { ring: null, ringOpensAt: null, at: null, now: false, says };
  }
  const opened = ringOpening(rollout, ring, patch, since);
  const about = { ring: ring.name, ringOpensAt: opened };
  if (stopped !== undefined) {
    const says = `rollout ${rollout.name} is halted for it since ${stopped.at}: ${stopped.reason}`;
    return { ...about, at: null, now: false, says };
  }
  if (opened === null) return { ...about, at: null, now: false, says: gateSays(rollout, ring) };
  const bucket = bucketOf(shuffleId(rollout, patch), who.agent);
  const after = reachedAfter(narrowed(ring, ringPercent), bucket);
  const place = `ring ${ring.name} of rollout ${rollout.name}, place ${(bucket * 100).toFixed(2)} of 100`;
  if (after === null) return { ...about, at: null, now: false, says: `${place}: the share never gets that far` };
  const turn = opened + after;
  return {
    ...about,
    at: turn,
    now: at >= turn,
    says: `${place}: its turn ${at >= turn ? 'came' : 'comes'} at ${momentOf(turn)}`,
  };
}

function narrowed(ring: SignedRing, percent: number): Ramp {
  if (percent >= 100) return ring;
  return { stepped: ring.stepped, ramp: ring.ramp.map((point) => ({ ...point, percent: (point.percent * percent) / 100 })) };
}

/** When a ring opens for a patch: so long after the approval, and where it has a gate when that was found passed. */
export function ringOpening(rollout: SignedRollout, ring: SignedRing, patch: string, since: number): number | null {
  const earliest = since + ring.afterHours * HOUR_MS;
  if (ring.gate === null) return earliest;
  const opened = rollout.opened.find((one) => one.ring === ring.name && one.patch === patch);
  return opened === undefined ? null : Math.max(earliest, Date.parse(opened.at));
}

function gateSays(rollout: SignedRollout, ring: SignedRing): string {
  const before = rollout.rings[rollout.rings.indexOf(ring) - 1]?.name ?? '';
  const { minSuccessPercent = 0, minHosts = 0, soakHours = 0 } = ring.gate ?? {};
  return `ring ${ring.name} of rollout ${rollout.name} opens once ring ${before} has shown it on ${minHosts} hosts, ${minSuccessPercent} % of the tries, for ${soakHours} hours, and the publisher has signed that`;
}

/** What became of a patch in a ring, by the results that came home. */
export interface RingFigures {
  readonly patch: string;
  readonly ring: string;
  readonly installed: number;
  /** Failed, or taken back. */
  readonly failed: number;
}

export interface SigningFacts {
  readonly figures: readonly RingFigures[];
  /** Approved patches, and since when (milliseconds). What is not among them is forgotten. */
  readonly since: ReadonlyMap<string, number>;
  /** Hosts in each ring, where they were counted. */
  readonly hosts?: ReadonlyMap<string, number>;
}

/**
 * The rollout as it is signed now: what was open before stays open, gates that have been passed since are opened, halts keep the
 * moment they began at. @param before as it was last signed @param at milliseconds
 */
export function signRollout(
  { metadata, spec }: Rollout,
  before: SignedRollout | undefined,
  facts: SigningFacts,
  at: number,
): SignedRollout {
  const signed: SignedRollout = {
    name: metadata.name,
    id: spec.id ?? metadata.name,
    canaries: spec.canaries,
    rings: spec.rings.map(({ gate, maxConcurrency, ...ring }) => ({
      ...ring,
      gate: gate ?? null,
      maxConcurrency: maxConcurrency ?? null,
      hosts: facts.hosts?.get(ring.name) ?? null,
    })),
    opened: [],
    halted: spec.halt.map(({ patch, reason }) => ({
      patch,
      at: before?.halted.find((one) => one.patch === patch)?.at ?? momentOf(at),
      reason,
    })),
    fuse: spec.fuse ?? null,
  };
  const gated = signed.rings.filter((ring) => ring.gate !== null);
  if (gated.length === 0) return signed;
  const known = new Map((before?.opened ?? []).map((one) => [`${one.ring} ${one.patch}`, one]));
  const figures = new Map(facts.figures.map((one) => [`${one.ring} ${one.patch}`, one]));
  for (const [patch, since] of [...facts.since].toSorted(([a], [b]) => byText(a, b))) {
    for (const ring of gated) {
      const earlier = known.get(`${ring.name} ${patch}`);
      if (earlier !== undefined) {
        signed.opened.push(earlier);
        continue;
      }
      const previous = signed.rings[signed.rings.indexOf(ring) - 1];
      if (previous === undefined || ring.gate === null) continue;
      const from = ringOpening(signed, previous, patch, since);
      const moment = gateOpens(ring.gate, figures.get(`${previous.name} ${patch}`), from, at);
      if (moment !== null) signed.opened.push({ ring: ring.name, patch, at: momentOf(moment) });
    }
  }
  return signed;
}

/** When a gate opens, judged now: success and count must be there; the rest of the soak may still be to come. */
export function gateOpens(
  gate: Gate,
  shown: RingFigures | undefined,
  previousOpenedAt: number | null,
  at: number,
): number | null {
  if (shown === undefined || previousOpenedAt === null || previousOpenedAt > at) return null;
  const { installed, failed } = shown;
  if (installed < gate.minHosts || installed === 0) return null;
  if ((installed * 100) / (installed + failed) < gate.minSuccessPercent) return null;
  const soaked = previousOpenedAt + gate.soakHours * HOUR_MS;
  return Math.max(at, Math.ceil(soaked / 1_000) * 1_000);
}

/** Where a host stands among those of its ring that start in one window, in [0, 1). */
export function staggerPlace(ring: Pick<SignedRing, 'name'>, agent: string): number {
  return bucketOf(`stagger/${ring.name}`, agent);
}

/**
 * When in a window this host starts, so that no more than the ring's share runs at once: hosts are spread over as many turns as
 * that takes, each as long as a run. A hint: when the window is too short for so many turns, more run together.
 * @param place of `staggerPlace`
 */
export function staggeredStart(
  { maxConcurrency: limit, hosts }: Pick<SignedRing, 'maxConcurrency' | 'hosts'>,
  place: number,
  window: { readonly opensAt: number; readonly startsUntil: number },
  runMs: number,
): number {
  if (limit === null || runMs <= 0) return window.opensAt;
  const turns = 'percent' in limit ? Math.ceil(100 / limit.percent) : hosts === null ? 1 : Math.ceil(hosts / limit.hosts);
  const room = Math.max(1, Math.floor((window.startsUntil - window.opensAt - 1) / runMs) + 1);
  return window.opensAt + Math.floor(place * Math.min(turns, room)) * runMs;
}
