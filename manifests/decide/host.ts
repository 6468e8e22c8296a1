// One host as decisions see it: who it is for selectors and rollouts, and by what its windows are reckoned.
import type { DecideInput } from './evaluation.ts';
import { type SiteRules, siteRules } from './overlay.ts';
import type { ScheduleInput } from './schedule.ts';
import type { Who } from './targeting.ts';

/** The host as selectors see it; a host that nobody told who it is has no id that any selector could mean. */
export function whoOf({ who, group, inventory }: DecideInput): Who {
  return {
    agent: who?.agent ?? '',
    group: group?.name ?? null,
    site: who?.site ?? null,
    product: inventory.product,
    labels: { ...inventory.labels, ...who?.labels },
  };
}

/** What the windows of this host follow from. */
export function scheduleOf(input: DecideInput, site?: SiteRules): ScheduleInput {
  const who = whoOf(input);
  return {
    group: input.group,
    who: input.who === undefined || input.who === null ? null : who,
    site: site ?? siteRules(input.site, who, input.at),
    choice: input.choice ?? null,
    wake: input.wake ?? null,
    at: input.at,
    hostZone: input.inventory.zone,
  };
}
