// Thousands of generated repositories and mutations of them, shown to us and to tuf-js: the verdicts must be the same, but for
// the short list of rows below in which tuf-js is wrong (and one in which it is stricter about nothing that matters).
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { Metadata, MetadataKind } from '@tufjs/models';
import * as fc from 'fast-check';
import { TrustedMetadataStore } from '../../../node_modules/tuf-js/dist/store.js';
import type { Signer } from '../keys/signers.ts';
import { signerOf, signRaw } from '../testing/repository.ts';
import { canonicalBytes } from '../verify/canonical.ts';
import type { Json, JsonObject } from '../verify/json.ts';
import {
  checkRootFresh,
  checkSnapshot,
  checkTargets,
  checkTimestamp,
  nextRoot,
  topSigners,
  trustedRoot,
} from '../verify/workflow.ts';
import { buildRoot, buildSnapshot, buildTargets, buildTimestamp, type Signed } from '../write/build.ts';

const RUNS = Number(process.env['TRUST_DIFFERENTIAL_RUNS'] ?? 3_000);
const DAY = 86_400_000;
const NOW = Date.now();
const KINDS = ['root', 'next root', 'timestamp', 'snapshot', 'targets'] as const;
type Files = Record<(typeof KINDS)[number], Uint8Array>;

/** What our pure set says of the files in the order of the client workflow. */
function ours(files: Files): string {
  try {
    const root = nextRoot(trustedRoot(files.root), files['next root']);
    checkRootFresh(root, NOW);
    const { timestamp } = checkTimestamp(root, files.timestamp, {}, { timestamp: 0, snapshot: 0 }, NOW);
    const snapshot = checkSnapshot(root, timestamp, files.snapshot, {}, NOW);
    checkTargets('targets', files.targets, snapshot, topSigners(root), NOW);
    return 'accepted';
  } catch (error) {
    return (error as { code?: string }).code ?? `bug: ${(error as Error).stack}`;
  }
}

function theirs(files: Files): string {
  try {
    const store = new TrustedMetadataStore(Buffer.from(files.root));
    store.updateRoot(Buffer.from(files['next root']));
    store.updateTimestamp(Buffer.from(files.timestamp));
    store.updateSnapshot(Buffer.from(files.snapshot));
    store.updateDelegatedTargets(Buffer.from(files.targets), 'targets', 'root');
    return 'accepted';
  } catch (error) {
    return `refused: ${(error as Error).message}`;
  }
}

/**
 * Where we refuse and tuf-js 6.0.2 accepts, by our code, and why ours is right. Nowhere may we accept what it refuses.
 */
const STRICTER: Readonly<Record<string, string>> = {
  'trust.key-id': 'S3: tuf-js does not hold a key id against its key, nor two ids against one key',
  'trust.weak-hash': 'S19: tuf-js takes {} or any hash that OpenSSL knows; we require SHA-256',
  'trust.expires': 'S8: tuf-js takes every text that new Date() understands; the specification has one form',
  'trust.threshold': 'S4, S16: tuf-js takes a fractional threshold, and hex with anything behind it',
  'trust.malformed': 'S17: floats, integers past 2^53, twice the same member, ill-formed names, versions of 0 in files we keep',
  'trust.weak-key': 'S16: tuf-js takes keys of small order',
};

const everybody = ['r1', 'r2', 't', 's', 'ts', 'stranger'].map(signerOf);
const [r1, r2, t, s, ts, stranger] = everybody as [Signer, Signer, Signer, Signer, Signer, Signer];

interface Plan {
  rootThreshold: number;
  snapshotVersion: number;
  targetsVersion: number;
  bare: boolean;
  targets: string[];
  mutate: number;
  mutation: Mutation;
  resign: boolean;
}
interface Mutation {
  kind:
    | 'none'
    | 'version'
    | 'expires'
    | 'threshold'
    | 'sig'
    | 'signers'
    | 'member'
    | 'hash'
    | 'type'
    | 'keyid'
    | 'byte'
    | 'spec';
  value: Json;
  index: number;
}

