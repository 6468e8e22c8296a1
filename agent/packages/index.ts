// The package systems of this agent: the registry, and the one way in of this station.
export * from './system.ts';
