// Halts that a site signs by itself, without the publisher: whether one counts on a host. The chain is root, targets, policy, the
// site's delegation, the key of one of its relays, the halt. Whatever such a key says, hosts of its site do less, never more.
import type { SignedDelegation, SignedHalt, SiteHalt } from '#manifests/schema';

/** A halt as a relay signed it. */
export interface HeldSiteHalt {
  /** SHA-256 of the signed document. */
  readonly id: string;
  /** Ed25519 key whose signature was checked, hex. */
  readonly key: string;
  readonly halt: SiteHalt;
  /** Milliseconds of trusted time at which it came here. */
  readonly since: number;
}

export type SiteHaltVerdict =
  /** As the publisher's halts are: in force until its `until`. */
  { readonly kind: 'counts'; readonly halt: SignedHalt } | { readonly kind: 'lifted' | 'refused'; readonly says: string };

const HOUR = 3_600_000;
const moment = (at: number): string => `${new Date(at).toISOString().slice(0, 19)}Z`;

/**
 * Holds a site's halt against what the policy approvers allow that site. A delegation that ended, a power or a key that was taken
 * back ends its halts as well. @param delegation of the host's own site, as last verified
 */
export function judgeSiteHalt({ id, key, halt, since }: HeldSiteHalt, delegation: SignedDelegation | null): SiteHaltVerdict {
  const refused = (says: string): SiteHaltVerdict => ({
    kind: 'refused',
    says: `halt ${halt.name} of site ${halt.site}: ${says}`,
  });
  if (delegation === null) return refused('no delegation of this site is known');
  if (delegation.site !== halt.site) return refused(`this host is of site ${delegation.site}`);
  if (!delegation.may.includes('halt')) return refused('its delegation does not give the power to halt');
  if (!(delegation.relays ?? []).some(({ signKey }) => signKey === key)) return refused('it is signed by no relay of the site');
  const lifted = delegation.lifted?.find((each) => each.halt === id);
  if (lifted !== undefined)
    return { kind: 'lifted', says: `halt ${halt.name} of site ${halt.site} was lifted at ${lifted.at}` };
  const ends = [
    ...(halt.until === null ? [] : [Date.parse(halt.until)]),
    ...(delegation.maxHaltHours === undefined ? [] : [since + delegation.maxHaltHours * HOUR]),
    Date.parse(delegation.until),
  ];
  return {
    kind: 'counts',
    halt: {
      schema: 'patchferry/halt',
      schemaVersion: 1,
      name: `${halt.site}/${halt.name}`,
      signedAt: halt.signedAt,
      scope: { sites: [halt.site], ...(halt.groups.length === 0 ? {} : { groups: halt.groups }) },
      patches: [],
      stops: halt.stops,
      reason: `${halt.reason} (signed by site ${halt.site}, not by the publisher)`.slice(0, 500),
      until: moment(Math.min(...ends)),
    },
  };
}

/** Keys of the site's relays that results of its hosts are sealed to, so that they can count failures; until policy says otherwise. */
export function siteRecipients(delegation: SignedDelegation | null): readonly string[] {
  if (delegation === null || !delegation.may.includes('halt')) return [];
  return (delegation.relays ?? []).map(({ boxKey }) => boxKey);
}
