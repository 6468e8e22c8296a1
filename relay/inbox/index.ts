// The inbox: results and enrolments in, checked, on disk before the answer, and on to the next hop until it has them.
export { checkResult, type Inbox, openInbox } from './accept.ts';
export { BATCH_LIMITS } from './batch.ts';
export { type ForwardReport, forwardAll } from './forward.ts';
export { type Hop, openHop } from './hops.ts';
export { type Ledger, noteForwarded, openLedger } from './ledger.ts';
export { INBOX_LIMITS } from './limits.ts';
export { type Dropped, openRoom, runsOf } from './room.ts';
export {
  openRecordSpool,
  openSpool,
  type Spool,
  type SpoolItem,
  type Unplaced,
  type Waiting,
} from './spool.ts';
export { filesIn, viewInbox } from './view.ts';
