import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '#manifests/errors';
import { POLICY, tryOut } from '../cli/try-out.ts';
import { ROLES } from '../home.ts';
import { parseThresholds, readHidden, readPassphraseFile, type Terminal } from './index.ts';

test('thresholds: as written, one for every role not named, nonsense refused', () => {
  const thresholds = parseThresholds(['root=3', 'policy=2']);
  assert.deepEqual(
    ROLES.map((role) => thresholds[role]),
    [3, 1, 1, 1, 2, 1, 1, 1, 1],
  );
  for (const text of ['root', 'root=0', 'root=-1', 'root=1.5', 'root=17', 'rot=2', 'root=2=3', 'constructor=2', '']) {
    assert.throws(
      () => parseThresholds([text]),
      (error) => isFault(error, 'keys.threshold'),
      text,
    );
  }
});

test('keys are encrypted with the passphrase; a wrong one signs nothing; all keys of a threshold sign', async () => {
  const lab = tryOut();
  try {
    const right = join(lab.folder, 'right');
    const wrong = join(lab.folder, 'wrong');
    fs.writeFileSync(right, 'correct horse battery staple\nsecond line\n', { mode: 0o600 });
    fs.writeFileSync(wrong, 'correct horse battery stapler\n', { mode: 0o600 });
    const short = join(lab.folder, 'short');
    fs.writeFileSync(short, 'short\n', { mode: 0o600 });
    assert.match((await lab.run('init', '--passphrase-file', short)).err, /passphrase\.weak/);
    assert.equal(fs.existsSync(lab.home), false, 'a refused init leaves nothing');

    const made = await lab.run('init', '--threshold', 'root=2', '--threshold', 'policy=2', '--passphrase-file', right);
    assert.equal(made.exit, 0, made.err);
    assert.doesNotMatch(made.err, /WARNING/);
    const names = fs.readdirSync(join(lab.home, 'keys')).filter((name) => name.endsWith('.key'));
    assert.equal(names.length, 12);
    for (const name of names) {
      const text = fs.readFileSync(join(lab.home, 'keys', name), 'utf8');
      assert.match(text, /"kdf":\{"name":"scrypt","N":131072/, name);
      assert.doesNotMatch(text, /"secretKey"/, name);
    }
    await lab.addRelease('1.0.0');
    await lab.run('source', 'add', 'own', '--kind', 'folder', '--product', 'own-tool', '--url', lab.vendor);
    await lab.run('source', 'sync');
    fs.writeFileSync(join(lab.home, 'policy', 'policy.yaml'), POLICY);

    const unapproved = await lab.run('publish', '--passphrase-file', right);
    assert.equal(unapproved.exit, 4, 'two approvers must agree to the first policy');
    assert.match(unapproved.err, /publish\.unapproved/);
    const refused = await lab.run('change', 'approve', '--passphrase-file', wrong);
    assert.equal(refused.exit, 5);
    assert.match(refused.err, /trust\.passphrase/);
    assert.equal(fs.existsSync(join(lab.repository, 'metadata', 'timestamp.json')), false);
    const mistyped = await lab.run('key', 'rotate', 'timestamp', '--passphrase-file', wrong);
    assert.equal(mistyped.exit, 5);

    const policyKey = names.find((name) => name.startsWith('policy-')) ?? '';
    const kept = join(lab.folder, policyKey);
    fs.renameSync(join(lab.home, 'keys', policyKey), kept);
    assert.match((await lab.run('change', 'approve', '--passphrase-file', right)).out, /signed by 1 of 2\nit waits for 1 more/);
    assert.equal((await lab.run('publish', '--passphrase-file', right)).exit, 4);
    fs.renameSync(kept, join(lab.home, 'keys', policyKey));

    assert.match((await lab.run('change', 'approve', '--passphrase-file', right)).out, /approved, signed by 2 of 2/);
    const targetsKey = names.find((name) => name.startsWith('targets-')) ?? '';
    fs.renameSync(join(lab.home, 'keys', targetsKey), join(lab.folder, targetsKey));
    const lacking = await lab.run('publish', '--passphrase-file', right);
    assert.equal(lacking.exit, 2);
    assert.match(lacking.err, /role targets needs 1 keys, 0 are here; not here: targets-/);
    assert.match(lacking.err, /keys\.missing/);
    fs.renameSync(join(lab.folder, targetsKey), join(lab.home, 'keys', targetsKey));
    assert.equal((await lab.run('publish', '--passphrase-file', right)).exit, 0);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
    const read = (name: string) =>
      JSON.parse(fs.readFileSync(join(lab.repository, 'metadata', name), 'utf8')) as { signatures: unknown[] };
    assert.equal(read('1.root.json').signatures.length, 2);
    assert.equal(read('1.policy.json').signatures.length, 2);
    assert.equal(read('1.catalog.json').signatures.length, 1);
    const idle = await lab.run('publish');
    assert.equal(idle.exit, 3, 'nothing to sign asks for no passphrase');
  } finally {
    lab.remove();
  }
});

test('a passphrase file that others may read, or that is empty, is refused', () => {
  const lab = tryOut();
  try {
    const file = join(lab.folder, 'open');
    fs.writeFileSync(file, 'correct horse\n', { mode: 0o644 });
    assert.throws(
      () => readPassphraseFile(file),
      (error) => isFault(error, 'passphrase.open-file'),
    );
    fs.chmodSync(file, 0o600);
    assert.equal(readPassphraseFile(file), 'correct horse');
    fs.writeFileSync(file, '\nsecond');
    for (const path of [file, join(lab.folder, 'none')]) {
      assert.throws(
        () => readPassphraseFile(path),
        (error) => isFault(error, 'passphrase.missing'),
      );
    }
  } finally {
    lab.remove();
  }
});

class FakeTerminal extends EventEmitter implements Terminal {
  readonly isTTY = true;
  readonly modes: boolean[] = [];
  setRawMode(on: boolean) {
    this.modes.push(on);
  }
  resume() {}
  pause() {}
}

test('at a terminal: nothing typed is shown, keys of the line work, the mode is given back', async () => {
  const terminal = new FakeTerminal();
  let shown = '';
  const ask = (text: string) => void (shown += text);
  const typed = readHidden('Passphrase: ', terminal, ask);
  const bytes = Buffer.from('wrong\u0015Käsx\u007fe\r');
  for (const byte of bytes) terminal.emit('data', Buffer.from([byte])); // one byte at a time, also inside a character
  assert.equal(await typed, 'Käse');
  assert.equal(shown, 'Passphrase: \n');
  assert.deepEqual(terminal.modes, [true, false]);
  const stopped = readHidden('Passphrase: ', terminal, ask);
  terminal.emit('data', Buffer.from('abc\u0003'));
  await assert.rejects(stopped, (error) => isFault(error, 'passphrase.stopped'));
  assert.deepEqual(terminal.modes, [true, false, true, false]);
});

test('without a terminal and without a file it says how to give one', async () => {
  const lab = tryOut();
  try {
    await assert.rejects(
      readHidden('?', { on() {}, off() {}, resume() {}, pause() {} }, () => undefined),
      (error) => isFault(error, 'passphrase.no-terminal') && error.next.includes('--passphrase-file'),
    );
  } finally {
    lab.remove();
  }
});
