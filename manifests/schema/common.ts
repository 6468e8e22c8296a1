// Building blocks of every signed document: bounded strings, hashes, moments, names; and the frame of a document kind.
import { z } from 'zod';

/** Longest lists and strings a document may hold; a parser never sees more. */
export const DOCUMENT_LIMITS = {
  /** Bytes of one document after decompression. */
  plainBytes: 256 * 1024 * 1024,
  /** Entries of any one list. */
  entries: 2_000_000,
  /** Characters of a one-line text. */
  line: 1_000,
  /** Characters of a longer text (output of a command, a reason with its history). */
  text: 65_536,
} as const;

const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

/** Text without control characters (but tab and newline) and without lone surrogates. */
export const text = (limit: number = DOCUMENT_LIMITS.text) =>
  z
    .string()
    .max(limit)
    .refine((value) => value.isWellFormed() && !CONTROL.test(value), { error: 'holds control characters or broken Unicode' });

/** One line of text. */
export const line = (limit: number = DOCUMENT_LIMITS.line) =>
  text(limit).refine((value) => !/[\n\r\t]/.test(value), { error: 'must be one line' });

/** SHA-256 in lower-case hex. */
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, { error: 'must be a SHA-256 in lower-case hex' });

/** 32-byte public key in lower-case hex. */
export const publicKeyHex = z.string().regex(/^[0-9a-f]{64}$/, { error: 'must be 32 bytes in lower-case hex' });

/** An agent's id: the first 32 hex digits of the SHA-256 of its signing key. */
export const agentId = z.string().regex(/^[0-9a-f]{32}$/, { error: 'must be an agent id (32 hex digits)' });

/** A name people give: baselines, groups, windows, sources, sites. */
export const name = z.string().regex(/^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/, {
  error: 'must be lower-case letters, digits, dots and dashes (at most 63)',
});

/** A moment: UTC to the second, `YYYY-MM-DDTHH:MM:SSZ`, of a day that exists. */
export const moment = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/, { error: 'must be UTC as YYYY-MM-DDTHH:MM:SSZ' })
  .refine(
    (value) => {
      const at = Date.parse(value);
      return !Number.isNaN(at) && new Date(at).toISOString().slice(0, 19) === value.slice(0, 19);
    },
    { error: 'is a moment that does not exist' },
  );

export const count = z.int().min(0);

/** A day of the calendar, `YYYY-MM-DD`, without a zone: whoever uses one says by which wall clock. */
export const calendarDate = z
  .string({ error: 'must be a date, quoted: "2026-01-31"' })
  .regex(/^\d{4}-\d{2}-\d{2}$/, { error: 'must be a date as "YYYY-MM-DD"' })
  .refine((value) => new Date(Date.parse(`${value}T00:00:00Z`) || 0).toISOString().slice(0, 10) === value, {
    error: 'is a date that does not exist',
  });

/** Where time is reckoned: `UTC`, an IANA zone (the same instant everywhere), or `host` (the same wall time on every host). */
export const zone = z.string().regex(/^(?:UTC|host|[A-Za-z_]+(?:\/[A-Za-z0-9_+-]+){1,2})$/, {
  error: 'must be UTC, host, or an IANA zone such as Europe/Berlin',
});

/** A relative path of plain names, as in `pool/main/o/openssl/x.deb`: no empty, `.` or `..` part, no backslash. */
export const relativePath = z
  .string()
  .max(1_024)
  .regex(/^[A-Za-z0-9_+~^:%=,@.-]+(?:\/[A-Za-z0-9_+~^:%=,@.-]+)*$/, { error: 'must be a relative path of plain names' })
  .refine((value) => !value.split('/').some((part) => part === '.' || part === '..'), { error: 'must not climb' });

/** Labels of a host: `role: database`. */
export const labels = z.record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/), line(200));

/** Bytes that a document names by hash and length. */
export const contentRef = z.strictObject({ sha256, size: count });
export type ContentRef = z.infer<typeof contentRef>;

export const API_VERSION = 'patchferry/v1';

/** The frame of every document people write: `apiVersion`, `kind`, `metadata`, `spec`. */
export const authored = <K extends string, S extends z.ZodType>(kind: K, spec: S) =>
  z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: z.strictObject({ name, description: line(500).optional(), labels: labels.optional() }),
    spec,
  });

/** The frame of every document: `schema: patchferry/KIND` and its version. */
export const document = <S extends z.ZodRawShape>(kind: string, version: number, shape: S) =>
  z.strictObject({ schema: z.literal(`patchferry/${kind}`), schemaVersion: z.literal(version), ...shape });

export const list = <T extends z.ZodType>(item: T, limit: number = DOCUMENT_LIMITS.entries) => z.array(item).max(limit);
