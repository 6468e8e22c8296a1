// The state machine of a host's run and its journal: the only place that changes a host.
export { asRunError, NONE_WANTED } from './acts.ts';
export { describeStates } from './diagram.ts';
export { type Ended, HANDS_NEEDED, LAST_COMMITTED } from './ending.ts';
export { beginRun, makeOwedReboot, type RunEnd, takeUp, undoLast } from './engine.ts';
export { armFailPoints, FAIL_POINTS, type FailPoint } from './failpoints.ts';
export { hasHooks, LATER_EXIT } from './hooks.ts';
export { type Journal, openJournal } from './journal.ts';
export { type KeepingFacts, type KeepingRules, toGiveUp } from './keeping.ts';
export { RUN_LIMITS } from './limits.ts';
export type { BackOff } from './memory.ts';
export { setPause } from './memory.ts';
export { NEEDED_SINCE, rebootNeed, wantsReboot } from './need.ts';
export { forgetRoot, type OldRoot, oldRoots } from './old-roots.ts';
export { rebootWaits } from './rebooting.ts';
export type { ResultRow, ResultStamp } from './results.ts';
export { cleanText, oneLine, type RunRow, type RunStep } from './runs.ts';
export type { KeptWay } from './ways.ts';
export type { Hands, HookCame, RunWorld, StaleUse } from './world.ts';
