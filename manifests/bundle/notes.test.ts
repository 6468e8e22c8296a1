// What people read: what a bundle holds, receipts, requests; and the numbers that are remembered.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { assert as check, property, string } from 'fast-check';
import { generateBoxKey, generateSigningKey } from '#manifests/trust';
import { openChannels } from './channels.ts';
import { describeBundle, verifyBundle } from './describe.ts';
import { foldedName, nameFault, namesFault } from './names.ts';
import { type Receipt, readReceipt, writeReceipt } from './receipt.ts';
import { matchRequest, readRequest, writeRequest } from './request.ts';
import { AT, CHUNK, makeStage, type Stage } from './testing/stage.ts';

let stage: Stage;
before(() => {
  stage = makeStage();
});
after(() => stage.end());

function fresh(): void {
  fs.rmSync(stage.stick, { recursive: true, force: true });
  fs.mkdirSync(stage.stick);
}

for (const kind of ['folder', 'tar', '7z'] as const) {
  test(`a bundle is shown exactly: every path, size and hash, and no more (${kind})`, async () => {
    fresh();
    const draft = await stage.draft();
    const { index } = kind === 'folder' ? await stage.fill(draft) : await stage.pack(draft, kind, { volumeBytes: 30_000 });
    const { text, known } = await describeBundle({ index, keys: [stage.key] });
    assert.equal(known, true);
    const rows = text.split('\n\n')[1]?.trimEnd().split('\n') ?? [];
    assert.deepEqual(new Set(rows.map((row) => row.split(/ +/).at(-1))), new Set(stage.contents.keys()));
    assert.equal(rows.length, stage.contents.size);
    assert.match((await describeBundle({ index, keys: [] })).text, /a key that is NOT known here/);
    const checked = await verifyBundle({ index, keys: [stage.key] });
    assert.deepEqual(checked.problems, []);
    assert.equal(checked.have, checked.total);
  });
}

