// News from the relays: when to ask, whom, and the verified copies this host decides from. Changes nothing but its own state.

export { RELAY_CHOICES } from './choice.ts';
export { type DocumentStore, openDocuments, type PolicyView } from './documents.ts';
export { fault as pollFault, POLL_LIMITS } from './faults.ts';
export { openRelays, type RelayReport, type Relays } from './relays.ts';
export { nextSlotAt, slotOf, spread } from './slots.ts';
export { fetchPayloads, isRefusal, type SyncOutcome, syncOnce } from './sync.ts';
