// Site overlays: what a site's own key adds to the publisher's policy on the hosts of that site. Everything it can say is one more
// reason not to do something now; nothing it can say is a reason to do something. So it narrows by construction, and what goes
// beyond the delegation's bounds is refused, each with the bound that it breaks.
import type { Hook, MaintenanceWindow, Patch, SignedDelegation, SignedOverlay } from '#manifests/schema';
import { listTest } from './filters.ts';
import { hasLabels, type Who } from './targeting.ts';
import { counted, DAY_MS } from './text.ts';

export interface OverlayInput {
  readonly delegation: SignedDelegation;
  readonly overlay: SignedOverlay;
}

export interface RefusedItem {
  /** The bound of the delegation that it breaks. */
  readonly bound: 'site' | 'until' | 'may' | 'maxDelayDays' | 'minRingPercent' | 'hooks';
  readonly says: string;
}

/** What of an overlay counts on a host. */
export interface SiteRules {
  readonly site: string;
  /** Of which one must be open as well; empty for none. */
  readonly limits: readonly MaintenanceWindow[];
  /** The entry by which the site keeps a patch off its hosts, or null. */
  readonly rejects: (patch: Patch) => string | null;
  readonly delayMs: number;
  readonly ringPercent: number;
  readonly hooks: readonly Hook[];
  readonly applied: readonly string[];
  readonly refused: readonly RefusedItem[];
}

export const NO_SITE: SiteRules = {
  site: '',
  limits: [],
  rejects: () => null,
  delayMs: 0,
  ringPercent: 100,
  hooks: [],
  applied: [],
  refused: [],
};

/** Open at any time but on the days a site has blacked out. */
function everyDay(blackouts: SignedOverlay['blackouts']): MaintenanceWindow {
  return {
    name: 'any-day',
    days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
    start: '00:00',
    durationMinutes: 2_880,
    cutoffMinutes: 0,
    zone: 'host',
    blackouts,
    validFrom: null,
    validUntil: null,
  };
}

/** Holds an overlay against its delegation and a host. @param at milliseconds of trusted time */
export function siteRules(input: OverlayInput | null | undefined, who: Who, at: number): SiteRules {
  if (input === null || input === undefined) return NO_SITE;
  const { delegation, overlay } = input;
  if (who.site !== overlay.site || !hasLabels(overlay.labels, who.labels)) return NO_SITE;
  const applied: string[] = [];
  const refused: RefusedItem[] = [];
  const refuse = (bound: RefusedItem['bound'], says: string) => {
    refused.push({ bound, says: `site ${overlay.site}: ${says}` });
  };
  if (delegation.site !== overlay.site) {
    refuse('site', `its delegation is for site ${delegation.site}`);
    return { ...NO_SITE, site: overlay.site, refused };
  }
  if (at >= Date.parse(delegation.until)) {
    refuse('until', `its delegation ended at ${delegation.until}`);
    return { ...NO_SITE, site: overlay.site, refused };
  }
  const may = (power: SignedDelegation['may'][number], what: string): boolean => {
    if (delegation.may.includes(power)) return true;
    refuse('may', `${what} needs ${power}, which its delegation does not give`);
    return false;
  };

  let limits: readonly MaintenanceWindow[] = [];
  if (
    (overlay.windows.length > 0 || overlay.blackouts.length > 0) &&
    may('narrow-window', 'windows or blackout dates of its own')
  ) {
    const windows = overlay.windows.length > 0 ? overlay.windows : [everyDay([])];
    limits = windows.map((window) => ({ ...window, blackouts: [...(window.blackouts ?? []), ...overlay.blackouts] }));
    applied.push(`changes only while one of ${counted(overlay.windows.length, 'window')} of the site is open too`);
  }
  let rejects: SiteRules['rejects'] = () => null;
  if (overlay.reject.length > 0 && may('reject', 'a list of rejected patches')) {
    rejects = listTest(overlay.reject);
    applied.push(`${counted(overlay.reject.length, 'entry', 'entries')} kept off this site`);
  }
  let delayMs = 0;
  if (overlay.delayDays > 0 && may('delay', `a delay of ${counted(overlay.delayDays, 'day')}`)) {
    if (overlay.delayDays > delegation.maxDelayDays)
      refuse(
        'maxDelayDays',
        `a delay of ${counted(overlay.delayDays, 'day')} is more than the ${delegation.maxDelayDays} allowed`,
      );
    else {
      delayMs = overlay.delayDays * DAY_MS;
      applied.push(`approvals put off by ${counted(overlay.delayDays, 'day')}`);
    }
  }
  let ringPercent = 100;
  if (overlay.ringPercent !== null && overlay.ringPercent < 100 && may('smaller-ring', 'a smaller ring')) {
    if (overlay.ringPercent < delegation.minRingPercent)
      refuse(
        'minRingPercent',
        `${overlay.ringPercent} % of a ring is less than the ${delegation.minRingPercent} % that must stay`,
      );
    else {
      ringPercent = overlay.ringPercent;
      applied.push(`rings of ${ringPercent} % of their size`);
    }
  }
  const hooks: Hook[] = [];
  if (overlay.hooks.length > 0 && may('hooks', 'hooks')) {
    for (const name of overlay.hooks) {
      const hook = delegation.hooks.find((one) => one.name === name);
      if (hook === undefined) refuse('hooks', `hook "${name}" is not in the list it may choose from`);
      else {
        hooks.push(hook);
        applied.push(`hook ${name}`);
      }
    }
  }
  return { site: overlay.site, limits, rejects, delayMs, ringPercent, hooks, applied, refused };
}

/** Until when a site's delay holds a patch back: never past its deadline, never for an emergency. @param since milliseconds of its approval */
export function delayedUntil(
  { delayMs }: Pick<SiteRules, 'delayMs'>,
  since: number,
  { urgency, deadline }: { readonly urgency?: string | undefined; readonly deadline?: string | undefined },
): number {
  if (delayMs === 0 || urgency === 'emergency') return since;
  const end = since + delayMs;
  return deadline === undefined ? end : Math.max(since, Math.min(end, Date.parse(deadline)));
}
