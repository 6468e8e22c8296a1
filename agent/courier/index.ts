// The courier's station of a host without a relay: bundles straight in, results and the list of what it lacks straight out.
export { exportFromHost, type HostExportReport } from './export.ts';
export { courierPlaces, importIntoHost, siteOf } from './import.ts';
