// What follows from signed documents, an inventory and trusted time: pure decisions, each with its reasons. README.md
// says the semantics. Nothing here knows a clock, a disk, a network or a locale.
export { type Applicable, applicability, type Fit, type MissingPackage, missing } from './applicable.ts';
export { type BaselineDecision, decideBaseline, resolveBaseline, UNKNOWN_MOMENT } from './baseline.ts';
export { blockedIn } from './blocked.ts';
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
export type { Standing } from './standing.ts';
export type { HostMemory } from './states.ts';
export { type WindowState, windowState } from './window.ts';
