// Waivers at the publisher: what owners ask for, who has signed, what is published. Commands are in ../cli/waiver.ts.
export * from './files.ts';
export * from './standing.ts';
