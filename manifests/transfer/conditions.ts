// Conditions, ranges and validators of requests and answers (RFC 9110, 8.8, 13 and 14).
import type { Answer } from './answer.ts';
import type { PartTag } from './receive.ts';

/**
 * Range and If-Range: this origin's own validator; else the content's hash, which is the ETag a relay of ours gives. A path
 * that is named by the hash can only be this content (or is refused by its hash in the end): there a server with validators
 * of its own, nginx or an object store, may go on where another one stopped, and no condition is set.
 */
export function rangeHeaders(
  path: string,
  offset: number,
  tag: PartTag | undefined,
  from: string,
  sha256: string,
): Record<string, string> {
  const range = { range: `bytes=${offset}-` };
  if (tag?.from === from && tag.validator !== '') return { ...range, 'if-range': tag.validator };
  return path.endsWith(`/${sha256}`) || path.includes(`/${sha256}.`) ? range : { ...range, 'if-range': `"${sha256}"` };
}

/** Whether a 206 is exactly what is missing of a file of `size` bytes (RFC 9110, 14.4). */
export function isRestOf(answer: Answer, offset: number, size: number): boolean {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(answer.header('content-range') ?? '');
  if (match === null || offset === 0) return false;
  return Number(match[1]) === offset && Number(match[2]) === size - 1 && (match[3] === '*' || Number(match[3]) === size);
}

/** A strong validator fit for If-Range (RFC 9110, 13.1.5), or an empty text. */
export function validatorOf(answer: Answer): string {
  const etag = answer.header('etag');
  if (etag !== undefined) return /^"[\x21\x23-\x7e]{1,200}"$/.test(etag) ? etag : '';
  const date = answer.header('last-modified');
  return date !== undefined && /^[A-Za-z0-9 ,:]{20,40}$/.test(date) ? date : '';
}

const DATED = 'last-modified:';

/** The condition under which a validator from `fetchSmall` is asked again (RFC 9110, 13.1.2 and 13.1.3). */
export function conditionOf(validator: string | undefined): Record<string, string> {
  if (validator === undefined) return {};
  return validator.startsWith(DATED) ? { 'if-modified-since': validator.slice(DATED.length) } : { 'if-none-match': validator };
}

/**
 * Of a server without ETags its date, marked as such, is the validator: only when the file was older than a minute by the
 * server's own clock, so that a change within the same second is not missed (RFC 9110, 8.8.2.2).
 */
export function datedValidator(answer: Answer, now: number): string | undefined {
  const date = answer.header('last-modified');
  if (date === undefined || !/^[A-Za-z0-9 ,:]{20,40}$/.test(date)) return undefined;
  const server = Date.parse(answer.header('date') ?? '');
  const age = (Number.isNaN(server) ? now : server) - Date.parse(date);
  return age >= 60_000 ? `${DATED}${date}` : undefined;
}
