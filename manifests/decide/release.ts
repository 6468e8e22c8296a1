// What keeps an approved patch from being installed now, and until when: halts, the site, an override list, the rollout, the owner.
// A hold never changes what policy says of a patch: it stays MISSING and counted; it is only not installed yet.
import type { Group, SignedRollout } from '#manifests/schema';
import { delayedUntil, type SiteRules } from './overlay.ts';
import type { Stop } from './recall.ts';
import { turnOf } from './rollout.ts';
import type { Candidate } from './superseded.ts';
import type { Who } from './targeting.ts';
import { DAY_MS, momentOf } from './text.ts';

export interface Hold {
  readonly by: 'halt' | 'site' | 'override' | 'rollout' | 'owner';
  readonly says: string;
  /** When it ends by itself; null when that is not known. */
  readonly until: number | null;
}

/** What the owner of a host chose on it. */
export interface OwnerChoice {
  readonly window: string | null;
  /** Milliseconds. */
  readonly deferUntil: number | null;
}

export interface ReleaseContext {
  readonly group: Group;
  readonly who: Who | null;
  readonly at: number;
  readonly site: SiteRules;
  readonly stops: readonly Stop[];
  readonly choice: OwnerChoice | null;
  /** Set while an override list says that nothing else is installed. */
  readonly onlyOverrides: { readonly baseline: string; readonly until: string } | null;
  readonly overridden: boolean;
}

/** Whether the last moment for a patch has come. */
export function isOverdue({ standing }: Pick<Candidate, 'standing'>, at: number): boolean {
  return standing.kind === 'approved' && standing.deadline !== undefined && at >= Date.parse(standing.deadline);
}

export function isEmergency({ standing }: Pick<Candidate, 'standing'>): boolean {
  return standing.kind === 'approved' && standing.urgency === 'emergency';
}

/**
 * Everything that holds a patch back now. An emergency and an override know neither delay, ring nor owner; a deadline that has
 * passed ends delay, ring and deferral. A halt and a site's rejection count always.
 */
export function holdsOf(candidate: Candidate, context: ReleaseContext): Hold[] {
  const { patch, standing } = candidate;
  const { at, site, group } = context;
  const holds: Hold[] = [];
  for (const { halt, says, about } of context.stops) {
    if (halt.stops.includes('install') && about(patch.id, patch.source, ...patch.packages.map(({ name }) => name)))
      holds.push({ by: 'halt', says, until: halt.until === null ? null : Date.parse(halt.until) });
  }
  const kept = site.rejects(patch);
  if (kept !== null) holds.push({ by: 'site', says: `site ${site.site} keeps it off its hosts ("${kept}")`, until: null });
  if (context.onlyOverrides !== null && !context.overridden) {
    const { baseline, until } = context.onlyOverrides;
    const says = `the override list of baseline ${baseline} lets nothing else in until ${until}`;
    holds.push({ by: 'override', says, until: Date.parse(until) });
  }
  if (context.overridden || standing.kind !== 'approved' || isEmergency(candidate) || isOverdue(candidate, at)) return holds;
  const since = Date.parse(standing.since);
  const delayed = delayedUntil(site, since, standing);
  if (at < delayed) holds.push({ by: 'site', says: `put off by site ${site.site} until ${momentOf(delayed)}`, until: delayed });
  holds.push(...rolloutHold(group.rollout, patch.id, since, standing.deadline, context));
  const { choice } = context;
  if (choice !== null && choice.deferUntil !== null && group.ownerChoice !== undefined) {
    const bounds = [choice.deferUntil, since + group.ownerChoice.deferDays * DAY_MS];
    if (standing.deadline !== undefined) bounds.push(Date.parse(standing.deadline));
    const until = Math.min(...bounds);
    if (at < until) holds.push({ by: 'owner', says: `put off by the owner of this host until ${momentOf(until)}`, until });
  }
  return holds;
}

function rolloutHold(
  rollout: SignedRollout | undefined,
  patch: string,
  since: number,
  deadline: string | undefined,
  { who, at, site }: ReleaseContext,
): Hold[] {
  if (rollout === undefined) return [];
  const end = deadline === undefined ? null : Date.parse(deadline);
  if (who === null) return [{ by: 'rollout', says: `rollout ${rollout.name} cannot tell which host this is`, until: end }];
  const turn = turnOf(rollout, who, patch, since, at, site.ringPercent);
  if (turn.now) return [];
  const until = turn.at === null ? end : end === null ? turn.at : Math.min(turn.at, end);
  return [{ by: 'rollout', says: turn.says, until }];
}

/** When everything that holds a patch has ended; null when one end is not known. */
export function releasedAt(holds: readonly Hold[]): number | null {
  let last = 0;
  for (const { until } of holds) {
    if (until === null) return null;
    last = Math.max(last, until);
  }
  return last;
}
