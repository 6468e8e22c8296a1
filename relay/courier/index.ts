// The courier's station: bundles in from sticks and drop folders, results and the missing list out. README.md is its manual.
export { openAsked } from './asked.ts';
export { type ExportReport, exportReturn } from './export.ts';
export { counted, importBundles, trustedRoots } from './import.ts';
export { watchDropFolder } from './watch.ts';
