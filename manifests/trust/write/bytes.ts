// The bytes of a metadata file: JSON with sorted members and no blanks, so that equal metadata is an equal file everywhere.

import { sortedKeys } from '../verify/canonical.ts';
import type { Json } from '../verify/json.ts';

export function sortedBytes(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(sorted(value as Json)), 'utf8');
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(sortedKeys(value).map((key) => [key, sorted(value[key] as Json)]));
}
