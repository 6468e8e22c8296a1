// What follows from signed documents, an inventory and trusted time: pure decisions, each with its reasons. README.md
// says the semantics. Nothing here knows a clock, a disk, a network or a locale.
export { type Applicable, applicability, type Fit, type MissingPackage, missing } from './applicable.ts';
export { type BaselineDecision, decideBaseline, resolveBaseline, UNKNOWN_MOMENT } from './baseline.ts';
export { blockedIn } from './blocked.ts';
export { type Estimate, fitting, RESERVE, timeNeeded } from './estimate.ts';
export {
  type BlockedPackage,
  type DecideInput,
  type Evaluation,
  evaluate,
  type InstallPackage,
  patchSetDigest,
  setDigest,
} from './evaluate.ts';
export { EXPLAIN_LIMITS, type ExplainStep, type Explanation, explain, type PatchExplanation } from './explain.ts';
export { matches } from './pattern.ts';
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
export type { Standing } from './standing.ts';
export type { HostMemory } from './states.ts';
export { ALWAYS_OPEN, purposeState, type WindowOptions, type WindowState, windowState, windowsFor } from './window.ts';
