// The roster: which agents belong to the fleet, and the activation codes by which hosts ask to.
export * from './activation.ts';
export * from './roster.ts';