const odd: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json[]>(
    null,
    true,
    0,
    1,
    2,
    3,
    -1,
    1.5,
    2 ** 53,
    '',
    'x',
    '1',
    '2030-01-01T00:00:00Z',
    '2020-01-01T00:00:00Z',
    '2030-01-01',
    'never',
    [],
    {},
    '__proto__',
    '1.0',
    '2.0.0',
    '1.x',
    '\ud800',
  ),
  fc.string(),
  fc.integer(),
);
const plan: fc.Arbitrary<Plan> = fc.record({
  rootThreshold: fc.constantFrom(1, 2),
  snapshotVersion: fc.integer({ min: 1, max: 5 }),
  targetsVersion: fc.integer({ min: 1, max: 5 }),
  bare: fc.boolean(),
  targets: fc.uniqueArray(fc.stringMatching(/^[a-z_.]{1,8}(?:\/[a-z]{1,4})?$/), { maxLength: 3 }),
  mutate: fc.nat(KINDS.length - 1),
  mutation: fc.record({
    kind: fc.constantFrom(
      'none',
      'version',
      'expires',
      'threshold',
      'sig',
      'signers',
      'member',
      'hash',
      'type',
      'keyid',
      'byte',
      'spec',
    ),
    value: odd,
    index: fc.nat(10_000),
  }),
  resign: fc.boolean(),
});

/** Applies one mutation to the signed part; what it does not apply to stays as it is. */
function mutated(signed: JsonObject, { kind, value, index }: Mutation): JsonObject {
  const copy = structuredClone(signed);
  const members = Object.keys(copy);
  const entries = Object.values((copy['meta'] ?? copy['targets'] ?? {}) as JsonObject) as JsonObject[];
  const roles = Object.values((copy['roles'] ?? {}) as JsonObject) as JsonObject[];
  const pick = <T>(list: T[]): T | undefined => list[index % Math.max(list.length, 1)];
  if (kind === 'version') copy['version'] = value;
  if (kind === 'expires') copy['expires'] = value;
  if (kind === 'spec') copy['spec_version'] = value;
  if (kind === 'type')
    copy['_type'] =
      typeof value === 'string' && index % 2 === 0 ? (pick(['root', 'timestamp', 'snapshot', 'targets']) as string) : value;
  if (kind === 'member') {
    const name = pick(members) as string;
    if (index % 3 === 0) delete copy[name];
    else copy[name] = value;
  }
  const role = pick(roles);
  if (kind === 'threshold' && role) role['threshold'] = value;
  if (kind === 'keyid' && role) {
    const keyids = role['keyids'] as Json[];
    if (index % 3 === 0) keyids.push(keyids[0] as Json);
    else if (index % 3 === 1) keyids.push(value);
    else {
      const keys = copy['keys'] as JsonObject;
      const id = keyids[0] as string;
      keys['ab'.repeat(32)] = keys[id] as Json;
      keyids.push('ab'.repeat(32));
      role['threshold'] = 2;
    }
  }
  const entry = pick(entries);
  if (kind === 'hash' && entry) entry[pick(['hashes', 'length', 'version']) as string] = value;
  return copy;
}

async function filesOf(input: Plan): Promise<Files> {
  const expires = NOW + DAY;
  const role = (signer: Signer) => ({ keys: [signer.key], threshold: 1 });
  const roles = {
    root: { keys: [r1.key, r2.key], threshold: input.rootThreshold },
    timestamp: role(ts),
    snapshot: role(s),
    targets: role(t),
  };
  let plain: Signed[] = [buildRoot({ version: 1, expires, roles }), buildRoot({ version: 2, expires, roles })];
  const targets = buildTargets({
    version: input.targetsVersion,
    expires,
    targets: input.targets.map((path) => ({ path, length: path.length, sha256: hash('sha256', path) })),
  });
  plain = [...plain];
  const signersOf = [[r1, r2], [r1, r2], [ts], [s], [t]];
  const made: Uint8Array[] = [];
  const order = [4, 3, 2, 1, 0];
  const meta = (bytes: Uint8Array, version: number) =>
    input.bare ? { version } : { version, length: bytes.length, sha256: hash('sha256', bytes) };
  for (const index of order) {
    let signed: Signed;
    if (index === 4) signed = targets;
    else if (index === 3)
      signed = buildSnapshot({
        version: input.snapshotVersion,
        expires,
        meta: { targets: meta(made[4] as Uint8Array, input.targetsVersion) },
      });
    else if (index === 2)
      signed = buildTimestamp({ version: 1, expires, snapshot: meta(made[3] as Uint8Array, input.snapshotVersion) });
    else signed = plain[index] as Signed;
    made[index] = await spoil(signed, signersOf[index] as Signer[], input.mutate === index ? input : undefined);
  }
  const [root, next, timestamp, snapshot, last] = made as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  return { root, 'next root': next, timestamp, snapshot, targets: last };
}

