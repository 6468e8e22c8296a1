// The sneakernet file: written onto media, collected from any number of them, shown, answered with receipts. This is the way in.
export {
  type BundleAbout,
  bundleName,
  type Draft,
  type DraftOptions,
  draftBundle,
  openDraft,
  type SourceEntry,
} from './draft.ts';
export { type Filled, type FillOptions, fillFolder } from './fill.ts';
export type { Answered, BundleEntry, BundleIndex, BundleKind } from './format.ts';
export {
  type Accept,
  acceptIndex,
  type ImportOptions,
  type ImportOutcome,
  importBundle,
  incompleteFault,
  readBundleIndex,
} from './import.ts';
export { BUNDLE_LIMITS } from './limits.ts';
export { MEDIUM_FILE, type Medium, type PrepareMediumOptions, prepareMedium, readMedium } from './medium.ts';
export { type PackOptions, packContainer } from './pack.ts';
export { type FoundBundle, findBundles, type Problem } from './place.ts';
