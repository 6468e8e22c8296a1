// Keys at rest, the publication of the repository, and the check of any repository with public keys only.

export * from './changes.ts';
export { publishedPolicy } from './documents.ts';
export * from './keyring.ts';
export { signedKeys } from './metadata.ts';
export * from './overlays.ts';
export * from './passphrase.ts';
export * from './publish.ts';
export { pinnedRoot, readPublished } from './published.ts';
export * from './roster.ts';
export * from './rotate.ts';
export * from './setup.ts';
export * from './stops.ts';
export * from './verify.ts';
export * from './view.ts';
