import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { SignedHalt } from '#manifests/schema';
import { POLICY, type TryOut, tryOut } from './try-out.ts';

describe('halt and recall: published alone, by the keys that are on call', () => {
  let lab: TryOut;
  const NOW = Date.parse('2026-03-01T12:00:00Z');
  before(async () => {
    lab = tryOut({ clock: { now: () => NOW, monotonic: () => NOW } });
    await lab.prepare();
  });
  after(() => lab.remove());

  const files = (folder: string) =>
    fs
      .readdirSync(join(lab.repository, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => fs.statSync(join(lab.repository, folder, name)).isFile())
      .toSorted();
  const rolesOf = (report: Record<string, unknown>) => (report['roles'] as { role: string }[]).map(({ role }) => role);
  const halts = async () => (await lab.json('halt', 'list'))['stops'] as SignedHalt[];
  const fileOf = (name: string) => join(lab.home, 'halts', `${name}.yaml`);

  test('before anything is published there is nobody to halt', async () => {
    const refused = await lab.run('halt', 'freeze', '--reason', 'x');
    assert.equal(refused.exit, 2);
    assert.match(refused.err, /stop\.unpublished/);
    assert.equal(fs.existsSync(fileOf('freeze')), false);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  test('what would be refused leaves no file and signs nothing', async () => {
    const before0 = files('.');
    for (const [words, code] of [
      [['halt', 'freeze', '--reason', 'x', '--group', 'al'], /did you mean "all"[\s\S]*stop\.unknown-group/],
      [['halt', 'freeze', '--reason', 'x', '--hours', '-1'], /stop\.hours/],
      [['halt', 'freeze', '--reason', 'x', '--hours', '1', '--until', '2026-04-01T00:00:00Z'], /stop\.two-ends/],
      [['halt', 'freeze', '--reason', 'x', '--stops', 'instal'], /policy\.invalid/],
      [['halt', 'Freeze!', '--reason', 'x'], /metadata\.name/],
      [['halt', 'lift', 'freeze'], /stop\.unknown/],
      [['halt', 'freeze'], /stop\.incomplete/],
      [['halt', 'lst'], /--reason is missing/],
      [['recall', 'own-tool@1.0.0', '--name', 'r', '--reason', 'x', '--action', 'replace'], /replaceWith/],
    ] as const) {
      const ran = await lab.run(...words);
      assert.equal(ran.exit, 2, `${words.join(' ')}: ${ran.out}`);
      assert.match(ran.err, code);
    }
    const dry = await lab.run('halt', 'freeze', '--reason', 'x', '--dry-run');
    assert.equal(dry.exit, 0, dry.err);
    assert.match(dry.out, /would publish halt freeze: download, install, reboot of everything, for every host/);
    assert.deepEqual(files('.'), before0);
    assert.equal(fs.existsSync(join(lab.home, 'halts')), false);
  });

  test('with the keys of halts, snapshot and timestamp alone, and a policy folder that cannot be read', async () => {
    const away = join(lab.folder, 'away');
    fs.mkdirSync(away);
    const keys = join(lab.home, 'keys');
    for (const name of fs.readdirSync(keys)) {
      if (/^(?:root|targets|policy|catalog|waivers|roster)-|^collector/.test(name))
        fs.renameSync(join(keys, name), join(away, name));
    }
    const policy = join(lab.home, 'policy', 'policy.yaml');
    fs.writeFileSync(policy, 'not: [policy');
    const untouched = files('targets');
    const report = await lab.json('halt', 'bad-tool', '--patch', 'own-tool@*', '--hours', '12', '--reason', 'it eats data');
    assert.deepEqual(rolesOf(report), ['snapshot', 'timestamp', 'halts']);
    const added = files('targets').filter((name) => !untouched.includes(name));
    assert.equal(added.length, 1);
    assert.match(added[0] ?? '', /^halts\/[0-9a-f]{64}\.bad-tool\.json\.zst$/);
    assert.deepEqual(
      (await halts()).map(({ name, until, patches }) => [name, until, patches]),
      [['bad-tool', '2026-03-02T00:00:00Z', ['own-tool@*']]],
    );
    const verified = await lab.run('verify', lab.repository, '--root', lab.root, '--all');
    assert.equal(verified.exit, 0, verified.out);
    assert.match(verified.out, /halts\/bad-tool\.json\.zst +signed by halts/);

    const recalled = await lab.json('recall', 'own-tool@1.0.0', '--name', 'tool-100', '--reason', 'never');
    assert.deepEqual(rolesOf(recalled), ['snapshot', 'timestamp', 'halts']);
    assert.equal(
      (await lab.run('halt', 'bad-tool', '--patch', 'own-tool@*', '--hours', '12', '--reason', 'it eats data')).exit,
      3,
    );

    fs.renameSync(join(keys, fs.readdirSync(keys).find((name) => name.startsWith('halts-')) ?? ''), join(away, 'halts.key'));
    const refused = await lab.run('halt', 'other', '--reason', 'x');
    assert.equal(refused.exit, 2);
    assert.match(refused.err, /keys\.missing/);
    const halt = fs.readdirSync(away).find((name) => name === 'halts.key') ?? '';
    const register = JSON.parse(fs.readFileSync(join(keys, 'roles.json'), 'utf8')) as { roles: { halts: { keys: string[] } } };
    fs.renameSync(join(away, halt), join(keys, `halts-${register.roles.halts.keys[0]?.slice(0, 12)}.key`));
    for (const name of fs.readdirSync(away)) fs.renameSync(join(away, name), join(keys, name));
    fs.rmSync(fileOf('other'));
    fs.writeFileSync(policy, POLICY);
  });

  test('a whole publish keeps what is halted; lifting publishes that alone', async () => {
    assert.equal((await lab.run('publish')).exit, 3, 'nothing is new to a whole publish');
    await lab.addRelease('1.1.0');
    await lab.run('source', 'sync');
    assert.equal((await lab.run('publish')).exit, 0);
    assert.equal((await halts()).length, 1);
    const lifted = await lab.json('halt', 'lift', 'bad-tool');
    assert.deepEqual([lifted['change'], rolesOf(lifted)], ['lifted', ['snapshot', 'timestamp', 'halts']]);
    assert.deepEqual(await halts(), []);
    assert.equal(fs.existsSync(fileOf('bad-tool')), false);
    assert.equal((await lab.run('publish')).exit, 3, 'and it stays lifted');
    assert.match((await lab.run('recall', 'list')).out, /tool-100 +never-install +own-tool@1\.0\.0/);
  });

  test('a recall that changes hosts waits for the policy role, and the halts role cannot lift it', async () => {
    const words = [
      'recall',
      'own-tool@1.1.0',
      '--name',
      'back',
      '--action',
      'rollback',
      '--within-days',
      '14',
      '--reason',
      'x',
    ];
    const written = await lab.run(...words);
    assert.equal(written.exit, 0, written.err);
    assert.match(written.out, /Next: publisher publish/);
    assert.doesNotMatch((await lab.run('recall', 'list')).out, /rollback/);
    const report = await lab.json('publish');
    assert.ok(rolesOf(report).includes('policy'));
    assert.ok((report['documents'] as { path: string }[]).some(({ path }) => path === 'policy/recalls/back.json.zst'));
    assert.match((await lab.run('recall', 'list')).out, /back +rollback/);
    const refused = await lab.run('recall', 'lift', 'back');
    assert.equal(refused.exit, 2);
    assert.match(refused.err, /stop\.in-policy/);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
  });
});
