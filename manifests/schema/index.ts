// Every document kind of patchferry: shapes, checks, bytes. Pure. One file per family; this is the way in.
export * from './authored.ts';
export * from './baseline.ts';
export * from './catalog.ts';
export * from './codec.ts';
export * from './common.ts';
export * from './cron.ts';
export * from './feeds.ts';
export * from './group.ts';
export * from './inventory.ts';
export * from './recall.ts';
export * from './result.ts';
export * from './rollout.ts';
export * from './roster.ts';
export * from './site.ts';
export * from './targeting.ts';
export * from './waiver.ts';
export * from './window.ts';
