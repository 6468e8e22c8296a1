// What is told of a site beside its pages: its halts to its hosts (GET /site-halts/SITE.json, one conditional request with a poll), and
// the runs that were counted here to its other relays (GET /site-runs/SITE/LOG/AFTER).
import { createHash } from 'node:crypto';
import type { Records } from '../records/index.ts';
import type { PageHandler } from '../serve/index.ts';
import type { FuseBox } from './fuse.ts';
import { readRunsPath } from './site-runs.ts';

const PATH = /^\/site-halts\/([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)\.json$/;

/** The handler of a path, where it is one of these and something was ever said of its site. */
export function agentAnswers(records: Records, path: string): PageHandler | undefined {
  const site = PATH.exec(path)?.[1];
  const answer = site === undefined ? undefined : records.answer(site);
  if (answer === undefined) return undefined;
  const etag = `"${createHash('sha256').update(answer.body).digest('hex')}"`;
  return () => ({ status: 200, type: 'application/json', body: answer.body, etag });
}

/** The handler of a path, where it asks for runs that hosts of this relay's site have reported. */
export function siblingAnswers(fuse: Pick<FuseBox, 'page'>, site: string | undefined, path: string): PageHandler | undefined {
  const asked = readRunsPath(path);
  if (asked === undefined || asked.site !== site) return undefined;
  const body = fuse.page(asked.log, asked.after);
  return body === undefined ? undefined : () => ({ status: 200, type: 'application/octet-stream', body });
}
