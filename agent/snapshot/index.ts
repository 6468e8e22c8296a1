// The ways back of this agent in order of preference, and the one way in of this station.
export * from './wayback.ts';
