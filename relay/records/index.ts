// What relays say under their own names, in and out: halts of a site, and results that had to be dropped.
export { RECORDS_LIMITS } from './limits.ts';
export { openRecords, type Records, type Told } from './records.ts';
export { inForce, type KeptGap, type KeptHalt, openRecordStore, type RecordStore } from './store.ts';
