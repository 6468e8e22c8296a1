// Serving: the mirrored repository over HTTP, and the door of the inbox.
export type { Refusal } from './answer.ts';
export type { ServeLimits } from './limits.ts';
export { type PostHandler, type RunningServer, type ServeOptions, startServer } from './server.ts';
