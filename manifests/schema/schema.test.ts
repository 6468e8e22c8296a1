// Documents: the same value is the same bytes, hostile input ends in a typed error in bounded time, authored files name places.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { isFault } from '#manifests/errors';
import {
  canonicalJson,
  decodeDocument,
  decodePlain,
  encodeDocument,
  encodePlain,
  moment,
  readAuthored,
  relativePath,
} from './index.ts';

const ROSTER = {
  schema: 'patchferry/roster',
  schemaVersion: 1,
  signedAt: '2026-01-02T03:04:05Z',
  agents: [
    {
      id: '0'.repeat(32),
      title: 'web 1',
      group: 'servers',
      labels: { role: 'web' },
      signKey: 'a'.repeat(64),
      boxKey: 'b'.repeat(64),
      status: 'approved',
      since: '2026-01-02T03:04:05Z',
    },
  ],
  recipients: [{ name: 'collector', boxKey: 'c'.repeat(64) }],
} as const;
const roster = () => structuredClone(ROSTER) as never;

test('a document goes out and comes back the same, in the same bytes whatever the order of its fields', () => {
  const bytes = encodeDocument('roster', roster());
  assert.deepEqual(decodeDocument('roster', bytes, 'roster'), ROSTER);
  const reversed = Object.fromEntries(Object.entries(ROSTER).toReversed()) as never;
  assert.deepEqual(encodePlain('roster', reversed), encodePlain('roster', roster()));
});

test('canonical JSON reads back as what it was, sorted, for any JSON value', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
      assert.equal(canonicalJson(JSON.parse(text)), text);
    }),
    { numRuns: 500 },
  );
});

test('S17 hostile strings: prototypes, surrogates, control characters, unknown fields and deep nesting are refused with a code', () => {
  const refused = (change: (value: Record<string, unknown>) => void, code = 'document.malformed') => {
    const value = JSON.parse(JSON.stringify(ROSTER)) as Record<string, unknown>;
    change(value);
    assert.throws(
      () => decodePlain('roster', Buffer.from(JSON.stringify(value)), 'x'),
      (error) => isFault(error, code),
    );
  };
  const agent = (value: Record<string, unknown>) => (value['agents'] as Record<string, unknown>[])[0] ?? {};
  refused((value) => (agent(value)['title'] = 'a\u0000b'));
  refused((value) => (agent(value)['title'] = '\ud800'));
  refused((value) => (agent(value)['extra'] = 1));
  refused((value) => (agent(value)['id'] = 'A'.repeat(32)));
  refused((value) => (value['schemaVersion'] = 2), 'document.unknown-version');
  refused((value) => (value['recipients'] = []));
  const proto = Buffer.from(JSON.stringify(ROSTER).replace('"labels":{', '"labels":{"__proto__":{"admin":"yes"},'));
  const labels = decodePlain('roster', proto, 'x').agents[0]?.labels ?? {};
  assert.equal(labels['admin'], undefined);
  assert.deepEqual(Object.getOwnPropertyNames(labels), ['role']);
  const deep = Buffer.from(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
  assert.throws(
    () => decodePlain('roster', deep, 'x'),
    (error) => isFault(error, 'document.malformed'),
  );
});

test('what is no zstd stream, or unpacks without end, is refused', () => {
  assert.throws(
    () => decodeDocument('roster', Buffer.from('<html>sign in</html>'), 'x'),
    (error) => isFault(error, 'document.malformed'),
  );
  const bomb = zstdCompressSync(Buffer.alloc(300 * 1024 * 1024));
  assert.throws(
    () => decodeDocument('roster', bomb, 'x'),
    (error) => isFault(error, 'document.too-large'),
  );
});

test('moments exist and paths do not climb', () => {
  for (const bad of ['2026-02-30T00:00:00Z', '2026-01-01T24:00:00Z', '2026-01-01T00:00:00+00:00', '2026-01-01', '']) {
    assert.equal(moment.safeParse(bad).success, false, bad);
  }
  assert.equal(moment.safeParse('2024-02-29T23:59:59Z').success, true);
  for (const bad of ['../a', 'a/../b', '/a', 'a//b', 'a\\b', './a', 'a/', ''])
    assert.equal(relativePath.safeParse(bad).success, false, bad);
  assert.equal(relativePath.safeParse('pool/main/o/openssl/libssl3_3.0.17-1~deb12u2_amd64.deb').success, true);
});

test('an authored file names line, column, field, and what was meant', () => {
  const text = [
    'apiVersion: patchferry/v1',
    'kind: MaintenanceWindow',
    'metadata: { name: nightly }',
    'spec:',
    '  days: [mon]',
    '  start: "25:00"',
    '  durationMinuts: 60',
    '  zone: UTC',
    '---',
    'apiVersion: patchferry/v1',
    'kind: Baselin',
  ].join('\n');
  const { documents, problems } = readAuthored(text, 'w.yaml');
  assert.deepEqual(documents, []);
  const rows = problems.map((p) => `${p.line}:${p.column} ${p.field} ${p.says}`);
  assert.ok(rows.includes('6:3 spec.start must be "HH:MM"'), rows.join('\n'));
  assert.ok(rows.includes('7:3 spec.durationMinuts unknown field (did you mean "durationMinutes"?)'), rows.join('\n'));
  assert.ok(
    rows.some((row) => /kind unknown kind "Baselin" \(did you mean "Baseline"\?\)/.test(row)),
    rows.join('\n'),
  );
});

test('versions that YAML reads as numbers, aliases and torn YAML are told apart', () => {
  const one = readAuthored('apiVersion: patchferry/v1\nkind: [', 'a.yaml');
  assert.equal(one.problems.length > 0, true);
  const alias =
    'apiVersion: patchferry/v1\nkind: Baseline\nmetadata: {name: x}\nspec: {product: &p debian-12, approved: [*p]}\n';
  assert.match(readAuthored(alias, 'a.yaml').problems[0]?.says ?? '', /aliases/);
  const dated =
    'apiVersion: patchferry/v1\nkind: Baseline\nmetadata: {name: x}\nspec:\n  product: debian-12\n  rules:\n    - {name: r, approve: {afterDays: 1, untilDate: "2026-01-01"}}\n';
  assert.match(readAuthored(dated, 'a.yaml').problems[0]?.says ?? '', /exactly one of afterDays/);
});
