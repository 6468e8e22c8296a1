// The site: reboot leases, what needs a look, the status page, metrics. It slows and shows; nothing here installs or releases.
export { LEASE_CHOICES, type LeaseChoice } from './choices.ts';
export { type Check, examine } from './doctor.ts';
export { gatherFacts, type SiteFacts } from './facts.ts';
export { relayKeys } from './keys.ts';
export { noteFetchedByHand } from './observed.ts';
export { renderSite } from './page.ts';
export { openSite, type Site } from './service.ts';
