// Fuzzing of every parser of this folder, for a limited time: a typed error or a value, nothing else, in bounded time and memory.
// Inputs that once found something are kept in fixtures/corpus and are tried first.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '#manifests/errors';
import { openTrust } from '../client.ts';
import { openEnvelope, sealEnvelope, verifyEnvelope } from '../envelope/envelope.ts';
import { inspectEnvelope } from '../envelope/layout.ts';
import { readKeyFile, writeKeyFile } from '../keys/file.ts';
import { agentIdOf, generateBoxKey, generateSigningKey } from '../keys/pairs.ts';
import { T0, TestRepository, temporaryFolder } from '../testing/repository.ts';
import { parseJsonObject } from '../verify/json.ts';
import { readMetadata } from '../verify/metadata.ts';
import { matchesPattern } from '../verify/paths.ts';

/** Milliseconds for each parser; raise it for a long run. */
const BUDGET_MS = Number(process.env['TRUST_FUZZ_MS'] ?? 1_500);
const CORPUS = join(import.meta.dirname, 'fixtures/corpus');
const KINDS = ['root', 'timestamp', 'snapshot', 'targets'] as const;

const pieces = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ':',
  ',',
  '\\',
  '\\u0000',
  '\\ud800',
  '0',
  '-1',
  '1e9',
  '9007199254740993',
  'null',
  '"__proto__":',
  '"a":',
  '\0',
  '\u2028',
  '*',
  '*a',
  '../',
  'PFE1',
  '\xff\xff\xff\xff',
];

/** One change: a flipped bit, bytes cut, doubled, taken from elsewhere, or a piece that parsers trip over. */
function mutate(seed: Uint8Array): Uint8Array {
  let bytes = Buffer.from(seed);
  const random = randomBytes(64);
  const rounds = 1 + ((random[0] ?? 0) & 3);
  for (let round = 0; round < rounds; round++) {
    const at = random.readUInt32BE(4 + round * 12) % Math.max(bytes.length, 1);
    const other = random.readUInt32BE(8 + round * 12) % Math.max(bytes.length, 1);
    switch ((random[3 + round * 12] ?? 0) % 6) {
      case 0:
        if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << (other & 7));
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, Math.min(at, other)), bytes.subarray(Math.max(at, other))]);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(other, other + 200), bytes.subarray(at)]);
        break;
      case 3:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from(pieces[other % pieces.length] ?? '', 'latin1'),
          bytes.subarray(at),
        ]);
        break;
      case 4:
        if (bytes.length >= 4) bytes.writeUInt32BE(other, Math.min(at, bytes.length - 4));
        break;
      default:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from((pieces[other % pieces.length] ?? '').repeat(200), 'latin1'),
          bytes.subarray(at),
        ]);
    }
  }
  return bytes;
}

async function parsers(folder: string) {
  const repository = new TestRepository().add('a.txt').delegate({ name: 'd', signers: [], threshold: 1, paths: ['d/*'] });
  repository.delegated = [];
  repository.contents.delete('d');
  await repository.publish();
  const signKey = generateSigningKey();
  const recipient = generateBoxKey();
  const envelope = sealEnvelope({
    body: Buffer.from('{"a":1}'),
    kind: 'result',
    agent: agentIdOf(signKey.publicKey),
    sequence: 1,
    signKey,
    recipients: [recipient.publicKey],
  });
  const keyPath = join(folder, 'seed.key');
  writeKeyFile(keyPath, { kind: 'sign', ...signKey });
  const client = openTrust({ folder: join(folder, 'state'), pinnedRoot: repository.get('root'), now: () => T0 });
  await client.refresh(repository.fetcher);
  const state = fs.readFileSync(join(folder, 'state/state.json'));
  const all = (bytes: Uint8Array) => {
    inspectEnvelope(bytes);
    verifyEnvelope(bytes, signKey.publicKey);
    openEnvelope(bytes, { recipient, signKey: signKey.publicKey });
  };
  return {
    json: {
      seeds: [repository.get('root'), Buffer.from('{"a":[1,"b",{"c":null}]}')],
      parse: (bytes: Uint8Array) => void parseJsonObject(bytes, 'fuzz'),
    },
    metadata: {
      seeds: KINDS.map((kind) => repository.get(kind)),
      parse: (bytes: Uint8Array) => {
        // Each kind must refuse or read it; a file of one kind is asked of all four readers.
        let refusal: unknown;
        for (const kind of KINDS) {
          try {
            readMetadata(kind, bytes, 'fuzz');
          } catch (error) {
            if (!isFault(error)) throw error;
            refusal = error;
          }
        }
        if (refusal !== undefined) throw refusal;
      },
    },
    envelope: { seeds: [envelope], parse: all },
    pattern: {
      seeds: [Buffer.from('policy/*/*')],
      parse: (bytes: Uint8Array) =>
        void matchesPattern(Buffer.from(bytes).toString().slice(0, 1_024), 'policy/a/b'.repeat(100)),
    },
    'key file': {
      seeds: [fs.readFileSync(keyPath)],
      parse: async (bytes: Uint8Array) => {
        const path = join(folder, 'fuzzed.key');
        fs.writeFileSync(path, bytes, { mode: 0o600 });
        await readKeyFile(path);
      },
    },
    'state file': {
      seeds: [state],
      parse: (bytes: Uint8Array) => {
        fs.writeFileSync(join(folder, 'state/state.json'), bytes);
        const opened = openTrust({ folder: join(folder, 'state'), now: () => T0 });
        assert.equal(opened.versions()?.timestamp, 1); // rebuilt from the files beside it, whatever was written here
      },
    },
  };
}

