// JSON from strangers: one linear pass over the bytes for depth, size and number form, then the platform's parser.
import { fault } from '../faults.ts';
import { FORM_LIMITS } from '../limits.ts';

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Parses a JSON object. Refuses (trust.malformed): invalid UTF-8, nesting and counts past FORM_LIMITS, numbers that are not
 * plain integers below 2^53, duplicate members, lone surrogates. Linear in the length of `bytes`.
 */
export function parseJsonObject(bytes: Uint8Array, where: string): JsonObject {
  const refuse = (message: string, cause?: unknown) => fault('malformed', `${where}: ${message}`, { where, cause });
  const members = scan(bytes, refuse);
  let value: Json;
  try {
    value = JSON.parse(decoder.decode(bytes)) as Json;
  } catch (cause) {
    throw refuse('not JSON', cause);
  }
  if (!isObject(value)) throw refuse('must be a JSON object');
  // The parser keeps one of several equal members; another client might keep another one.
  if (countMembers(value, refuse) !== members) throw refuse('an object holds the same member twice');
  return value;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One pass without recursion; gives the number of object members. */
function scan(bytes: Uint8Array, refuse: (message: string) => Error): number {
  let depth = 0;
  let values = 0;
  let members = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) {
      at++;
      while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
    } else if (byte === 0x7b || byte === 0x5b) {
      depth++;
      values++;
      if (depth > FORM_LIMITS.jsonDepth) throw refuse(`nested deeper than ${FORM_LIMITS.jsonDepth} levels`);
    } else if (byte === 0x7d || byte === 0x5d) depth--;
    else if (byte === 0x2c) values++;
    else if (byte === 0x3a) members++;
    else if ((byte >= 0x30 && byte <= 0x39) || byte === 0x2d) {
      for (at++; at < bytes.length; at++) {
        const digit = bytes[at] as number;
        if (digit === 0x2e || digit === 0x65 || digit === 0x45) throw refuse('holds a number that is not a plain integer');
        if (digit < 0x30 || digit > 0x39) break;
      }
      at--;
    }
    if (values > FORM_LIMITS.jsonValues) throw refuse(`holds more than ${FORM_LIMITS.jsonValues} values`);
  }
  return members;
}

/** Counts members and looks at every string and number; recursion is bounded by the depth checked before. */
function countMembers(value: Json, refuse: (message: string) => Error): number {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw refuse('holds a lone surrogate');
    return 0;
  }
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw refuse('holds an integer of 2^53 or more');
    return 0;
  }
  if (typeof value !== 'object' || value === null) return 0;
  let members = 0;
  if (Array.isArray(value)) {
    for (const item of value) members += countMembers(item, refuse);
    return members;
  }
  for (const key of Object.keys(value)) {
    if (!key.isWellFormed()) throw refuse('holds a lone surrogate');
    members += 1 + countMembers(value[key] as Json, refuse);
  }
  return members;
}
