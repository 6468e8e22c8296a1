// The courier's loops: what publisher, relay and agent share of carrying bundles to a closed site and answers back.
export { formatCard, parseCard, requestFileName, type SiteCard } from './card.ts';
export { encodeReceived, encodeSiteReport, RECEIVED_FILE, readReceived, readSiteReport, SITE_FILE } from './contents.ts';
export { COURIER_LIMITS } from './limits.ts';
export { removeOlderBundles } from './older.ts';
export { writingProgress } from './progress.ts';
export { noteExported } from './receipts.ts';
export { type Arrived, type ReceivedRow, type ReceiveOptions, type ReceiveReport, receiveContent } from './receive.ts';
export { publisherKeys, writeRoots } from './roots.ts';
export { openSite, type Site } from './site.ts';
export { onStick } from './stick.ts';