test('fuzz: every parser, corpus first, then for a limited time', async (t) => {
  const folder = temporaryFolder(t);
  const kept = fs.readdirSync(CORPUS).map((name) => fs.readFileSync(join(CORPUS, name)));
  assert.ok(kept.length > 0);
  for (const [name, { seeds, parse }] of Object.entries(await parsers(folder))) {
    const until = performance.now() + BUDGET_MS;
    const pool: Uint8Array[] = [...kept, ...seeds];
    let tries = 0;
    let worst = 0;
    for (let at = 0; at < pool.length || performance.now() < until; at++) {
      const input =
        at < pool.length ? (pool[at] as Uint8Array) : mutate(pool[randomBytes(2).readUInt16BE() % pool.length] as Uint8Array);
      const started = performance.now();
      try {
        await parse(input);
      } catch (error) {
        if (!isFault(error)) {
          fs.writeFileSync(join(CORPUS, `${name.replace(' ', '-')}-${Date.now()}`), input);
          assert.fail(`${name}: ${(error as Error).stack}`);
        }
      }
      worst = Math.max(worst, performance.now() - started);
      tries++;
    }
    t.diagnostic(`${name}: ${tries} inputs, the slowest took ${Math.round(worst)} ms`);
    assert.ok(worst < 1_000, `${name}: ${worst} ms`);
  }
});

test('no input of 1 MiB takes more than a second or 256 MiB', async (t) => {
  const made = await parsers(temporaryFolder(t));
  const MIB = 1024 * 1024;
  const fill = (text: string, prefix = '', suffix = '') =>
    Buffer.from(prefix + text.repeat(Math.floor((MIB - prefix.length - suffix.length) / text.length)) + suffix);
  const signed = (members: string) =>
    `{"signatures":[],"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z",${members}`;
  const inputs: [string, Buffer][] = [
    ['open brackets', fill('[')],
    ['open braces', fill('{"a":')],
    ['quotes', fill('"')],
    ['backslashes', fill('\\', '{"a":"', '"}')],
    ['escapes', fill('\\u0041', '{"a":"', '"}')],
    ['zeroes in a list', fill('0,', '{"a":[', '0]}')],
    ['empty objects', fill('{},', '{"a":[', '{}]}')],
    ['a long number', fill('9', '{"a":', '}')],
    ['many signatures', fill('{"keyid":"a","sig":""},', '{"signed":{},"signatures":[', '{"keyid":"b","sig":""}]}')],
    [
      'many targets',
      Buffer.from(
        `${signed('"targets":{')}${Array.from({ length: 8_000 }, (_, at) => `"t${at}":{"length":1,"hashes":{"sha256":"${'a'.repeat(64)}"}}`).join(',')}}}}`,
      ),
    ],
    [
      'many keys',
      Buffer.from(
        `${signed('"targets":{},"delegations":{"roles":[],"keys":{')}${Array.from({ length: 6_000 }, (_, at) => `"${at}":{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"${'0'.repeat(64)}"}}`).join(',')}}}}}`,
      ),
    ],
    ['zeroes', Buffer.alloc(MIB)],
    ['ones', Buffer.alloc(MIB, 0xff)],
    ['an envelope of zeroes', Buffer.concat([Buffer.from('PFE1\x01\x14\0\0'), Buffer.alloc(MIB - 8)])],
  ];
  for (const [what, input] of inputs) {
    for (const [name, { parse }] of Object.entries(made)) {
      if (name === 'state file') continue; // bounded by its own size limit, and read from our own folder
      const before = process.memoryUsage().rss;
      const started = performance.now();
      try {
        await parse(input.subarray(0, MIB));
      } catch (error) {
        assert.ok(isFault(error), `${name}, ${what}: ${(error as Error).stack}`);
      }
      const took = performance.now() - started;
      const grown = (process.memoryUsage().rss - before) / MIB;
      assert.ok(took < 1_000, `${name}, ${what}: ${took} ms`);
      assert.ok(grown < 256, `${name}, ${what}: ${grown} MiB`);
    }
  }
});