test('a sealed bundle shows its frame to anybody, its contents to the site', async () => {
  fresh();
  const box = generateBoxKey();
  const { index } = await stage.fill(await stage.draft({ sealTo: [box.publicKey, generateBoxKey().publicKey] }));
  const shown = await describeBundle({ index, keys: [stage.key] });
  assert.equal(shown.entries, undefined);
  assert.match(shown.text, /sealed/);
  assert.doesNotMatch(shown.text, /payloads\//);
  assert.match((await describeBundle({ index, keys: [stage.key], recipient: box })).text, /payloads\//);
});

test('checking names damage and what is missing, for parts and for volumes', async () => {
  fresh();
  const draft = await stage.draft();
  const { index } = await stage.fill(draft);
  const folder = index.replace(/\.json$/, '');
  const part = join(folder, '0000005-0000009.pfp');
  const bytes = fs.readFileSync(part);
  bytes[CHUNK] = (bytes[CHUNK] ?? 0) ^ 1;
  fs.writeFileSync(part, bytes);
  assert.deepEqual((await verifyBundle({ index, keys: [stage.key] })).missing, [{ first: 6, last: 6 }]);
  fresh();
  const packed = await stage.pack(draft, 'tar', { volumeBytes: 30_000 });
  fs.rmSync(join(stage.stick, `${draft.name}.tar.002`));
  fs.appendFileSync(join(stage.stick, `${draft.name}.tar.003`), 'x');
  const checked = await verifyBundle({ index: packed.index, keys: [stage.key] });
  assert.deepEqual(checked.missing, [{ first: 1, last: 2 }]);
  assert.equal(checked.problems[0]?.part, `${draft.name}.tar.003`);
});

const receipt: Receipt = {
  schema: 'patchferry/receipt',
  schemaVersion: 1,
  site: 'ward-7',
  by: 'relay Station Süd',
  at: '2026-06-02T10:00:00Z',
  bundles: [
    {
      bundle: 'ward-7-000005-content',
      id: 'a'.repeat(32),
      kind: 'content',
      sequence: 5,
      outcome: 'partial',
      code: null,
      have: 812,
      total: 1004,
      missing: [{ first: 812, last: 1003 }],
      says: 'have 812 of 1004 chunks',
    },
  ],
};

test('a receipt: a courier reads it, the publisher checks it, also after an editor changed its line ends', async () => {
  fresh();
  const file = await writeReceipt(stage.stick, receipt, stage.signer);
  const text = fs.readFileSync(file, 'utf8');
  assert.match(text, /NOT COMPLETE: ward-7-000005-content \(number 5\)/);
  assert.match(text, /still awaited: 812-1003 of 1004/);
  assert.deepEqual(readReceipt(stage.stick, [stage.key]), { ...receipt, signedBy: stage.key });
  fs.writeFileSync(file, text.replaceAll('\r\n', '\n'));
  assert.deepEqual(readReceipt(stage.stick, [stage.key]), { ...receipt, signedBy: stage.key });
});

test('a receipt takes the code of every module, also of one with a dash in its name', async () => {
  fresh();
  const [row] = receipt.bundles;
  assert.ok(row);
  const refused = { ...receipt, bundles: [{ ...row, outcome: 'refused' as const, code: 'agent-courier.older' }] };
  await writeReceipt(stage.stick, refused, stage.signer);
  assert.equal(readReceipt(stage.stick, [stage.key])?.bundles[0]?.code, 'agent-courier.older');
});

test('a receipt whose text, signed part or signer is another is none', async () => {
  fresh();
  assert.equal(readReceipt(stage.stick, [stage.key]), undefined);
  const file = await writeReceipt(stage.stick, receipt, stage.signer);
  const text = fs.readFileSync(file, 'utf8');
  const cases: [string, string][] = [
    [text.replace('NOT COMPLETE', 'IMPORTED'), 'bundle.receipt'],
    [text.replace('"have":812', '"have":813'), 'bundle.signature'],
    [text.slice(0, -40), 'bundle.receipt'],
    [`${text}more`, 'bundle.receipt'],
    ['', 'bundle.receipt'],
  ];
  for (const [changed, code] of cases) {
    fs.writeFileSync(file, changed);
    assert.throws(() => readReceipt(stage.stick, [stage.key]), { code, exit: 5 });
  }
  fs.writeFileSync(file, text);
  assert.throws(() => readReceipt(stage.stick, [generateSigningKey().publicKey]), { code: 'bundle.unsigned' });
});

const wanted = [
  { sha256: 'b'.repeat(64), size: 70, name: 'openssl_3.0.deb' },
  { sha256: 'a'.repeat(64), size: 30, name: 'zlib.deb' },
];
const request = { site: 'ward-7', id: '1'.repeat(32), sequence: 4, salt: '2'.repeat(32), last: 11, wanted, madeAt: AT };

test('a request: a reviewer reads all of it; names, hashes only, or salted', () => {
  const named = writeRequest({ ...request, level: 'names' });
  assert.equal(
    named,
    `patchferry request 2
# All that leaves this network with this file is in it. A row below "wants" may be struck out.
site ward-7
number 4
id ${'1'.repeat(32)}
made 2026-06-01T00:00:00Z
salt ${'2'.repeat(32)}
last 11
level names
rows 2
# 2 files, 100 bytes
wants
${'a'.repeat(64)} 30 zlib.deb
${'b'.repeat(64)} 70 openssl_3.0.deb
end
`,
  );
  assert.doesNotMatch(writeRequest({ ...request, level: 'hashes' }), /deb/);
  const salted = writeRequest({ ...request, level: 'salted' });
  assert.doesNotMatch(salted, /a{64}|b{64}|deb| 30| 70/);
  const known = [...wanted, { sha256: 'c'.repeat(64), size: 1 }];
  for (const level of ['names', 'hashes', 'salted'] as const) {
    const read = readRequest(Buffer.from(writeRequest({ ...request, level })), 'x');
    assert.deepEqual({ id: read.id, sequence: read.sequence, last: read.last }, { id: request.id, sequence: 4, last: 11 });
    const { found, unknown } = matchRequest(read, known);
    assert.deepEqual(found, wanted);
    assert.deepEqual(unknown, []);
    assert.deepEqual(matchRequest(read, known.slice(1)).unknown.length, 1);
    const other = matchRequest(read, [{ ...wanted[0], sha256: 'b'.repeat(64), size: 71 }]);
    assert.deepEqual([other.found.length, other.altered.length], level === 'salted' ? [1, 0] : [0, 1]);
  }
});

test('a request: rows struck out and line ends of another system are taken, anything else is refused', () => {
  const text = writeRequest({ ...request, level: 'hashes' });
  const struck = readRequest(Buffer.from(text.replace(`${'a'.repeat(64)} 30\n`, '').replaceAll('\n', '\r\n')), 'x');
  assert.deepEqual([struck.wanted, struck.struck], [[{ sha256: 'b'.repeat(64), size: 70 }], 1]);
  const before = text.replace('request 2', 'request 1').replace('rows 2\n', '');
  assert.equal(readRequest(Buffer.from(before), 'x').struck, null, 'the version before is still read');
  for (const changed of [
    text.slice(0, -5),
    text.replace('patchferry request 2', 'patchferry request 3'),
    text.replace('wants', `wants\n${'c'.repeat(64)} 5`),
    text.replace(`${'a'.repeat(64)} 30`, `${'b'.repeat(64)} 30`),
    text.replace('rows 2\n', ''),
    text.replace('site ward-7', 'site ../x'),
    text.replace('site ward-7', 'site ward-7\nsite ward-8'),
    text.replace('site ward-7', 'site ward-7\nhost db1'),
    text.replace('level hashes', 'level everything'),
    text.replace(' 30', ' -1'),
    text.replace(' 30', ' 30 ../../etc/passwd'),
    text.replace(/^salt .*$/m, 'salt x'),
    '',
  ]) {
    assert.throws(() => readRequest(Buffer.from(changed), 'x'), { code: 'bundle.request', exit: 5 }, changed);
  }
});

test('the numbers of channels only grow, are apart for site and kind, and a damaged file is an error', () => {
  const file = join(stage.folder, 'channels.json');
  const channels = openChannels(file);
  const id = 'a'.repeat(32);
  assert.equal(channels.last({ site: 'ward-7', kind: 'content' }), 0);
  channels.note({ site: 'ward-7', kind: 'content', sequence: 5, id });
  channels.note({ site: 'ward-7', kind: 'content', sequence: 4, id });
  channels.note({ site: 'ward-7', kind: 'return', sequence: 2, id });
  const again = openChannels(file);
  assert.equal(again.last({ site: 'ward-7', kind: 'content' }), 5);
  assert.equal(again.last({ site: 'ward-7', kind: 'return' }), 2);
  assert.equal(again.last({ site: 'ward-8', kind: 'content' }), 0);
  for (const damage of ['', '{}', '{"schemaVersion":1,"last":{"x":{"sequence":"9"}}}']) {
    fs.writeFileSync(file, damage);
    assert.throws(() => openChannels(file), { code: 'bundle.malformed' });
  }
});

test('names: whatever passes is a plain relative path on every system, and folding finds twins', () => {
  check(
    property(string({ unit: 'binary', maxLength: 40 }), (path) => {
      if (nameFault(path) !== undefined) return;
      assert.match(path, /^[\x21-\x7e]+$/);
      assert.ok(!path.split('/').some((part) => part === '' || part.startsWith('.') || /[. ]$/.test(part)));
      assert.equal(namesFault([path, path.toUpperCase()])?.path, path.toUpperCase());
      assert.equal(foldedName(path), path.toLowerCase());
    }),
    { numRuns: 2_000 },
  );
  assert.equal(nameFault('payloads/sha256/ab/abcd'), undefined);
  assert.equal(nameFault('metadata/1.root.json'), undefined);
});
