// The mirror: a verified copy of an upstream repository, kept in generations that are switched at once.
export { type CheckedView, viewChecked } from './checked.ts';
export { collectGarbage, type GarbageReport } from './garbage.ts';
export {
  currentGeneration,
  type Generation,
  generationNumbers,
  type MirrorLayout,
  mirrorLayout,
  readCurrentTarget,
  summaryOf,
} from './generations.ts';
export { openLeisure } from './leisure.ts';
export type { Here } from './openings.ts';
export { openPreStage, readStaging, STAGE_LIMITS, type Staging } from './prestage.ts';
export { openPull, type Pull, type Pulled } from './pull.ts';
export { type SyncOptions, type SyncReport, syncMirror } from './sync.ts';
export { type VerifyReport, verifyMirror } from './verify.ts';
export { PAYLOAD_CHOICES, type PayloadChoice } from './wanted.ts';
