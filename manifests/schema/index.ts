// Every document kind of patchferry: shapes, checks, bytes. Pure. One file per family; this is the way in.
export * from './authored.ts';
export * from './catalog.ts';
export * from './codec.ts';
export * from './common.ts';
export * from './inventory.ts';
export * from './policy.ts';
export * from './result.ts';
export * from './roster.ts';
