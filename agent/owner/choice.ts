// What of the windows an owner may decide: which of those the group offers, and how much later. Refused with the bound named.
import { spanOf } from '#manifests/decide';
import { utcSeconds } from '#manifests/platform/clock';
import type { Group, When } from '#manifests/schema';
import { fault } from './faults.ts';

const DAY_MS = 86_400_000;

/** `2026-03-01` (the whole day by this host's clock) or `2026-03-01T06:00:00Z`. @throws owner.moment */
export function whenOf(text: string): When {
  const real = (date: string) => !Number.isNaN(Date.parse(date)) && new Date(date).toISOString().startsWith(date);
  if (/^\d{4}-\d{2}-\d{2}$/.test(text) && real(text)) return { date: text, zone: 'host' };
  if (/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text) && real(text.slice(0, -1))) return text;
  throw fault('moment', `${JSON.stringify(text)} is no day and no moment in UTC`);
}

/** The end of that moment or day, milliseconds. */
export function endOf(when: When, hostZone: string): number {
  return spanOf({ from: when, until: when }, hostZone).until;
}

/** @throws owner.not-offered, owner.no-group */
export function checkOffered(group: Group | null, window: string): void {
  if (group === null) throw fault('no-group', 'this host is in no patch group, so that there is no window to choose');
  const offered = (group.ownerChoice?.windows ?? []).filter((name) => group.windows.some((one) => one.name === name));
  if (offered.includes(window)) return;
  const bound = offered.length === 0 ? 'leaves its owners no window to choose' : `offers ${offered.join(', ')}`;
  throw fault('not-offered', `window ${window} cannot be chosen: group ${group.name} ${bound}`);
}

/** Until when installations may be put off, milliseconds. @throws owner.deferral, owner.moment, owner.no-group */
export function deferralUntil(group: Group | null, text: string, hostZone: string, now: number): number {
  if (group === null) throw fault('no-group', 'this host is in no patch group, so that there is nothing to put off');
  const until = endOf(whenOf(text), hostZone);
  const days = group.ownerChoice?.deferDays ?? 0;
  if (days === 0) throw fault('deferral', `group ${group.name} lets its owners put nothing off`);
  if (until <= now) throw fault('moment', `${utcSeconds(until)} is over`);
  const most = now + days * DAY_MS;
  if (until > most) {
    const bound = `${days} days after a patch is approved, which is ${utcSeconds(most)} for one that is approved now`;
    throw fault('deferral', `group ${group.name} lets its owners put off for at most ${bound}`);
  }
  return until;
}
