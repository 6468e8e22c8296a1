// Cards, roots and rejected bundles: the small parts that the loops stand on. The loops themselves are in scripts/test.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { buildRoot, generateBoxKey, generateSigningKey, memorySigner, type Signer, signMetadata } from '#manifests/trust';
import { formatCard, parseCard } from './card.ts';
import { fault } from './faults.ts';
import { openSite, publisherKeys, writeRoots } from './index.ts';
import { rejectBundle } from './rejected.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'pf-courier-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

test('a card is read back as it was written; anything else is no card', () => {
  const card = { site: 'ward-7', signKey: generateSigningKey().publicKey, boxKey: generateBoxKey().publicKey };
  assert.deepEqual(parseCard(`  ${formatCard(card)}\n`), card);
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.throws(() => parseCard(text), { code: 'courier.card' });
    }),
  );
  assert.throws(() => parseCard(formatCard({ ...card, site: '../x' })), { code: 'courier.card' });
  // A key of small order would verify anything (S1 of security.md speaks of the same for hosts).
  assert.throws(() => parseCard(formatCard({ ...card, signKey: '0'.repeat(64) })), { code: 'trust.weak-key' });
});

test('a site keeps its keys and its name', async () => {
  const place = join(folder, 'site');
  await assert.rejects(openSite(place, undefined), { code: 'courier.no-site' });
  const first = await openSite(place, 'ward-7');
  assert.deepEqual((await openSite(place, undefined)).card, first.card);
  await assert.rejects(openSite(place, 'ward-8'), { code: 'courier.other-name' });
  assert.equal(fs.statSync(join(place, 'sign.key')).mode & 0o077, 0);
});

test('roots on a stick are followed only when each is signed by the one before', async () => {
  const root = memorySigner(generateSigningKey());
  const far = Date.now() + 86_400_000;
  const make = async (version: number, timestamp: Signer, by: readonly Signer[]) => {
    const role = (signer: Signer) => ({ keys: [signer.key], threshold: 1 });
    const roles = { root: role(root), targets: role(root), snapshot: role(root), timestamp: role(timestamp) };
    return Buffer.from(await signMetadata(buildRoot({ version, expires: far, roles }), by));
  };
  const keys = [1, 2, 3].map(() => memorySigner(generateSigningKey()));
  const publicOf = (at: number) => keys[at]?.key.keyval.public ?? '';
  const [one, two, three] = await Promise.all(keys.map((key, at) => make(at + 1, key, [root])));
  assert.ok(one && two && three);
  const stick = join(folder, 'stick');
  assert.deepEqual(publisherKeys([one], stick).bundles, [publicOf(0)]);
  writeRoots(stick, [
    { name: '2.root.json', bytes: two },
    { name: '3.root.json', bytes: three },
  ]);
  const followed = publisherKeys([one], stick);
  assert.deepEqual(followed.bundles, [publicOf(2)], 'a key that was rotated away signs no bundle any more');
  assert.deepEqual([...followed.media].toSorted(), [0, 1, 2].map(publicOf).toSorted());

  const stranger = memorySigner(generateSigningKey());
  const forged = await make(2, stranger, [stranger]);
  fs.writeFileSync(join(stick, 'patchferry-roots', '2.root.json'), forged);
  assert.deepEqual(publisherKeys([one], stick).bundles, [publicOf(0)]);
  fs.rmSync(join(stick, 'patchferry-roots', '2.root.json'));
  fs.symlinkSync('/dev/zero', join(stick, 'patchferry-roots', '2.root.json'));
  assert.deepEqual(publisherKeys([one], stick).bundles, [publicOf(0)], 'no link is followed');
});

test('a refused bundle is moved with its note; on a stick that takes no writing the note lies here', () => {
  const place = join(folder, 'drop');
  const own = join(folder, 'own');
  const error = fault('gap', 'it builds on number 4');
  for (const round of [1, 2]) {
    fs.mkdirSync(join(place, 'ward-7-000005-content.pfb'), { recursive: true });
    fs.writeFileSync(join(place, 'ward-7-000005-content.pfb.json'), '{}');
    fs.writeFileSync(join(place, 'ward-7-000005-contents-of-somebody.txt'), 'mine');
    const note = rejectBundle({ place, name: 'ward-7-000005-content', error, move: true, own, now: 0 });
    assert.equal(note, join(place, 'rejected', `ward-7-000005-content${round === 1 ? '' : '-2'}.txt`));
    assert.match(fs.readFileSync(note, 'utf8'), /code: {3}courier\.gap/);
  }
  assert.deepEqual(fs.readdirSync(place).toSorted(), ['rejected', 'ward-7-000005-contents-of-somebody.txt']);
  const nowhere = join(folder, 'a file');
  fs.writeFileSync(nowhere, '');
  const kept = rejectBundle({ place: nowhere, name: 'x', error, move: false, own, now: 0 });
  assert.equal(kept, join(own, 'x.txt'));
});
