// Change requests: policy with several approvers is published as they signed it, and not otherwise; with one it is signed at once.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Clock, systemClock } from '#manifests/platform/clock';
import { POLICY, type TryOut, tryOut } from './try-out.ts';

interface Published {
  readonly change: { readonly id: string; readonly state: string; readonly signed: number; readonly threshold: number } | null;
  readonly roles: readonly { readonly role: string }[];
  readonly differences: readonly string[];
}

describe('change requests', () => {
  let ahead = 0;
  const clock: Clock = { ...systemClock, now: () => Date.now() + ahead };
  const lab: TryOut = tryOut({ clock });
  const away = join(lab.folder, 'away');
  const policyFile = join(lab.home, 'policy', 'policy.yaml');
  after(() => lab.remove());

  const publish = async (...words: string[]) => (await lab.json('publish', ...words)) as unknown as Published;
  const rolesOf = ({ roles }: Published) => roles.map(({ role }) => role);
  const keyFile = (index: number) => {
    const register = JSON.parse(fs.readFileSync(join(lab.home, 'keys', 'roles.json'), 'utf8')) as {
      roles: { policy: { keys: string[] } };
    };
    return `policy-${register.roles.policy.keys[index]?.slice(0, 12)}.key`;
  };

  before(async () => {
    await lab.run('init', '--unattended', '--threshold', 'policy=2');
    await lab.addRelease('1.0.0');
    await lab.run('source', 'add', 'own', '--kind', 'folder', '--product', 'own-tool', '--url', lab.vendor);
    await lab.run('source', 'sync');
    fs.writeFileSync(policyFile, POLICY);
    // The second approver keeps the key elsewhere.
    fs.mkdirSync(away);
    fs.renameSync(join(lab.home, 'keys', keyFile(1)), join(away, 'second.key'));
    assert.equal((await lab.run('publish')).exit, 4);
    assert.equal(fs.existsSync(join(lab.repository, 'metadata', 'timestamp.json')), false, 'nothing goes out unapproved');
    assert.equal((await lab.run('change', 'approve')).exit, 0);
    assert.equal((await lab.run('change', 'approve', '--key', join(away, 'second.key'))).exit, 0);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  test('what is not approved is not published; the rest is; then exactly what was signed goes out, whatever the clock says meanwhile', async () => {
    assert.equal((await lab.run('publish')).exit, 3);
    fs.writeFileSync(
      policyFile,
      POLICY.replace('durationMinutes: 1440', 'durationMinutes: 60').replace('afterDays: 0', 'afterDays: 2'),
    );
    const waiting = await publish();
    assert.equal(waiting.change?.state, 'waiting');
    assert.deepEqual(rolesOf(waiting), [], 'nothing else was due');
    assert.equal((await lab.run('publish')).exit, 4);
    const { id } = waiting.change ?? { id: '' };
    const shown = await lab.run('change', 'show');
    assert.match(shown.out, new RegExp(`change ${id} .* waiting, signed by 0 of 2`));
    assert.match(shown.out, /baseline own-software: approved → pending: own-tool@1\.0\.0/);
    assert.match(shown.out, /group all: windows: .*1440.* → .*60/);

    const refreshed = await publish('--refresh');
    assert.deepEqual(rolesOf(refreshed), ['timestamp'], 'hosts stay fresh while people think');
    assert.equal((await lab.run('change', 'approve')).exit, 0);
    assert.equal((await lab.run('change', 'approve')).exit, 3, 'twice is once');
    ahead = 3 * 86_400_000; // the pending patch would be approved by now: what was signed still goes out
    assert.equal((await publish()).change?.state, 'waiting');
    assert.equal((await lab.run('change', 'approve', id, '--key', join(away, 'second.key'))).exit, 0);
    const done = await publish();
    assert.deepEqual([done.change?.state, done.change?.id], ['approved', id]);
    assert.deepEqual(rolesOf(done), ['snapshot', 'timestamp', 'policy']);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
    assert.match((await lab.run('change', 'list')).out, new RegExp(`${id} +published`));
    const again = await publish();
    assert.notEqual(again.change?.id, id, 'time has moved a patch since: that is the next request');
  });

  test('a newer policy makes a newer request, and the signatures on the older one are worth nothing for it', async () => {
    fs.writeFileSync(policyFile, POLICY.replace('durationMinutes: 1440', 'durationMinutes: 90'));
    const first = await publish();
    assert.equal((await lab.run('change', 'approve')).exit, 0);
    fs.writeFileSync(policyFile, POLICY.replace('durationMinutes: 1440', 'durationMinutes: 1000'));
    const second = await publish();
    assert.notEqual(second.change?.id, first.change?.id);
    assert.equal(second.change?.signed, 0);
    assert.match((await lab.run('change', 'show', first.change?.id ?? '')).err, /change\.unknown/);
  });

  test('a request that was changed after it was signed, or is signed by others, is not published', async () => {
    const { id } = (await publish()).change ?? { id: '' };
    await lab.run('change', 'approve');
    const made = await lab.json('key', 'make', 'mallory', '--unattended', '-o', join(away, 'mallory.key'));
    assert.ok(made['publicKey']);
    const stranger = await lab.run('change', 'approve', id, '--key', join(away, 'mallory.key'));
    assert.equal(stranger.exit, 5);
    assert.match(stranger.err, /change\.not-approver/);
    const file = join(lab.home, 'changes', id, 'policy.json');
    const text = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(
      file,
      text.replace(/"version":(\d+)/, (_, version: string) => `"version":${Number(version) + 1}`),
    );
    assert.match((await lab.run('change', 'show', id)).out, /signed by 0 of 2/);
    fs.writeFileSync(file, text);
    await lab.run('change', 'approve', id, '--key', join(away, 'second.key'));
    const documents = join(lab.home, 'changes', id, 'documents');
    const group = fs.readdirSync(documents)[0] ?? '';
    const bytes = fs.readFileSync(join(documents, group));
    fs.writeFileSync(join(documents, group), Buffer.concat([bytes, Buffer.from(' ')]));
    const damaged = await lab.run('publish');
    assert.equal(damaged.exit, 7);
    assert.match(damaged.err, /change\.damaged/);
    fs.writeFileSync(join(documents, group), bytes);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  test('rejected is rejected, until the policy is another one', async () => {
    fs.writeFileSync(policyFile, POLICY.replace('durationMinutes: 1440', 'durationMinutes: 77'));
    const { id } = (await publish()).change ?? { id: '' };
    assert.equal((await lab.run('change', 'reject')).exit, 2);
    assert.equal((await lab.run('change', 'reject', id, '--reason', 'not before the audit')).exit, 0);
    assert.equal((await publish()).change?.state, 'rejected');
    assert.match((await lab.run('change', 'approve', id)).err, /change\.rejected/);
    fs.writeFileSync(policyFile, POLICY.replace('durationMinutes: 1440', 'durationMinutes: 78'));
    assert.equal((await publish()).change?.state, 'waiting');
  });

  test('with one approver publish signs at once, and a dry run says what it would change', async () => {
    const alone = tryOut();
    try {
      await alone.prepare();
      assert.equal((await alone.run('publish')).exit, 0);
      fs.writeFileSync(
        join(alone.home, 'policy', 'policy.yaml'),
        POLICY.replace('windows: [always]', 'windows: [always], reboot: never'),
      );
      assert.match(
        (await alone.run('publish', '--dry-run')).out,
        /policy changes:\n +group all: reboot: "if-needed" → "never"/,
      );
      const done = (await alone.json('publish')) as unknown as Published;
      assert.equal(done.change, null);
      assert.ok(rolesOf(done).includes('policy'));
      assert.match((await alone.run('change', 'list')).out, /policy has one approver/);
    } finally {
      alone.remove();
    }
  });
});
