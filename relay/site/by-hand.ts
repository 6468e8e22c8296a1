// A halt of this site that a person asks for at the relay. It is signed, kept and told as those of the fuse are, and like them it can
// stop and never release: the publisher alone lifts it.
import { defineFaults, EXIT } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Purpose, SignedDelegation, SiteHalt } from '#manifests/schema';
import type { KeptHalt } from '../records/index.ts';
import { unarmed } from './fuse.ts';

export const fault = defineFaults('halt', {
  'no-power': {
    exit: EXIT.usage,
    next: 'Have the publisher delegate it (publisher site add NAME --may halt --relay CARD), let this relay sync; meanwhile the publisher can halt.',
  },
  'no-group': { exit: EXIT.usage, next: 'Name groups as policy does; without --group all hosts of the site are stopped.' },
  words: { exit: EXIT.usage, next: 'Names are lower-case letters, digits, dots and dashes; the reason is one line.' },
  end: { exit: EXIT.usage, next: 'Give either --until 2026-01-31T00:00:00Z or --hours 12, in the future.' },
  already: { exit: EXIT.current, next: 'It stops already; give another name for a further one.' },
});

export interface HaltRequest {
  readonly name: string;
  readonly reason: string;
  /** What is stopped. */
  readonly stops: readonly Purpose[];
  /** Empty: every host of the site. */
  readonly groups: readonly string[];
  /** When it ends by itself, milliseconds; null: when the publisher lifts it. */
  readonly until: number | null;
}

export interface HaltScene {
  readonly site: string | undefined;
  /** Public signing key of this relay. */
  readonly signKey: string;
  readonly delegation: SignedDelegation | undefined;
  /** Names of the signed groups. */
  readonly groups: readonly string[];
  readonly inForce: readonly KeptHalt[];
  readonly clock: Clock;
}

export interface PlannedHalt {
  readonly halt: SiteHalt;
  /** When hosts go on at the latest, by its own end and the bounds of the delegation, UTC. */
  readonly endsAt: string;
}

/** Checks what is asked against what policy lets this relay do. Pure. @throws halt.* */
export function planHalt(request: HaltRequest, { site, signKey, delegation, groups, inForce, clock }: HaltScene): PlannedHalt {
  const now = clock.now();
  const says = unarmed(site, delegation, signKey, now);
  if (says !== '' || site === undefined || delegation === undefined)
    throw fault('no-power', `this relay cannot halt its site: ${says}`);
  const unknown = request.groups.filter((group) => !groups.includes(group));
  if (unknown.length > 0)
    throw fault('no-group', `no signed group is called ${unknown.join(', ')}; there are ${groups.join(', ') || 'none'}`);
  if (request.until !== null && request.until <= now) throw fault('end', 'the halt would have ended before it began');
  if (inForce.some(({ halt }) => halt.name === request.name)) throw fault('already', `${site} is halted by ${request.name}`);
  const ends = [
    Date.parse(delegation.until),
    ...(request.until === null ? [] : [request.until]),
    ...(delegation.maxHaltHours === undefined ? [] : [now + delegation.maxHaltHours * 3_600_000]),
  ];
  return {
    endsAt: utcSeconds(Math.min(...ends)),
    halt: {
      schema: 'patchferry/site-halt',
      schemaVersion: 1,
      site,
      name: request.name,
      signedAt: utcSeconds(now),
      groups: [...request.groups],
      stops: [...request.stops],
      reason: request.reason,
      until: request.until === null ? null : utcSeconds(request.until),
      fuse: null,
    },
  };
}
