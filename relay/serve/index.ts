// Serving: the mirrored repository over HTTP, and the door of the inbox.
export type { Refusal } from './answer.ts';
export type { ServeLimits } from './limits.ts';
export { nginxConfig } from './nginx.ts';
export type { ServeRates } from './rates.ts';
export {
  type PageHandler,
  type PostHandler,
  type RunningServer,
  type ServeOptions,
  startServer,
  type Traffic,
} from './server.ts';
export type { TlsFiles } from './tls.ts';
