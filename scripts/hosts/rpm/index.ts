// A small RPM distribution for tests: a vendor with a key, its packages and repositories, and the root of a host of it.
export { ferryCatalog } from './catalog.ts';
export { FerryLab, ferryItems, ferryVersions, inRoot } from './lab.ts';
export { ADVISORIES, INSTALLED, MODULES, OARS, UPDATED } from './packages.ts';
export { makeFerryTree } from './tree.ts';
export { type PackageSpec, RpmVendor } from './vendor.ts';
