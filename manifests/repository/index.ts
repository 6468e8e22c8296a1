// A repository as plain files: where each thing lies, how payloads are kept, how a new state becomes visible at once.
export * from './names.ts';
export * from './payloads.ts';
export * from './publish.ts';
