// Bundles of older formats, kept as they were written: both are read, by their own code path, to the same result.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generateSigningKey, memorySigner } from '#manifests/trust';
import { describeBundle, verifyBundle } from './describe.ts';
import { draftBundle } from './draft.ts';
import { fillFolder } from './fill.ts';
import { importBundle } from './import.ts';
import { AT, noise } from './testing/stage.ts';
import { writeVersion1 } from './testing/version1.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const pair = generateSigningKey(() => Buffer.alloc(32, 'fixture'));
const entries = [
  { path: 'metadata/timestamp.json', bytes: Buffer.from('{"kept":"as it was written"}') },
  { path: 'targets/empty', bytes: Buffer.alloc(0) },
  { path: 'payloads/sha256/aa/one', bytes: noise('fixture', 20_000) },
];
const about = {
  id: 'f'.repeat(32),
  kind: 'content',
  site: 'ward-7',
  sequence: 3,
  madeAt: '2026-06-01T00:00:00Z',
  expires: '2026-12-01T00:00:00Z',
  answers: null,
};
let scratch: string;

before(async () => {
  scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-versions-'));
  const first = join(FIXTURES, 'version-1');
  // Made once, with `npm run golden`, and then kept: what an older version wrote is not written again.
  const make = process.env['PATCHFERRY_UPDATE_GOLDEN'] === '1';
  if (make && !fs.existsSync(first)) {
    const options = { place: first, name: 'ward-7-000003-content', entries, about, signer: memorySigner(pair) };
    await writeVersion1({ ...options, chunkBytes: 4_096, chunksPerPart: 3 });
  }
  const second = join(FIXTURES, 'version-2');
  if (make && !fs.existsSync(second)) {
    fs.mkdirSync(second, { recursive: true });
    const expires = Date.parse(about.expires);
    const draft = await draftBundle({
      work: join(scratch, 'work'),
      entries,
      chunkBytes: 4_096,
      about: { kind: 'content', site: 'ward-7', sequence: 3, from: 'publisher', note: 'kept', madeAt: AT, expires },
    });
    await fillFolder({ draft, place: second, signer: memorySigner(pair), partBytes: 3 * 4_096 });
  }
});
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

for (const version of [1, 2]) {
  const index = join(FIXTURES, `version-${version}`, 'ward-7-000003-content.pfb.json');

  test(`trap 16: a bundle written by format version ${version} is imported`, async () => {
    const accept = { keys: [pair.publicKey], kind: 'content' as const, site: 'ward-7', lastSequence: 2, now: AT };
    const outcome = await importBundle({ index, staging: join(scratch, `staging ${version}`), accept, medium: 'none' });
    assert.equal(outcome.kind, 'complete');
    if (outcome.kind !== 'complete') return;
    assert.equal(outcome.index.version, version);
    for (const { path, bytes } of entries) assert.deepEqual(fs.readFileSync(join(outcome.tree, path)), bytes);
  });

  test(`a bundle of format version ${version} is shown and checked`, async () => {
    const { text, known } = await describeBundle({ index, keys: [pair.publicKey] });
    assert.equal(known, true);
    for (const { path } of entries) assert.ok(text.includes(path));
    const { have, total, problems } = await verifyBundle({ index, keys: [pair.publicKey] });
    assert.deepEqual({ have, total, problems }, { have: 5, total: 5, problems: [] });
  });

  test(`damage in a bundle of format version ${version} is named, and mended from another stick`, async () => {
    const stick = join(scratch, `stick ${version}`);
    fs.cpSync(join(FIXTURES, `version-${version}`), stick, { recursive: true });
    const damaged = join(stick, 'ward-7-000003-content.pfb.json');
    const part = join(stick, 'ward-7-000003-content.pfb', '0000003-0000004.pfp');
    const bytes = fs.readFileSync(part);
    bytes[7] = (bytes[7] ?? 0) ^ 1;
    fs.writeFileSync(part, bytes);
    const accept = { keys: [pair.publicKey], kind: 'content' as const, site: 'ward-7', lastSequence: 2, now: AT };
    const staging = join(scratch, `mended ${version}`);
    const outcome = await importBundle({ index: damaged, staging, accept, medium: 'none' });
    assert.deepEqual(outcome.kind === 'partial' && outcome.missing, [{ first: 3, last: 3 }]);
    assert.equal((await importBundle({ index, staging, accept, medium: 'none' })).kind, 'complete');
  });
}
