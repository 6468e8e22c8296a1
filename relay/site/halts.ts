// What agents of a site are told of its own halts: GET /site-halts/SITE.json, one conditional request with a poll.
import { createHash } from 'node:crypto';
import type { Records } from '../records/index.ts';
import type { PageHandler } from '../serve/index.ts';

const PATH = /^\/site-halts\/([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)\.json$/;

/** The handler of a path, where it is one of these and something was ever said of its site. */
export function agentAnswers(records: Records, path: string): PageHandler | undefined {
  const site = PATH.exec(path)?.[1];
  const answer = site === undefined ? undefined : records.answer(site);
  if (answer === undefined) return undefined;
  const etag = `"${createHash('sha256').update(answer.body).digest('hex')}"`;
  return () => ({ status: 200, type: 'application/json', body: answer.body, etag });
}
