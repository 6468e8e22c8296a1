import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Updater } from 'tuf-js';
import { systemClock } from '#manifests/platform/clock';
import { decodeDocument, type Group, type ResolvedBaseline } from '#manifests/schema';
import { publisherProgram } from './index.ts';
import { POLICY, type TryOut, tryOut } from './try-out.ts';

const filesBelow = (folder: string) =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => fs.statSync(join(folder, name)).isFile())
    .map((name) => `${name} ${fs.readFileSync(join(folder, name)).toString('base64')}`)
    .toSorted();

describe('from nothing to a repository', () => {
  let lab: TryOut;
  before(() => {
    lab = tryOut();
  });
  after(() => lab.remove());

  test('init, source, policy, publish, verify', async () => {
    const made = await lab.run('init', '--unattended');
    assert.equal(made.exit, 0, made.err);
    assert.match(made.err, /WARNING: --unattended wrote the keys UNENCRYPTED/);
    for (const name of fs.readdirSync(join(lab.home, 'keys'))) {
      assert.equal(fs.statSync(join(lab.home, 'keys', name)).mode & 0o077, 0, name);
    }
    await lab.addRelease('1.0.0');
    assert.equal(
      (await lab.run('source', 'add', 'own', '--kind', 'folder', '--product', 'own-tool', '--url', lab.vendor)).exit,
      0,
    );
    assert.match(fs.readFileSync(join(lab.home, 'publisher.yaml'), 'utf8'), /^# Settings of this publisher/);
    assert.equal((await lab.run('source', 'sync')).exit, 0);
    assert.equal((await lab.run('source', 'sync')).exit, 3, 'nothing new is exit 3');

    const none = await lab.run('policy', 'check');
    assert.equal(none.exit, 2);
    assert.match(none.err, /policy-folder\.missing/);
    for (const name of fs.readdirSync(join(import.meta.dirname, '../../manifests/examples'))) {
      fs.copyFileSync(join(import.meta.dirname, '../../manifests/examples', name), join(lab.home, 'policy', name));
    }
    const checked = await lab.run('policy', 'check');
    assert.equal(checked.exit, 0, checked.out);
    assert.match(
      checked.out,
      /baselines\.yaml:10:3: spec\.product: no source brings debian-12; publish refuses until one does/,
    );
    const refused = await lab.run('publish');
    assert.equal(refused.exit, 2);
    assert.match(
      refused.err,
      /baselines\.yaml:10:3: baseline "debian-12-security-now" is for debian-12, of which there is no catalog/,
    );
    assert.equal(fs.existsSync(join(lab.repository, 'metadata', 'timestamp.json')), false);

    for (const name of fs.readdirSync(join(lab.home, 'policy'))) fs.rmSync(join(lab.home, 'policy', name));
    fs.writeFileSync(join(lab.home, 'policy', 'policy.yaml'), POLICY);
    const resolved = await lab.json('policy', 'resolve');
    assert.deepEqual(
      (resolved['decisions'] as { patch: string; decision: string; rule: string }[]).map(({ patch, decision, rule }) => [
        patch,
        decision,
        rule,
      ]),
      [['own-tool@1.0.0', 'approved', 'all']],
    );

    const untouched = filesBelow(lab.repository);
    const dry = await lab.run('publish', '--dry-run');
    assert.equal(dry.exit, 0);
    assert.match(dry.out, /catalogs\/own-tool\.json\.zst +new/);
    assert.deepEqual(filesBelow(lab.repository), untouched, 'a dry run writes nothing');

    assert.equal((await lab.run('publish')).exit, 0);
    const verified = await lab.run('verify', lab.repository, '--root', lab.root, '--payloads');
    assert.equal(verified.exit, 0, verified.out);
    assert.match(verified.out, /1 named by catalogs, 1 here \(read again\)/);
  });

  test('a second publish with nothing new leaves every byte; --refresh signs the timestamp alone', async () => {
    const first = filesBelow(lab.repository);
    const again = await lab.run('publish');
    assert.equal(again.exit, 3, again.err);
    assert.deepEqual(filesBelow(lab.repository), first);
    const refreshed = await lab.json('publish', '--refresh');
    assert.deepEqual(
      (refreshed['roles'] as { role: string }[]).map(({ role }) => role),
      ['timestamp'],
    );
    const changed = filesBelow(lab.repository).filter((row) => !first.includes(row));
    assert.deepEqual(
      changed.map((row) => row.split(' ')[0]),
      ['metadata/timestamp.json'],
    );
  });

  test('a new release changes catalog and baseline and leaves group and roster', async () => {
    await lab.addRelease('1.1.0');
    await lab.run('source', 'sync');
    const report = await lab.json('publish');
    const states = Object.fromEntries(
      (report['documents'] as { path: string; state: string }[]).map(({ path, state }) => [path, state]),
    );
    assert.deepEqual(states, {
      'catalogs/own-tool.json.zst': 'changed',
      'policy/baselines/own-software.json.zst': 'changed',
      'policy/groups/all.json.zst': 'same',
      'roster/acks.json.zst': 'same',
      'roster/roster.json.zst': 'same',
    });
    assert.deepEqual(
      (report['roles'] as { role: string }[]).map(({ role }) => role),
      ['snapshot', 'timestamp', 'policy', 'catalog'],
    );
  });

  test('a document that leaves the policy leaves the repository; a broken policy is refused', async () => {
    const file = join(lab.home, 'policy', 'policy.yaml');
    const whole = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, whole.replace('name: all}\nspec: {baselines', 'name: some}\nspec: {baselines'));
    const report = await lab.json('publish');
    const states = Object.fromEntries(
      (report['documents'] as { path: string; state: string }[]).map(({ path, state }) => [path, state]),
    );
    assert.equal(states['policy/groups/all.json.zst'], 'removed');
    assert.equal(states['policy/groups/some.json.zst'], 'new');
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);

    fs.writeFileSync(file, whole.replace('windows: [always]', 'windows: [allways]'));
    const refused = await lab.run('publish');
    assert.equal(refused.exit, 2);
    assert.match(refused.err, /there is no window "allways" \(did you mean "always"\?\)/);
    assert.match(refused.err, /code: {2}policy\.invalid/);
    fs.writeFileSync(file, whole);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  test('rotation of every role: an old client and tuf-js follow from the first root', async () => {
    for (const role of ['root', 'targets', 'snapshot', 'timestamp', 'policy', 'catalog', 'waivers', 'halts', 'roster']) {
      assert.equal((await lab.run('key', 'rotate', role, ...(role === 'root' ? ['--threshold', '2'] : []))).exit, 0);
    }
    const waiting = (await lab.json('key', 'list'))['keys'] as { published: boolean }[];
    assert.equal(
      waiting.some(({ published }) => published),
      false,
    );
    assert.equal((await lab.run('publish')).exit, 0);
    const settled = (await lab.json('key', 'list'))['keys'] as { published: boolean; role: string }[];
    assert.equal(
      settled.every(({ published }) => published),
      true,
    );
    assert.equal(settled.filter(({ role }) => role === 'root').length, 2);
    assert.equal(fs.readdirSync(join(lab.home, 'keys', 'retired')).length, 9);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0, 'from the first root');
    const newest = join(lab.folder, 'newest.json');
    assert.equal((await lab.run('key', 'export', '--newest', '-o', newest)).exit, 0);
    assert.equal((JSON.parse(fs.readFileSync(newest, 'utf8')) as { signed: { version: number } }).signed.version, 2);
    assert.equal((await lab.run('verify', lab.repository, '--root', newest)).exit, 0, 'from the newest root');
    assert.equal((await lab.run('publish')).exit, 3);
  });

  test('tuf-js reads what was published', async () => {
    const server = createServer((request, response) => {
      const path = join(lab.repository, decodeURIComponent(request.url ?? '/'));
      if (fs.existsSync(path)) response.end(fs.readFileSync(path));
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const metadataDir = join(lab.folder, 'tuf', 'metadata');
      const targetDir = join(lab.folder, 'tuf', 'targets');
      fs.mkdirSync(metadataDir, { recursive: true });
      fs.mkdirSync(targetDir, { recursive: true });
      fs.copyFileSync(lab.root, join(metadataDir, 'root.json'));
      const updater = new Updater({
        metadataDir,
        metadataBaseUrl: `${url}/metadata`,
        targetDir,
        targetBaseUrl: `${url}/targets`,
      });
      await updater.refresh();
      const read = async (path: string) => {
        const info = await updater.getTargetInfo(path);
        assert.ok(info, path);
        return fs.readFileSync(await updater.downloadTarget(info, join(targetDir, path.replaceAll('/', '_'))));
      };
      const baseline: ResolvedBaseline = decodeDocument(
        'resolved-baseline',
        await read('policy/baselines/own-software.json.zst'),
        'baseline',
      );
      assert.deepEqual(
        baseline.approved.map(({ patch }) => patch),
        ['own-tool@1.0.0', 'own-tool@1.1.0'],
      );
      const group: Group = decodeDocument('group', await read('policy/groups/all.json.zst'), 'group');
      assert.equal(group.windows[0]?.name, 'always');
      assert.ok(decodeDocument('catalog', await read('catalogs/own-tool.json.zst'), 'catalog'));
      assert.ok(decodeDocument('acks', await read('roster/acks.json.zst'), 'acks'));
    } finally {
      server.close();
    }
  });
});

test('every command has help with an example that names it, and unknown flags are refused', async () => {
  const lab = tryOut();
  try {
    for (const spec of publisherProgram({ clock: systemClock, env: {} }).commands) {
      const help = await lab.run(...spec.name.split(' '), '--help');
      assert.equal(help.exit, 0, spec.name);
      assert.match(help.out, /Examples:/, spec.name);
      assert.ok(
        spec.examples.some(({ line }) => line.includes(`publisher ${spec.name}`)),
        spec.name,
      );
      assert.equal((await lab.run(...spec.name.split(' '), '--no-such-flag')).exit, 2, spec.name);
    }
  } finally {
    lab.remove();
  }
});

test('a folder that is no home, and a second init, are refused with what to do', async () => {
  const lab = tryOut();
  try {
    const none = await lab.run('publish');
    assert.equal(none.exit, 2);
    assert.match(none.err, /home\.missing/);
    assert.equal((await lab.run('init', '--unattended')).exit, 0);
    const keys = filesBelow(join(lab.home, 'keys'));
    const again = await lab.run('init', '--unattended');
    assert.equal(again.exit, 2);
    assert.match(again.err, /init\.exists/);
    assert.deepEqual(filesBelow(join(lab.home, 'keys')), keys);
  } finally {
    lab.remove();
  }
});
