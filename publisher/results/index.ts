// Results: collected from an inbox folder, kept in a store, acknowledged. README.md describes the store and the ack rule.
export type { ChainVerdict, Fork } from './chain.ts';
export { type CollectOptions, type CollectReport, type CollectStep, collect } from './collect.ts';
export type { HostFacts, RunSummary } from './derive.ts';
export {
  type Fleet,
  type HostDetail,
  type HostRecord,
  type OpenFinding,
  openFleet,
  type PatchCount,
  QUIET_STATES,
  type StoredBody,
} from './fleet.ts';
export { type HostState, type Knowledge, openKnowledge, type RunRecord, type WaiverRequest } from './knowledge.ts';
export type { Activation, ActivationSecret } from './open.ts';
export { type PendingEnrolment, readPending } from './pending.ts';
export { type RelayRecords, readRecords, takeRecords } from './records.ts';
export { type OddChain, readAcks } from './store.ts';
