// Documents as bytes: canonical JSON (sorted keys, no blanks), zstd for what travels, checked by schema on the way in.
import { createHash } from 'node:crypto';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { resolvedBaseline } from './baseline.ts';
import { catalog } from './catalog.ts';
import { DOCUMENT_LIMITS } from './common.ts';
import { kev } from './feeds.ts';
import { group } from './group.ts';
import { inventory } from './inventory.ts';
import { type Quick, quickOf } from './quick.ts';
import { signedHalt, signedRecall } from './recall.ts';
import { result } from './result.ts';
import { acks, roster } from './roster.ts';
import { signedDelegation, signedOverlay } from './site.ts';
import { relayGap, siteHalt } from './site-record.ts';
import { signedWaiver, waiverAnswers } from './waiver.ts';

const fault = defineFaults('document', {
  malformed: { exit: EXIT.refused, next: 'The signer must write it anew; nothing of it was used.' },
  'unknown-version': { exit: EXIT.refused, next: 'This patchferry is too old for the document: update it.' },
  'too-large': { exit: EXIT.refused, next: 'The document is larger than its kind may be; nothing of it was used.' },
});

/** Every kind that travels, by the name in its `schema` field. */
export const DOCUMENTS = {
  catalog,
  'resolved-baseline': resolvedBaseline,
  group,
  roster,
  acks,
  inventory,
  result,
  waiver: signedWaiver,
  'waiver-answers': waiverAnswers,
  recall: signedRecall,
  halt: signedHalt,
  'site-delegation': signedDelegation,
  'site-overlay': signedOverlay,
  'site-halt': siteHalt,
  'relay-gap': relayGap,
  kev,
} as const;
export type DocumentKind = keyof typeof DOCUMENTS;
export type DocumentOf<K extends DocumentKind> = z.infer<(typeof DOCUMENTS)[K]>;

/** JSON with keys sorted by UTF-16 code units, no blanks, no `undefined`: the same value is the same text everywhere. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError('a document cannot hold a number without end');
  return JSON.stringify(value);
}

/** SHA-256 of bytes or of a text's UTF-8, in lower-case hex. */
export function sha256Of(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Checks a value and gives its plain bytes (canonical JSON). @throws document.malformed */
export function encodePlain<K extends DocumentKind>(kind: K, value: DocumentOf<K>): Uint8Array {
  return Buffer.from(canonicalJson(check(kind, value, `new ${kind}`)));
}

/** As `encodePlain`, compressed with zstd: how documents travel. */
export function encodeDocument<K extends DocumentKind>(kind: K, value: DocumentOf<K>): Uint8Array {
  return zstdCompressSync(encodePlain(kind, value));
}

/** Reads a compressed document whose hash was already checked. @throws document.malformed, document.too-large, document.unknown-version */
export function decodeDocument<K extends DocumentKind>(kind: K, bytes: Uint8Array, where: string): DocumentOf<K> {
  return decodePlain(kind, plainOf(bytes, where), where);
}

function plainOf(bytes: Uint8Array, where: string): Uint8Array {
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: DOCUMENT_LIMITS.plainBytes });
  } catch (cause) {
    const tooLarge = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw fault(tooLarge ? 'too-large' : 'malformed', `${where}: ${tooLarge ? 'too large' : 'not a zstd stream'}`, {
      where,
      cause,
    });
  }
}

/** Which kind a compressed document says it is; nothing else of it is believed. @throws document.malformed, document.too-large */
export function documentKind(bytes: Uint8Array, where: string): string {
  const frame = jsonOf(plainOf(bytes, where), where) as { schema?: unknown } | null;
  return typeof frame?.schema === 'string' ? frame.schema.replace(/^patchferry\//, '') : '';
}

/** Reads a document from its plain bytes. @throws document.malformed, document.unknown-version */
export function decodePlain<K extends DocumentKind>(kind: K, plain: Uint8Array, where: string): DocumentOf<K> {
  return check(kind, jsonOf(plain, where), where);
}

function jsonOf(plain: Uint8Array, where: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(plain));
  } catch (cause) {
    throw fault('malformed', `${where}: not JSON`, { where, cause });
  }
}

const quick = new Map<DocumentKind, Quick | undefined>();

/** The quick checker of a kind, made when first needed. */
function quickFor(kind: DocumentKind): Quick | undefined {
  if (!quick.has(kind)) quick.set(kind, quickOf(DOCUMENTS[kind]));
  return quick.get(kind);
}

function check<K extends DocumentKind>(kind: K, value: unknown, where: string): DocumentOf<K> {
  const frame = value as { schema?: unknown; schemaVersion?: unknown } | null;
  if (frame?.schema === `patchferry/${kind}` && typeof frame.schemaVersion === 'number' && frame.schemaVersion > 1) {
    throw fault('unknown-version', `${where}: version ${frame.schemaVersion} of ${kind} is newer than this patchferry reads`, {
      where,
    });
  }
  if (quickFor(kind)?.(value) === true) return value as DocumentOf<K>;
  const parsed = DOCUMENTS[kind].safeParse(value);
  if (parsed.success) return parsed.data as DocumentOf<K>;
  const rows = parsed.error.issues.slice(0, 10).map((issue) => `${issue.path.join('.') || '(document)'}: ${issue.message}`);
  throw fault('malformed', `${where}: not a valid ${kind}: ${rows.join('; ')}`, { where });
}
