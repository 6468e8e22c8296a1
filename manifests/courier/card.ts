// A site's card: one line that names a closed site and its public keys, carried once to the publisher by a way people trust.
import { name } from '#manifests/schema';
import { checkBoxKey, checkSigningKey } from '#manifests/trust';
import { fault } from './faults.ts';

export interface SiteCard {
  readonly site: string;
  /** Ed25519, hex: signs what comes back from the site. */
  readonly signKey: string;
  /** X25519, hex: what goes to the site is sealed to it. */
  readonly boxKey: string;
}

const PREFIX = 'patchferry-site';

/** `patchferry-site:NAME:SIGN:BOX`. */
export function formatCard({ site, signKey, boxKey }: SiteCard): string {
  return [PREFIX, site, signKey, boxKey].join(':');
}

/** @throws courier.card, trust.weak-key */
export function parseCard(text: string): SiteCard {
  const [prefix, site = '', signKey = '', boxKey = '', ...rest] = text.trim().split(':');
  const whole = prefix === PREFIX && rest.length === 0 && name.safeParse(site).success;
  if (!whole || ![signKey, boxKey].every((key) => /^[0-9a-f]{64}$/.test(key))) {
    throw fault('card', `${JSON.stringify(text.slice(0, 80))} is no card of a site (${PREFIX}:NAME:KEY:KEY)`);
  }
  checkSigningKey(signKey);
  checkBoxKey(boxKey);
  return { site, signKey, boxKey };
}

/** Name of a site's missing list on a stick. */
export const requestFileName = (site: string): string => `REQUEST-${site}.txt`;
