// A fuzzer over index, list, container, chunk reader and the texts people carry, with a time limit. The corpus is kept: every input
// that ever gave a new answer is in fixtures/corpus, and is where the next run begins. PATCHFERRY_FUZZ_MS: longer; PATCHFERRY_SEED: again.
import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { PatchferryError } from '#manifests/errors';
import { generateSigningKey, memorySigner } from '#manifests/trust';
import { decodeList, readIndex } from './format.ts';
import { importBundle } from './import.ts';
import { readReceipt } from './receipt.ts';
import { readRequest, writeRequest } from './request.ts';
import { parseListing } from './seven.ts';
import { signedBytes } from './signed.ts';
import { readTar } from './tar.ts';
import { tarOf } from './testing/forge.ts';
import { AT, noise } from './testing/stage.ts';

const SEED = Number(process.env['PATCHFERRY_SEED'] ?? randomInt(2 ** 31));
/** Time for each target, and the longest that one input may take, milliseconds. */
const BUDGET_MS = Number(process.env['PATCHFERRY_FUZZ_MS'] ?? 1_500);
const ONE_INPUT_MS = 1_000;
/** Of a corpus: bytes of one input, inputs of one target. */
const KEPT_BYTES = 8_192;
const KEPT_EACH = 60;
const KEEP = process.env['PATCHFERRY_KEEP_CORPUS'] === '1';
const FIXTURES = join(import.meta.dirname, 'fixtures');
const CORPUS = join(FIXTURES, 'corpus');

const pair = generateSigningKey(() => Buffer.alloc(32, 'fixture'));
const signer = memorySigner(pair);
const bundle = join(FIXTURES, 'version-2', 'ward-7-000003-content.pfb.json');
const good = fs.readFileSync(bundle);
const index = readIndex(good, [pair.publicKey], 'fixture');
const list = fs.readFileSync(join(bundle.replace(/\.json$/, ''), 'list.zst'));

let state = SEED;
function random(below: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) % Math.max(1, below);
}

const TOKENS = (
  String.raw`" { [ ] } , : \ / ../ -1 0 1e999 9007199254740993 null true "__proto__": "schemaVersion":2 "a/b" = end ` +
  '0000000-0000000.pfp list.zst \uff0e \u00e9 \u0000 \r \n'
)
  .split(' ')
  .map((token) => Buffer.from(token));

/** One to four small changes: bits, bytes, tokens, pieces cut out, doubled, moved, or taken from another input. */
function mutate(input: Buffer, others: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(input);
  for (let times = 1 + random(4); times > 0; times--) {
    const at = random(bytes.length + 1);
    const to = Math.min(bytes.length, at + random(40));
    const other = others[random(others.length)] ?? input;
    const from = random(other.length);
    switch (random(8)) {
      case 0:
        if (bytes.length > 0) bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        if (bytes.length > 0) bytes[at % bytes.length] = random(256);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), TOKENS[random(TOKENS.length)] as Buffer, bytes.subarray(at)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
        break;
      case 5:
        bytes = bytes.subarray(0, at);
        break;
      case 6:
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + random(80)), bytes.subarray(to)]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), TOKENS[random(TOKENS.length)] as Buffer, bytes.subarray(to)]);
    }
  }
  return bytes.subarray(0, 64 * 1024);
}

let scratch: string;
before(() => {
  process.stdout.write(`# seed ${SEED}, ${BUDGET_MS} ms for each target\n`);
  scratch = fs.mkdtempSync(join(fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'patchferry-fuzz-'));
});
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

/**
 * Feeds inputs to `target` until the time is over. It may answer or refuse with an error of ours; any other error, or a long
 * time, is a finding, and the input is left in the corpus.
 */
function fuzz(name: string, seeds: readonly Buffer[], target: (bytes: Buffer) => unknown): void {
  test(`fuzz: ${name}`, async () => {
    const folder = join(CORPUS, name);
    const kept = fs.existsSync(folder) ? fs.readdirSync(folder).map((file) => fs.readFileSync(join(folder, file))) : [];
    const corpus = [...seeds, ...kept];
    const answers = new Set<string>();
    const keep = (bytes: Buffer) => {
      fs.mkdirSync(folder, { recursive: true });
      fs.writeFileSync(join(folder, createHash('sha256').update(bytes).digest('hex').slice(0, 16)), bytes);
    };
    const feed = async (bytes: Buffer, isNew: boolean) => {
      const started = performance.now();
      let answer = 'taken';
      try {
        await target(bytes);
      } catch (error) {
        if (!(error instanceof PatchferryError)) {
          keep(bytes);
          throw error;
        }
        answer = `${error.code} ${error.message.split('"')[0]?.replaceAll(/\d+/g, '').slice(0, 60)}`;
      }
      if (performance.now() - started > ONE_INPUT_MS) {
        keep(bytes);
        assert.fail(`an input of ${bytes.length} bytes took ${Math.round(performance.now() - started)} ms`);
      }
      if (answers.has(answer)) return;
      answers.add(answer);
      if (!isNew) return;
      corpus.push(bytes);
      if (KEEP && bytes.length <= KEPT_BYTES && answers.size <= KEPT_EACH) keep(bytes);
    };
    for (const bytes of corpus.slice()) await feed(bytes, false);
    const ends = performance.now() + BUDGET_MS;
    let inputs = 0;
    while (performance.now() < ends) {
      await feed(mutate(corpus[random(corpus.length)] as Buffer, corpus), true);
      inputs += 1;
    }
    process.stdout.write(`# ${name}: ${inputs} inputs, ${answers.size} different answers\n`);
    assert.ok(inputs > 20 && answers.size > 1, 'the target gives more than one answer');
  });
}

