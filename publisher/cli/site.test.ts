// Sites end to end: delegated, narrowed by the site's own key, published as signed, refused beyond the bounds, taken back.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { siteRules } from '#manifests/decide';
import { type Clock, systemClock } from '#manifests/platform/clock';
import { decodeDocument } from '#manifests/schema';
import { folderOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { tryOut } from './try-out.ts';

const DAY = 86_400_000;

describe('sites', () => {
  let ahead = 0;
  const clock: Clock = { ...systemClock, now: () => Date.now() + ahead };
  const lab = tryOut({ clock });
  const key = (name: string) => join(lab.folder, `${name}.key`);
  const publicKeys: Record<string, string> = {};
  const hostState = fs.mkdtempSync(join(tmpdir(), 'pf-site-host-'));
  after(() => {
    lab.remove();
    fs.rmSync(hostState, { recursive: true, force: true });
  });
  before(async () => {
    await lab.prepare();
    for (const name of ['ship-7', 'thief', 'second'])
      publicKeys[name] = String((await lab.json('key', 'make', name, '--unattended', '-o', key(name)))['publicKey']);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  const rolesOf = (report: Record<string, unknown>) => (report['roles'] as { role: string }[]).map(({ role }) => role);
  const must = async (...words: string[]) => {
    const ended = await lab.run(...words);
    assert.equal(ended.exit, 0, `${words.join(' ')}: ${ended.err}${ended.out}`);
    return ended;
  };
  /** What a host that has followed all the way (or a new one) believes now. */
  async function host(folder = hostState) {
    const trust = openTrust({ folder, pinnedRoot: fs.readFileSync(lab.root), now: () => clock.now() });
    const origin = folderOrigin(lab.repository);
    await trust.refresh(origin);
    const path = 'sites/ship-7/overlay.json.zst';
    if (trust.target(path) === undefined) return undefined;
    return decodeDocument('site-overlay', await trust.readTarget(path, origin), path);
  }
  async function newHost() {
    const folder = fs.mkdtempSync(join(tmpdir(), 'pf-site-new-'));
    try {
      return await host(folder);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }
  const overlay = (spec: string) => {
    const file = join(lab.folder, 'overlay.yaml');
    fs.writeFileSync(
      file,
      `apiVersion: patchferry/v1\nkind: SiteOverlay\nmetadata: {name: ship-7, description: only in port}\nspec: {site: ship-7, ${spec}}\n`,
    );
    return file;
  };
  const output = () => join(lab.folder, 'ship-7.overlay');
  const sign = (spec: string, by = 'ship-7', ...more: string[]) =>
    lab.run(
      'site',
      'overlay',
      'sign',
      overlay(spec),
      '--key',
      key(by),
      '--repository',
      lab.repository,
      '--root',
      lab.root,
      '-o',
      output(),
      ...more,
    );
  const take = () => lab.run('site', 'overlay', 'take', output());

  test('a site is delegated once, and then narrows with its own key alone; a host reads what the site signed', async () => {
    await must(
      'site',
      'add',
      'ship-7',
      '--key',
      publicKeys['ship-7'] ?? '',
      '--may',
      'delay',
      '--may',
      'reject',
      '--max-delay-days',
      '7',
    );
    assert.deepEqual(rolesOf(await lab.json('publish')), ['targets', 'snapshot', 'timestamp', 'policy']);
    assert.equal(await host(), undefined);
    assert.equal((await sign('delayDays: 5, reject: [openssl]')).exit, 0);
    assert.equal((await take()).exit, 0);
    assert.deepEqual(rolesOf(await lab.json('publish')), ['snapshot', 'timestamp'], 'no key of policy or targets is needed');
    const read = await host();
    assert.deepEqual([read?.delayDays, read?.reject, read?.reason], [5, ['openssl'], 'only in port']);
    assert.deepEqual(await newHost(), read);
    const path = fs.readdirSync(join(lab.repository, 'targets', 'policy', 'sites'))[0] ?? '';
    const delegation = decodeDocument(
      'site-delegation',
      fs.readFileSync(join(lab.repository, 'targets', 'policy', 'sites', path)),
      path,
    );
    assert.ok(read);
    const rules = siteRules({ delegation, overlay: read }, { agent: 'a', site: 'ship-7', labels: {} }, clock.now());
    assert.deepEqual([rules.delayMs, rules.refused], [5 * DAY, []]);
    assert.match((await lab.run('site', 'list')).out, /ship-7 +0 +delay, reject .*version 1 until/);
    assert.equal((await lab.run('publish')).exit, 3);
  });

  test('what goes beyond the delegation is refused with the bound; so is a stranger’s key, a changed file, an older one', async () => {
    const far = await sign('delayDays: 30');
    assert.equal(far.exit, 5);
    assert.match(far.err, /overlay\.beyond/);
    assert.match(far.err, /bound: maxDelayDays/);
    assert.match((await sign('ringPercent: 10')).err, /bound: may/);
    assert.match((await sign('delayDays: 1', 'thief')).err, /overlay\.key/);
    assert.equal((await sign('delayDays: 3')).exit, 0);
    const good = fs.readFileSync(output(), 'utf8');
    const parts = JSON.parse(good) as Record<string, string>;
    const other = Buffer.from(parts['document'] ?? '', 'base64');
    other[other.length - 2] = (other[other.length - 2] ?? 0) ^ 1;
    fs.writeFileSync(output(), JSON.stringify({ ...parts, document: other.toString('base64') }));
    assert.equal((await take()).exit, 5, 'a document that was not signed');
    const metadata = Buffer.from(parts['metadata'] ?? '', 'base64').toString('utf8');
    fs.writeFileSync(
      output(),
      JSON.stringify({ ...parts, metadata: Buffer.from(metadata.replace('"version":2', '"version":9')).toString('base64') }),
    );
    assert.match((await take()).err, /overlay\.key/, 'metadata that was changed has no signature that holds');
    fs.writeFileSync(output(), good);
    assert.equal((await take()).exit, 0);
    await must('publish');
    assert.equal((await host())?.delayDays, 3);
    fs.writeFileSync(output(), JSON.stringify({ ...parts, version: 1 }));
    assert.equal((await take()).exit, 5);
  });

  test('a halt goes out alone and leaves the site as it is', async () => {
    await must('halt', 'stop', '--reason', 'test');
    assert.equal((await host())?.delayDays, 3);
    await must('halt', 'lift', 'stop');
  });

  test('an overlay that would expire before the next timestamp is left out in time; one under a key taken back as well', async () => {
    assert.equal((await sign('delayDays: 2', 'ship-7', '--days', '5')).exit, 0);
    assert.equal((await take()).exit, 0);
    const short = await must('publish');
    assert.match(short.out, /look at: overlay of site ship-7 is not published: .*ends before the next timestamp/);
    assert.equal(await host(), undefined);
    assert.equal((await sign('delayDays: 2')).exit, 0);
    assert.equal((await take()).exit, 0);
    await must('publish');
    assert.equal((await host())?.delayDays, 2);

    await must(
      'site',
      'add',
      'ship-7',
      '--replace',
      '--key',
      publicKeys['second'] ?? '',
      '--may',
      'delay',
      '--max-delay-days',
      '7',
    );
    assert.match((await must('publish')).out, /look at: overlay of site ship-7/);
    assert.equal(await host(), undefined, 'the old key signs nothing any more, and nobody is locked out');
    assert.equal(await newHost(), undefined);
    assert.equal((await sign('delayDays: 4', 'second')).exit, 0);
    assert.equal((await take()).exit, 0);
    await must('publish');
    assert.equal((await host())?.delayDays, 4);
    assert.equal((await newHost())?.delayDays, 4);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
  });

  test('a delegation that is taken back, or has ended, takes the overlay with it', async () => {
    await must('site', 'remove', 'ship-7');
    await must('publish');
    assert.equal(await host(), undefined);
    await must('site', 'add', 'ship-7', '--key', publicKeys['second'] ?? '', '--days', '30');
    await must('publish');
    ahead = 40 * DAY;
    assert.match((await must('publish')).out, /delegation of site ship-7 ended/);
    assert.equal(await host(), undefined);
  });
});