/** Signs the honest part and then changes it, or changes it and signs that: a vandal, or a key in the wrong hands. */
async function spoil(honest: JsonObject, signers: Signer[], input: Plan | undefined): Promise<Uint8Array> {
  if (input === undefined) return signRaw(honest, signers);
  const { mutation, resign } = input;
  const signed = mutated(honest, mutation);
  let signable = true;
  try {
    canonicalBytes(signed);
  } catch {
    signable = false; // a float: nobody can sign it
  }
  const wanted =
    mutation.kind === 'signers' ? [[], signers.slice(0, 1), [stranger], [...signers, stranger]][mutation.index % 4] : signers;
  const signedBytes = await signRaw(resign && signable ? signed : honest, wanted ?? signers);
  const file = JSON.parse(Buffer.from(signedBytes).toString()) as {
    signatures: { keyid: string; sig: string }[];
    signed: Json;
  };
  file.signed = signed;
  const [first] = file.signatures;
  if (mutation.kind === 'sig' && first) {
    const { sig } = first;
    first.sig =
      [sig.toUpperCase(), `${sig}zz`, sig.slice(0, -2), '', `${sig.slice(0, -1)}${sig.endsWith('0') ? '1' : '0'}`, sig][
        mutation.index % 6
      ] ?? sig;
    if (mutation.index % 7 === 0) file.signatures.push({ ...first });
  }
  const bytes = Buffer.from(JSON.stringify(file));
  if (mutation.kind === 'byte') bytes[mutation.index % bytes.length] = mutation.index >>> 3;
  return bytes;
}

test(`differential: ${RUNS} repositories and mutations, the verdicts of tuf-js and ours`, async (context) => {
  const seen = new Map<string, number>();
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  await fc.assert(
    fc.asyncProperty(plan, async (input) => {
      const files = await filesOf(input);
      const we = ours(files);
      const they = theirs(files);
      assert.ok(!we.startsWith('bug'), we);
      count(we === 'accepted' ? 'both accept' : they === 'accepted' ? `only we refuse: ${we}` : 'both refuse');
      if (we === 'accepted') assert.equal(they, 'accepted');
      else if (they === 'accepted') assert.ok(Object.hasOwn(STRICTER, we), `tuf-js accepts, we say ${we}`);
    }),
    { numRuns: RUNS },
  );
  assert.ok((seen.get('both accept') ?? 0) > RUNS / 20 && (seen.get('both refuse') ?? 0) > RUNS / 20);
  for (const [what, times] of [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1))) context.diagnostic(`${what}: ${times}`);
});

test('files written by us are the same to @tufjs/models: parsed, written again, byte for byte as signed', async () => {
  await fc.assert(
    fc.asyncProperty(plan, async (input) => {
      const files = await filesOf({ ...input, mutation: { ...input.mutation, kind: 'none' } });
      const kinds = {
        root: MetadataKind.Root,
        timestamp: MetadataKind.Timestamp,
        snapshot: MetadataKind.Snapshot,
        targets: MetadataKind.Targets,
      } as const;
      for (const [name, kind] of Object.entries(kinds)) {
        const file = JSON.parse(Buffer.from(files[name as keyof Files]).toString()) as { signed: JsonObject };
        const read = (Metadata.fromJSON as (kind: MetadataKind, data: object) => { toJSON(): object })(kind, file).toJSON() as {
          signed: JsonObject;
        };
        assert.deepEqual(Buffer.from(canonicalBytes(read.signed)), Buffer.from(canonicalBytes(file.signed)));
      }
    }),
    { numRuns: 50 },
  );
});
