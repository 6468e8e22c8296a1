// Results out: this host's keys, its enrolment, and the chain of sealed results until they are acked.
export { enrolmentBytes, parseCode, prepareCopyEnrolment, prepareEnrolment, readEnrolment, sendEnrolment } from './enrol.ts';
export { OUTBOX_LIMITS } from './faults.ts';
export { type AgentKeys, ensureKeys, readKeys } from './keys.ts';
export { type Outbox, openOutbox, tellAlert } from './outbox.ts';
export { makeScan } from './scan.ts';
