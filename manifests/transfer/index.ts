// Getting files from where they are offered: HTTP relays and folders, several in order. What comes is bounded and checked.

export { isExcepted } from './address.ts';
export { type Attempt, type Failover, type FailoverOptions, failover, type OriginReport } from './failover.ts';
export { folderOrigin } from './folder.ts';
export { type HttpOptions, httpOrigin, type ProxyOptions } from './http.ts';
export { openOrigin } from './open.ts';
export { type Fetcher, type Origin, type Received, TRANSFER_LIMITS, type TransferLimits, type Want } from './origin.ts';
export { openRate, type Rate } from './rate.ts';
export { proxyOf } from './reach.ts';
export { forgetParts, RESUME_LIMITS, type Resuming, resuming } from './resuming.ts';
export { inspectTls, openTls, type TlsEnd, type TlsFinding } from './tls.ts';
