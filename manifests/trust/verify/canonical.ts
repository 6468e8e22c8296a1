// Canonical JSON as TUF signs it (OLPC: TUF specification 1.0.31, 4.1): the one form of bytes under every signature and key id.
import type { Json } from './json.ts';

/**
 * The canonical bytes of a value: members sorted by code point, no blanks, only `"` and `\` escaped.
 * Values come from `parseJsonObject`, so that numbers are integers and depth is bounded.
 */
export function canonicalBytes(value: Json): Uint8Array {
  const parts: string[] = [];
  write(value, parts);
  return Buffer.from(parts.join(''), 'utf8');
}

function write(value: Json, parts: string[]): void {
  if (typeof value === 'string') parts.push(quote(value));
  else if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError('canonical JSON holds integers only');
    parts.push(value === 0 ? '0' : String(value));
  } else if (typeof value !== 'object' || value === null) parts.push(String(value));
  else if (Array.isArray(value)) {
    parts.push('[');
    for (let at = 0; at < value.length; at++) {
      if (at > 0) parts.push(',');
      write(value[at] as Json, parts);
    }
    parts.push(']');
  } else {
    parts.push('{');
    let first = true;
    for (const key of sortedKeys(value)) {
      parts.push(first ? '' : ',', quote(key), ':');
      write(value[key] as Json, parts);
      first = false;
    }
    parts.push('}');
  }
}

function quote(text: string): string {
  return /["\\]/.test(text) ? `"${text.replace(/["\\]/g, '\\$&')}"` : `"${text}"`;
}

/** UTF-16 order is code point order unless surrogates are about. */
export function sortedKeys(value: object): string[] {
  const keys = Object.keys(value);
  return keys.some((key) => /[\ud800-\udfff]/.test(key))
    ? keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    : keys.sort();
}