fuzz('index', [good, fs.readFileSync(bundle.replace('version-2', 'version-1'))], (bytes) => {
  // Whatever is taken was signed: nothing but the very bytes of the fixtures passes.
  const taken = readIndex(bytes, [pair.publicKey], 'x');
  assert.ok(taken.signedBy === pair.publicKey && taken.sequence === 3);
});

const body = Buffer.from(JSON.stringify((JSON.parse(good.toString('utf8')) as { body: unknown }).body));
fuzz('index-signed-by-a-thief', [body], async (bytes) => {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return;
  }
  let signed: Buffer;
  try {
    signed = await signedBytes('index', value, signer);
  } catch {
    return; // numbers that canonical JSON does not have
  }
  const taken = readIndex(signed, [pair.publicKey], 'x');
  assert.equal(taken.chunkCount, Math.ceil(taken.streamBytes / taken.chunkBytes));
});

fuzz('list', [zstdDecompressSync(list)], (bytes) => {
  for (const { path } of decodeList(zstdCompressSync(bytes), index, 'x')) {
    assert.ok(!path.startsWith('/') && !path.split('/').includes('..') && /^[\x21-\x7e]+$/.test(path));
  }
});
fuzz('list-compressed', [list], (bytes) => decodeList(bytes, index, 'x'));

const members = [
  { name: 'list.zst', size: 5 },
  { name: '0000000-0000000.pfp', size: 700 },
];
const archive = tarOf(members.map(({ name, size }) => ({ name, bytes: noise(name, size) })));
fuzz('tar', [archive], (bytes) => {
  const found = readTar((at, length) => bytes.subarray(at, at + length), bytes.length, members, 'x');
  assert.deepEqual(found, [
    { ...members[0], at: 512 },
    { ...members[1], at: 1_536 },
  ]);
});

const listing = `Path = list.zst
Size = 5
Packed Size = 5
Modified = 
Attributes = A -rw-r--r--
CRC = 1F073E80
Encrypted = -
Method = Copy
Block = 0

Path = 0000000-0000000.pfp
Size = 700
Packed Size = 
Attributes = A -rw-r--r--
Encrypted = -
Method = Copy
Block = 1

`;
fuzz('listing-of-7zip', [Buffer.from(listing)], (bytes) => {
  for (const { name, size } of parseListing(bytes.toString('utf8'), 'x')) {
    assert.ok(!name.startsWith('/') && !name.split('/').includes('..') && Number.isSafeInteger(size));
  }
});

const wanted = [{ sha256: 'a'.repeat(64), size: 3, name: 'x.deb' }];
const request = { site: 'ward-7', id: '1'.repeat(32), sequence: 1, salt: '2'.repeat(32), last: 0, wanted, madeAt: AT };
fuzz(
  'request',
  [Buffer.from(writeRequest({ ...request, level: 'names' })), Buffer.from(writeRequest({ ...request, level: 'salted' }))],
  (bytes) => readRequest(bytes, 'x'),
);

fuzz(
  'receipt',
  [Buffer.from('----- signed part, for the publisher; leave as it is -----\r\n{}\r\n----- end -----\r\n')],
  (bytes) => {
    fs.writeFileSync(join(scratch, 'RECEIPT.txt'), bytes);
    assert.equal(readReceipt(scratch, [pair.publicKey]), undefined, 'nothing unsigned is a receipt');
  },
);

/** The whole reader: one file of a good bundle is changed; what comes out is right, or nothing. */
const parts = fs.readdirSync(bundle.replace(/\.json$/, '')).toSorted();
fuzz(
  'chunk-reader',
  parts.map((name, at) => Buffer.concat([Buffer.of(at), fs.readFileSync(join(bundle.replace(/\.json$/, ''), name))])),
  async (bytes) => {
    const stick = join(scratch, 'stick');
    fs.rmSync(stick, { recursive: true, force: true });
    fs.cpSync(join(FIXTURES, 'version-2'), stick, { recursive: true });
    const name = parts[(bytes[0] ?? 0) % parts.length] ?? '';
    fs.writeFileSync(join(stick, 'ward-7-000003-content.pfb', name), bytes.subarray(1));
    const staging = join(scratch, 'staging');
    fs.rmSync(staging, { recursive: true, force: true });
    const accept = { keys: [pair.publicKey], kind: 'content' as const, site: 'ward-7', lastSequence: 2, now: AT };
    const outcome = await importBundle({
      index: join(stick, 'ward-7-000003-content.pfb.json'),
      staging,
      accept,
      medium: 'none',
    });
    if (outcome.kind !== 'complete') return;
    assert.deepEqual(fs.readFileSync(join(outcome.tree, 'payloads/sha256/aa/one')), noise('fixture', 20_000));
  },
);
