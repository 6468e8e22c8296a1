// Results out: this host's keys, its enrolment, and the chain of sealed results until they are acked.
export { type Enrolment, enrolmentBytes, parseCode, prepareEnrolment, readEnrolment, sendEnrolment } from './enrol.ts';
export { OUTBOX_LIMITS } from './faults.ts';
export { type AgentKeys, ensureKeys, readKeys } from './keys.ts';
export { envelopeName, type Outbox, type OutboxStatus, openOutbox, tellAlert } from './outbox.ts';
export { makeScan, type ScanInput } from './scan.ts';
