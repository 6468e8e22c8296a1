// The writer: the same input is the same file, several people sign one after the other, and nothing a reader refuses is written.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DAY, signerOf, T0 } from '../testing/repository.ts';
import { readKey } from '../verify/keys.ts';
import { readMetadata } from '../verify/metadata.ts';
import { nextRoot, trustedRoot } from '../verify/workflow.ts';
import { buildRoot, buildSnapshot, buildTargets, buildTimestamp, type Signed } from './build.ts';
import { addSignature, holdingSignatures, readAny, signMetadata } from './sign.ts';

const [a, b, c] = ['a', 'b', 'c'].map(signerOf) as [
  ReturnType<typeof signerOf>,
  ReturnType<typeof signerOf>,
  ReturnType<typeof signerOf>,
];
const role = { keys: [a.key, b.key], threshold: 2 };
const roles = { root: role, targets: role, snapshot: role, timestamp: role };
const common = { version: 1, expires: T0 + DAY, signedAt: T0 };
const sha256 = 'ab'.repeat(32);

test('deterministic bytes, whatever the order of signers or of members', async () => {
  const one = await signMetadata(buildRoot({ ...common, roles }), [a, b]);
  const two = await signMetadata(buildRoot({ roles, signedAt: T0, expires: T0 + DAY, version: 1 }), [b, a]);
  assert.deepEqual(Buffer.from(one), Buffer.from(two));
  const paths = ['b', 'a', '10', '9', 'ä', '__proto__'].map((path) => ({ path, length: 1, sha256 }));
  const forwards = await signMetadata(buildTargets({ ...common, targets: paths }), [a]);
  const backwards = await signMetadata(buildTargets({ ...common, targets: paths.toReversed() }), [a]);
  assert.deepEqual(Buffer.from(forwards), Buffer.from(backwards));
  assert.equal(readMetadata('targets', forwards, 'x').signed.targets.size, 6);
});

test('signatures of several people, one after the other; each is checked, one replaces its own', async () => {
  const unsigned = await signMetadata(buildRoot({ ...common, roles }), []);
  assert.throws(() => trustedRoot(unsigned), { code: 'trust.threshold' });
  const half = await addSignature(unsigned, b);
  assert.throws(() => trustedRoot(half), { code: 'trust.threshold' });
  const keys = [a, b, c].map(({ keyId, key }) => readKey(keyId, { ...key, keyval: { ...key.keyval } }, 'test'));
  assert.deepEqual(holdingSignatures(half, keys), [b.keyId]);
  const whole = await addSignature(half, a);
  assert.equal(trustedRoot(whole).signed.version, 1);
  assert.deepEqual(Buffer.from(await addSignature(whole, a)), Buffer.from(whole));
  assert.equal(readAny(whole).kind, 'root');
  // A rotation is signed by the old and by the new; an outsider's signature neither helps nor hurts.
  const newRole = { keys: [b.key, c.key], threshold: 2 };
  const next = await signMetadata(buildRoot({ ...common, version: 2, roles: { ...roles, root: newRole } }), [
    a,
    b,
    c,
    signerOf('outsider'),
  ]);
  assert.equal(nextRoot(trustedRoot(whole), next).signed.version, 2);
  await assert.rejects(addSignature(whole, { ...a, sign: () => Promise.resolve(new Uint8Array(64)) }), {
    code: 'trust.signer',
  });
  await assert.rejects(addSignature(Buffer.from('{"signed":{}}'), a), { code: 'trust.wrong-role' });
});

test('the writer refuses what the reader would refuse', () => {
  const refused: [string, () => Signed, string][] = [
    ['version 0', () => buildTargets({ ...common, version: 0 }), 'trust.malformed'],
    ['version with a fraction', () => buildTargets({ ...common, version: 1.5 }), 'trust.malformed'],
    ['signed after it expires', () => buildTargets({ ...common, signedAt: T0 + 2 * DAY }), 'trust.malformed'],
    [
      'a path with a control character',
      () => buildTargets({ ...common, targets: [{ path: 'a\nb', length: 1, sha256 }] }),
      'trust.malformed',
    ],
    [
      'a path with a lone surrogate',
      () => buildTargets({ ...common, targets: [{ path: 'a\ud800', length: 1, sha256 }] }),
      'trust.malformed',
    ],
    [
      'one path twice',
      () =>
        buildTargets({
          ...common,
          targets: [
            { path: 'a', length: 1, sha256 },
            { path: 'a', length: 2, sha256 },
          ],
        }),
      'trust.malformed',
    ],
    ['a negative length', () => buildTargets({ ...common, targets: [{ path: 'a', length: -1, sha256 }] }), 'trust.malformed'],
    [
      'a hash in capitals',
      () => buildTargets({ ...common, targets: [{ path: 'a', length: 1, sha256: sha256.toUpperCase() }] }),
      'trust.weak-hash',
    ],
    [
      'a role named root',
      () => buildTargets({ ...common, delegations: [{ name: 'root', ...role, paths: ['*'] }] }),
      'trust.delegation',
    ],
    [
      'one role twice',
      () =>
        buildTargets({
          ...common,
          delegations: [
            { name: 'x', ...role, paths: ['*'] },
            { name: 'x', ...role, paths: ['y'] },
          ],
        }),
      'trust.delegation',
    ],
    ['a role without paths', () => buildTargets({ ...common, delegations: [{ name: 'x', ...role }] }), 'trust.malformed'],
    [
      'a threshold out of reach',
      () => buildTargets({ ...common, delegations: [{ name: 'x', keys: [a.key], threshold: 2, paths: ['*'] }] }),
      'trust.threshold',
    ],
    [
      'one key twice',
      () => buildRoot({ ...common, roles: { ...roles, root: { keys: [a.key, a.key], threshold: 2 } } }),
      'trust.key-id',
    ],
    [
      'a weak key',
      () =>
        buildRoot({
          ...common,
          roles: {
            ...roles,
            root: {
              keys: [{ keytype: 'ed25519', scheme: 'ed25519', keyval: { public: `01${'00'.repeat(31)}` } }],
              threshold: 1,
            },
          },
        }),
      'trust.weak-key',
    ],
    ['a snapshot without targets', () => buildSnapshot({ ...common, meta: { x: { version: 1 } } }), 'trust.malformed'],
    [
      'a snapshot that lists version 0',
      () => buildSnapshot({ ...common, meta: { targets: { version: 0 } } }),
      'trust.malformed',
    ],
    [
      'a timestamp with a weak hash',
      () => buildTimestamp({ ...common, snapshot: { version: 1, sha256: 'x' } }),
      'trust.weak-hash',
    ],
    ['33 bits of bins', () => buildTargets({ ...common, bins: { ...role, bits: 33, prefix: 'b' } }), 'trust.malformed'],
  ];
  for (const [says, build, code] of refused) assert.throws(build, { code }, says);
});

test('whatever is written is read back as it was meant', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(
        fc
          .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
          .filter((path) => path.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]/.test(path)),
        { maxLength: 8 },
      ),
      fc.nat(),
      async (paths, length) => {
        const bytes = await signMetadata(
          buildTargets({ ...common, targets: paths.map((path) => ({ path, length, sha256 })) }),
          [a],
        );
        const { signed } = readMetadata('targets', bytes, 'x');
        assert.deepEqual([...signed.targets.keys()].toSorted(), paths.toSorted());
        for (const path of paths) assert.deepEqual(signed.targets.get(path), { length, sha256 });
      },
    ),
    { numRuns: 60 },
  );
});
