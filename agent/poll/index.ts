// News from the relays: when to ask, whom, and the verified copies this host decides from. Changes nothing but its own state.
export { type DocumentStore, EMPTY_VIEW, openDocuments, type PolicyView } from './documents.ts';
export { POLL_LIMITS } from './faults.ts';
export { nextSlotAt, slotOf, spread } from './slots.ts';
export { type Attempt, fetchPayloads, isRefusal, pauseOf, type SyncOutcome, type SyncRequest, syncOnce } from './sync.ts';
