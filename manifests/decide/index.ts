// What follows from signed documents, an inventory and trusted time: pure decisions, each with its reasons. README.md
// says the semantics. Nothing here knows a clock, a disk, a network or a locale.
export { type Applicable, applicability, type Fit, type MissingPackage, missing } from './applicable.ts';
export { type BaselineDecision, decideBaseline, resolveBaseline, UNKNOWN_MOMENT } from './baseline.ts';
export { blockedIn } from './blocked.ts';
export { type CatchUpState, catchUp, type Wake } from './catch-up.ts';
export { type Estimate, fitting, RESERVE, timeNeeded } from './estimate.ts';
export {
  type BlockedPackage,
  type DecideInput,
  type Evaluation,
  evaluate,
  type HeldPatch,
  type InstallPackage,
  patchSetDigest,
  setDigest,
} from './evaluate.ts';
export { EXPLAIN_LIMITS, type ExplainStep, type Explanation, explain, type PatchExplanation } from './explain.ts';
export { ALERTS, type FreshnessDecision, type FreshnessInput, freshnessDecision } from './freshness.ts';
export { type FuseReport, type FuseState, fuseState } from './fuse.ts';
export { generatedFleet } from './generated-fleet.ts';
export { scheduleOf } from './host.ts';
export { type KevIndex, type KevListing, kevFrom, kevIndex, kevOf } from './kev.ts';
export { nextOpenings, type Opening } from './openings.ts';
export { NO_SITE, type OverlayInput, type RefusedItem, type SiteRules, siteRules } from './overlay.ts';
export { matches } from './pattern.ts';
export { type KeptWayBack, type RollbackOrder, readStop, recallsOf, rollbackOrder, type Stop, stopsOf } from './recall.ts';
export { type Hold, type OwnerChoice, releasedAt } from './release.ts';
export {
  bucketOf,
  gateOpens,
  type RingFigures,
  reachedAfter,
  ringOf,
  ringOpening,
  type SigningFacts,
  shareAt,
  signRollout,
  staggeredStart,
  staggerPlace,
  type Turn,
  turnOf,
} from './rollout.ts';
export { chosenWindows, type Lane, runWindow, type ScheduleInput } from './schedule.ts';
export {
  type GroupParts,
  signedDelegationOf,
  signedGroup,
  signedHaltOf,
  signedOverlayOf,
  signedRecallOf,
  signedWaiverOf,
  signedWindow,
} from './sign.ts';
export { simulateFleet } from './simulate.ts';
export {
  SIMULATION_LIMITS,
  type SimCollision,
  type SimHost,
  type SimOptions,
  type SimPatch,
  type SimPolicy,
  type SimRelease,
  type SimSite,
  type Simulation,
} from './simulation.ts';
export { type HeldSiteHalt, judgeSiteHalt, type SiteHaltVerdict, siteRecipients } from './site-halt.ts';
export type { Standing } from './standing.ts';
export type { HostMemory } from './states.ts';
export {
  allHold,
  checkTargeting,
  conditionHolds,
  type GroupChoice,
  groupOf,
  selects,
  type TargetHost,
  type TargetingProblem,
  type Who,
} from './targeting.ts';
export { counted, inZone } from './text.ts';
export {
  approversOf,
  type ControlResult,
  type HostWaiver,
  hostWaivers,
  spanOf,
  verifyWaiver,
  WAIVER_LIMITS,
  type WaiverCover,
  type WaiverNotice,
  type WaiverVerdict,
  waiverBytes,
  waiverCover,
  waiverNotices,
} from './waiver.ts';
export { ALWAYS_OPEN, purposeState, type WindowOptions, type WindowState, windowState, windowsFor } from './window.ts';
