// Halts that relays of a site signed, and results that they dropped: collected, shown, lifted in the delegation.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { utcSeconds } from '#manifests/platform/clock';
import { decodeDocument, encodePlain, type RelayGap, type SiteHalt } from '#manifests/schema';
import { folderOrigin } from '#manifests/transfer';
import { generateBoxKey, generateSigningKey, openRecord, openTrust, signRecord } from '#manifests/trust';
import { tryOut } from './try-out.ts';

const relay = generateSigningKey();
const box = generateBoxKey();
const agent = 'a'.repeat(32);
const HALT: SiteHalt = {
  schema: 'patchferry/site-halt',
  schemaVersion: 1,
  site: 'ward-7',
  name: 'fuse-all',
  signedAt: utcSeconds(Date.now() - 60_000),
  groups: ['all'],
  stops: ['download', 'install'],
  reason: '2 of 8 hosts failed within 24 hours',
  until: null,
  fuse: { rollout: 'careful', reports: 8, failures: 2, failed: [agent] },
};

describe('what relays say under their own names', () => {
  const lab = tryOut();
  const trustFolder = fs.mkdtempSync(join(tmpdir(), 'pf-halts-'));
  after(() => {
    lab.remove();
    fs.rmSync(trustFolder, { recursive: true, force: true });
  });
  before(async () => {
    await lab.prepare();
    const card = `patchferry-site:ward-7:${relay.publicKey}:${box.publicKey}`;
    const added = await lab.run('site', 'add', 'ward-7', '--may', 'halt', '--relay', card);
    assert.equal(added.exit, 0, added.err);
    fs.appendFileSync(join(lab.home, 'policy/sites/ward-7.yaml'), '# the ward by the lake\n');
    assert.equal((await lab.run('publish')).exit, 0);
  });
  const arrive = (body: Uint8Array, signer = relay): string => {
    const record = signRecord(body, signer);
    const { id } = openRecord(record);
    const folder = join(lab.home, 'inbox/records');
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(join(folder, `${id}.pfr`), record);
    return id;
  };
  const delegation = async () => {
    const trust = openTrust({ folder: trustFolder, pinnedRoot: fs.readFileSync(lab.root), now: () => Date.now() });
    const origin = folderOrigin(lab.repository);
    await trust.refresh(origin);
    const path = 'policy/sites/ward-7.json.zst';
    return decodeDocument('site-delegation', await trust.readTarget(path, origin), path);
  };

  test('the card of a relay is in the signed delegation', async () => {
    assert.deepEqual((await delegation()).relays, [{ signKey: relay.publicKey, boxKey: box.publicKey }]);
    const other = `patchferry-site:other:${relay.publicKey}:${box.publicKey}`;
    const refused = await lab.run('site', 'add', 'ward-8', '--key', relay.publicKey, '--may', 'halt', '--relay', other);
    assert.equal(refused.exit, 2, refused.out);
    const card = other.replace('other', 'ward-8');
    for (const more of [[], ['--may', 'halt', '--may', 'reject'], ['--may', 'reject']]) {
      const keyless = await lab.run('site', 'add', 'ward-8', '--relay', card, ...more);
      assert.equal(keyless.exit, 2, keyless.out);
      assert.match(keyless.err, /--key is missing/);
    }
  });

  test('collect shows a halt of a site and says how to end it; what a stranger signed does not count, a torn one is put aside', async () => {
    arrive(encodePlain('site-halt', HALT));
    arrive(encodePlain('site-halt', { ...HALT, name: 'forged' }), generateSigningKey());
    fs.writeFileSync(join(lab.home, 'inbox/records', `${'0'.repeat(64)}.pfr`), 'patchferry-record-v1 torn');
    const collected = await lab.run('collect');
    assert.equal(collected.exit, 1, collected.err);
    assert.match(collected.out, /site ward-7 \(all\): 2 of 8 hosts failed .*publisher site lift ward-7 fuse-all/);
    assert.match(collected.out, /not counted: halt forged of site ward-7: it is signed by no relay/);
    assert.match(collected.out, /refused .*record\.malformed/);
    assert.deepEqual(fs.readdirSync(join(lab.home, 'inbox/records')), []);
    const listed = await lab.run('site', 'halts');
    assert.equal(listed.exit, 1);
    assert.match(listed.out, /ward-7 +fuse-all +in-force/);
  });

  test('trap 19: a gap is shown with who dropped what, and why', async () => {
    const gap: RelayGap = {
      schema: 'patchferry/relay-gap',
      schemaVersion: 1,
      site: 'ward-7',
      signedAt: utcSeconds(Date.now()),
      agent,
      dropped: [
        { from: 3, to: 7 },
        { from: 9, to: 9 },
      ],
      results: 6,
      bytes: 12_345,
      why: 'quota',
    };
    arrive(encodePlain('relay-gap', gap));
    const { out } = await lab.run('collect');
    assert.match(out, /gap of a{32}: a relay dropped 6 results \(no\. 3-7 9\) .*quota was reached; the host sends them again/);
    const { dropped } = (await lab.json('site', 'halts')) as { dropped: { known: boolean; results: number }[] };
    assert.deepEqual([dropped[0]?.results, dropped[0]?.known], [6, true]);
  });

  test('the report tells both, also while a file of the policy folder cannot be read, and before there is any policy', async () => {
    const told = async () =>
      ((await lab.json('report')) as { relays: { haltsInForce: number; droppedMissing: number } }).relays;
    const found = await told();
    assert.deepEqual([found.haltsInForce, found.droppedMissing], [1, 6]);
    assert.match(
      (await lab.run('report')).out,
      /site ward-7 halted by its fuse \(fuse-all\)[^]*6 results of 1 host dropped by relays/,
    );
    const broken = join(lab.home, 'policy/broken.yaml');
    fs.writeFileSync(broken, 'kind: [\n');
    const ended = await lab.run('report');
    fs.rmSync(broken);
    assert.equal(ended.exit, 1, 'no host is there');
    assert.match(ended.out, /halted by its fuse[^]*6 results of 1 host dropped/);
    const fresh = tryOut();
    try {
      await fresh.run('init', '--unattended');
      assert.equal((await fresh.run('collect')).exit, 3);
      assert.deepEqual((await fresh.json('report'))['relays'], {
        haltsInForce: 0,
        droppedResults: 0,
        droppedMissing: 0,
        halts: [],
        dropped: [],
      });
    } finally {
      fresh.remove();
    }
  });

  test('lifted: written into the delegation with its comments kept, signed by the next publish, in force no more', async () => {
    assert.equal((await lab.run('site', 'lift', 'ward-7', 'nothing')).exit, 2);
    const lifted = await lab.run('site', 'lift', 'ward-7', 'fuse-all');
    assert.equal(lifted.exit, 0, lifted.err);
    assert.match(fs.readFileSync(join(lab.home, 'policy/sites/ward-7.yaml'), 'utf8'), /# the ward by the lake/);
    assert.equal((await lab.run('publish')).exit, 0);
    const { id } = openRecord(signRecord(encodePlain('site-halt', HALT), relay));
    assert.deepEqual(
      (await delegation()).lifted?.map(({ halt, name }) => [halt, name]),
      [[id, 'fuse-all']],
    );
    assert.match((await lab.run('site', 'halts')).out, /ward-7 +fuse-all +lifted/);
    assert.equal((await lab.run('site', 'lift', 'ward-7', 'fuse-all')).exit, 2, 'only once');
  });
});
