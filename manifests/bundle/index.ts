// The sneakernet file: written onto media, collected from any number of them, shown, answered with receipts. This is the way in.
export { type Channels, openChannels } from './channels.ts';
export { type Description, describeBundle, type Verified, verifyBundle } from './describe.ts';
export {
  type BundleAbout,
  bundleName,
  type Draft,
  type DraftOptions,
  draftBundle,
  openDraft,
  type SourceEntry,
} from './draft.ts';
export { onMedium } from './files.ts';
export { type Filled, type FillOptions, fillFolder } from './fill.ts';
export type { Answered, BundleEntry, BundleIndex, BundleKind } from './format.ts';
export {
  type Accept,
  acceptIndex,
  dropImported,
  type ImportOptions,
  type ImportOutcome,
  importBundle,
  incompleteFault,
  readBundleIndex,
} from './import.ts';
export { BUNDLE_LIMITS } from './limits.ts';
export { MEDIUM_FILE, type Medium, type PrepareMediumOptions, prepareMedium, readMedium } from './medium.ts';
export { type ChunkRange, rangesOf, rangesText } from './names.ts';
export { type PackOptions, packContainer } from './pack.ts';
export { type FoundBundle, findBundles, type Problem } from './place.ts';
export { RECEIPT_FILE, type Receipt, type ReceiptRow, readReceipt, writeReceipt } from './receipt.ts';
export {
  matchRequest,
  type Request,
  type RequestLevel,
  readRequest,
  saltedHash,
  type Wanted,
  writeRequest,
} from './request.ts';
export type { Keys } from './signed.ts';
export { type WriteOptions, type WrittenBundle, writeBundle } from './write.ts';
