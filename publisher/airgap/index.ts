// The sneakernet of the publisher: sites, bundles out, returns in. README.md is its manual.
export { type BundleExportOptions, type BundleExportReport, exportBundle, signerOf } from './export.ts';
export { fault } from './faults.ts';
export { readDocuments, wishOfRequest } from './plan.ts';
export { type ReturnsReport, requestFor, requestToAnswer, takeReturns } from './returns.ts';
export { addSite, asAcknowledged, listSites, readSite, type SiteRecord } from './sites.ts';
export { type BundleCheck, holdsBundles, verifyBundles } from './verify.ts';
