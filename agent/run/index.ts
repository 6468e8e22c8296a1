// The state machine of a host's run and its journal: the only place that changes a host.
export { asRunError } from './acts.ts';
export { describeStates } from './diagram.ts';
export { type Ended, HANDS_NEEDED, LAST_COMMITTED, setPause } from './ending.ts';
export { beginRun, type RunEnd, takeUp, undoLast } from './engine.ts';
export { armFailPoints, FAIL_POINTS, type FailPoint } from './failpoints.ts';
export { type Journal, openJournal } from './journal.ts';
export { RUN_LIMITS } from './limits.ts';
export type { BackOff } from './memory.ts';
export type { ResultRow, ResultStamp } from './results.ts';
export { cleanText, oneLine, type RunRow, type RunStep } from './runs.ts';
export { type Hands, type RunWorld } from './world.ts';
