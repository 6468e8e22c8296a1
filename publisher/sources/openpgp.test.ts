// The signature check by itself, with gpgv as its judge where this machine has it: what it refuses, ours never accepts.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as openpgp from 'openpgp';
import { isFault } from '#manifests/errors';
import { run } from '#manifests/platform/process';
import { clearsign, type MockKey, mockKey, T0 } from './apt/mock.ts';
import { readKeyring, verifyCleartext } from './openpgp.ts';

const TEXT = 'Origin: Test\nSuite: test\n- dashed: line\n-----dashes\nFrom here\n\nLabel: Größe\nSHA256:\n abc 1 x\n';

describe('OpenPGP', () => {
  let work: string;
  let key: MockKey;
  before(async () => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-openpgp-'));
    key = await mockKey();
  });
  after(() => fs.rmSync(work, { recursive: true, force: true }));
  const verify = async (file: Uint8Array | string, ...keys: MockKey[]) => {
    const ring = await readKeyring(
      Buffer.concat((keys.length === 0 ? [key] : keys).map(({ publicBytes }) => publicBytes)),
      'ring',
    );
    return verifyCleartext(Buffer.from(file), ring, T0, 'test');
  };
  const refused = (error: unknown) => isFault(error, 'source.signature', 'source.unsigned');

  it('gives back exactly what was signed, and by whom', async () => {
    const { text, signers } = await verify(await clearsign(TEXT, [key], T0 - 1_000));
    assert.equal(text.trimEnd(), TEXT.trimEnd());
    assert.deepEqual(signers, [{ fingerprint: key.secret.getFingerprint(), at: T0 - 1_000 }]);
  });

  it('keyrings: binary, armored, several armored blocks one behind the other', async () => {
    const other = await mockKey();
    const armored = [other, key].map(({ secret }) => secret.toPublic().armor());
    const file = Buffer.from(await clearsign(TEXT, [key], T0));
    for (const bytes of [Buffer.from(armored.join('\n')), Buffer.concat([other.publicBytes, key.publicBytes])]) {
      const ring = await readKeyring(bytes, 'ring');
      assert.equal(ring.length, 2);
      assert.equal((await verifyCleartext(file, ring, T0, 'test')).signers.length, 1);
    }
    for (const bytes of [
      '',
      'x',
      '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n',
      '-----BEGIN PGP',
    ]) {
      await assert.rejects(readKeyring(Buffer.from(bytes), 'ring'), (error) => isFault(error, 'source.keyring'), bytes);
    }
  });

  it('signatures by SHA-1, of the far future, or by a revoked key count for nothing', async () => {
    const message = await openpgp.createCleartextMessage({ text: TEXT });
    const weak = await openpgp.sign({
      message,
      signingKeys: key.secret,
      date: new Date(T0),
      config: {
        preferredHashAlgorithm: openpgp.enums.hash.sha1,
        rejectHashAlgorithms: new Set(),
        rejectMessageHashAlgorithms: new Set(),
      },
    });
    if (weak.includes('SHA1')) await assert.rejects(verify(weak), refused);
    await assert.rejects(verify(await clearsign(TEXT, [key], T0 + 2 * 3_600_000)), refused);
    const { privateKey } = await openpgp.revokeKey({ key: key.secret, date: new Date(T0 - 1_000), format: 'object' });
    const revoked = { secret: privateKey, publicBytes: privateKey.toPublic().write() };
    await assert.rejects(verify(await clearsign(TEXT, [key], T0 - 5_000), revoked), refused);
  });

  it('S16 whatever is changed: what gpgv refuses is refused', async (test) => {
    const available = await run('gpgv', ['--version'], { timeoutMs: 10_000 }).catch(() => undefined);
    if (available?.code !== 0) test.diagnostic('gpgv is not on this machine: judged by the signed text alone');
    fs.writeFileSync(join(work, 'ring.gpg'), key.publicBytes);
    const good = Buffer.from(await clearsign(TEXT, [key], T0 - 1_000));
    const { text: signed } = await verify(good);
    const judge = async (bytes: Uint8Array): Promise<boolean | undefined> => {
      if (available?.code !== 0) return undefined;
      fs.writeFileSync(join(work, 'file'), bytes);
      const args = ['--keyring', join(work, 'ring.gpg'), '--output', '-', join(work, 'file')];
      return (await run('gpgv', args, { timeoutMs: 10_000 })).code === 0;
    };
    // gpgv has no clock of its own choice: the tests' world may lie in its future, then it refuses even the good one.
    const believes = await judge(good);
    let refusals = 0;
    for (let at = 0; at < good.length; at += 1) {
      const bytes = Buffer.from(good);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 7));
      const ours = await verify(bytes).catch((error: unknown) => {
        if (!refused(error)) throw error;
        refusals += 1;
      });
      if (ours === undefined) continue;
      assert.equal(ours.text, signed, `byte ${at}`);
      if (believes === true) assert.equal(await judge(bytes), true, `byte ${at}: gpgv refuses what we accept`);
    }
    assert.ok(refusals > good.length / 2, `${refusals} refusals`);
    test.diagnostic(`${refusals} of ${good.length} changed files refused`);
  });
});
