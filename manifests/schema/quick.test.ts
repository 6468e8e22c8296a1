// The quick checker and zod never disagree: not on what is right, and not on any change to it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { z } from 'zod';
import { catalog } from './catalog.ts';
import { line, moment, relativePath } from './common.ts';
import { quickOf } from './quick.ts';

const CATALOG = {
  schema: 'patchferry/catalog',
  schemaVersion: 1,
  product: 'debian-12',
  generatedAt: '2026-01-02T03:04:05Z',
  repositories: [
    {
      name: 'debian-12-security',
      format: 'apt',
      suite: 'bookworm-security',
      components: ['main'],
      architectures: ['amd64'],
      indexes: [{ sha256: 'a'.repeat(64), size: 12, path: 'dists/bookworm-security/InRelease' }],
      syncedAt: '2026-01-02T03:04:05Z',
    },
  ],
  patches: [
    {
      id: 'openssl@3.0.15-1~deb12u1',
      format: 'deb',
      source: 'openssl',
      version: '3.0.15-1~deb12u1',
      title: 'Secure Sockets Layer toolkit',
      classification: 'security',
      severity: 'high',
      section: 'utils',
      priority: 'optional',
      repository: 'debian-12-security',
      cves: ['CVE-2024-5535'],
      advisories: ['DSA-5764-1'],
      firstSeen: '2026-01-02T03:04:05Z',
      released: null,
      updated: '2026-01-02T03:04:05Z',
      packages: [
        {
          name: 'libssl3',
          version: '3.0.15-1~deb12u1',
          arch: 'amd64',
          sha256: 'b'.repeat(64),
          size: 9,
          path: 'pool/o/libssl3.deb',
        },
      ],
    },
  ],
} as const;

type Json = Record<string, unknown> | unknown[];

/** Every place of a value that holds others. */
function holders(value: unknown): Json[] {
  if (typeof value !== 'object' || value === null) return [];
  return [value as Json, ...Object.values(value).flatMap(holders)];
}

/** Values that lie close to the borders of what is allowed. */
const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(
    null,
    '',
    -1,
    -0,
    0.5,
    2 ** 53,
    '2026-02-30T00:00:00Z',
    '../x',
    'a/./b',
    'CVE-1-1',
    'x'.repeat(1100),
    [],
    {},
  ),
  fc.constantFrom<unknown>(
    'a\u0000b',
    '\ud800',
    'two\nlines',
    'A'.repeat(64),
    'deb',
    'apt',
    1,
    'debian-12',
    '2026-01-02T03:04:05Z',
  ),
);

function agree(schema: z.ZodType, value: unknown): void {
  const quick = quickOf(schema);
  assert.ok(quick !== undefined);
  const judged = schema.safeParse(value);
  assert.equal(quick(value), judged.success, JSON.stringify(value).slice(0, 500));
  if (judged.success) assert.deepEqual(judged.data, value);
}

test('the same verdict as zod on a catalog, and on every change of one', () => {
  agree(catalog, structuredClone(CATALOG));
  fc.assert(
    fc.property(
      fc.nat(),
      fc.nat(),
      fc.constantFrom('set', 'drop', 'add'),
      odd,
      fc.string(),
      (where, which, how, value, key) => {
        const changed = structuredClone(CATALOG) as unknown as Json;
        const places = holders(changed);
        const place = places[where % places.length] ?? changed;
        const keys = Object.keys(place);
        const target = keys[which % Math.max(1, keys.length)];
        const fields = place as Record<string, unknown>;
        if (how === 'add' || target === undefined) {
          Object.defineProperty(place, Array.isArray(place) ? place.length : key, { value, enumerable: true, writable: true });
        } else if (how === 'drop') delete fields[target];
        else fields[target] = value;
        agree(catalog, JSON.parse(JSON.stringify(changed)));
      },
    ),
    { numRuns: 3_000 },
  );
});

test('the building blocks of documents, each against zod', () => {
  const blocks = z.strictObject({
    one: z.string().min(2).max(4).optional(),
    two: z.number().gt(1).lte(9),
    three: z.boolean().nullable(),
    four: z.array(z.literal(['a', 'b'])).min(1),
    five: line(20),
    six: relativePath,
    seven: moment,
    eight: z.int().min(0).max(7),
  });
  const right = {
    one: 'abc',
    two: 2,
    three: null,
    four: ['a'],
    five: 'x',
    six: 'a/b',
    seven: '2026-01-02T03:04:05Z',
    eight: 7,
  };
  agree(blocks, right);
  agree(blocks, { ...right, two: 1 });
  agree(blocks, { ...right, two: 9 });
  agree(blocks, { ...right, two: 9.5 });
  agree(blocks, { ...right, four: [] });
  agree(blocks, { ...right, eight: 7.5 });
  agree(blocks, JSON.parse(JSON.stringify({ ...right, one: undefined })));
  agree(blocks, JSON.parse('{"__proto__":1}'));
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(right)), odd, (key, value) => agree(blocks, { ...right, [key]: value })),
    {
      numRuns: 2_000,
    },
  );
});

test('what changes a value or is not known is left to zod', () => {
  for (const schema of [
    z.string().trim(),
    z.string().default('x'),
    z.coerce.number(),
    z.union([z.string(), z.number()]),
    z.object({ a: z.string() }),
    z.string().superRefine(() => undefined),
    z
      .string()
      .refine(() => true)
      .transform((value) => value),
    z.string().email(),
    z.strictObject({ a: z.string().default('x') }),
  ]) {
    assert.equal(quickOf(schema), undefined);
  }
});
