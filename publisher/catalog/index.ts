// The publisher's memory of patches between vendor and signed catalog.
export { type CatalogStore, type EnrichReport, type KnownPatch, type MergeReport, openCatalogStore } from './store.ts';
