// News from the relays: when to ask, whom, and the verified copies this host decides from. Changes nothing but its own state.
export { type DocumentStore, openDocuments, type PolicyView } from './documents.ts';
export { POLL_LIMITS } from './faults.ts';
export { nextSlotAt, slotOf, spread } from './slots.ts';
export { fetchPayloads, isRefusal, pauseOf, type SyncOutcome, syncOnce } from './sync.ts';
