// The site: reboot leases, what needs a look, the status page, metrics. It slows and shows; nothing here installs or releases.
export { fault as haltFault, planHalt } from './by-hand.ts';
export { LEASE_CHOICES, type LeaseChoice } from './choices.ts';
export { concernsOf } from './concerns.ts';
export { type Check, examine } from './doctor.ts';
export { signedSource } from './documents.ts';
export { gatherFacts, type SiteFacts } from './facts.ts';
export { relayKeys } from './keys.ts';
export { HALT_STATES } from './local.ts';
export { noteFetchedByHand } from './observed.ts';
export { renderSite } from './page.ts';
export { verifiedText } from './rot.ts';
export { openSite, type Site } from './service.ts';
