// A relay that lies about signed documents: garbage, nobody's signature, older ones, mixed ones, endless ones, another publisher's.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { endless } from './testing/hostile.ts';
import { CATALOG, firstTimestamp, flip, type Lie, on, TIMESTAMP, testLies } from './testing/hostile-scene.ts';

const lies: readonly Lie[] = [
  {
    name: 'S1 garbage in place of the timestamp',
    code: /trust\.[a-z-]+/,
    exit: 5,
    attack: () => on(TIMESTAMP, ({ serve }) => serve(randomBytes(900))),
  },
  {
    name: 'S1 a timestamp that nobody signed',
    code: /trust\.threshold/,
    exit: 5,
    attack: () =>
      on(TIMESTAMP, ({ bytes, serve }) => {
        const file = JSON.parse((bytes ?? Buffer.alloc(0)).toString('utf8')) as object;
        serve(Buffer.from(JSON.stringify({ ...file, signatures: [] })));
      }),
  },
  {
    name: 'S5 rolled back: the first timestamp there ever was',
    code: /trust\.rollback/,
    exit: 5,
    attack: ({ host }) => on(TIMESTAMP, ({ serve }) => serve(firstTimestamp(host))),
  },
  {
    name: 'S9 mixed versions: the snapshot of before under the new name',
    code: /trust\.(?:mix-and-match|hash|rollback)/,
    exit: 5,
    attack: ({ old }) =>
      on(/^metadata\/\d+\.snapshot\.json$/, ({ path, serve }) => {
        const version = Number(/\/(\d+)\./.exec(path)?.[1]) - 1;
        serve(old(`metadata/${version}.snapshot.json`));
      }),
  },
  {
    name: 'S12 endless data in place of the timestamp',
    code: /(?:trust\.endless-data|transfer\.too-large)/,
    exit: 5,
    attack: () => on(TIMESTAMP, ({ response }) => endless(response)),
  },
  {
    name: 'S12 a timestamp of four terabytes, stated',
    code: /transfer\.too-large/,
    exit: 5,
    attack: () => on(TIMESTAMP, ({ response }) => endless(response, { 'content-length': '4398046511104' })),
  },
  {
    name: 'S12 endless roots',
    code: /(?:trust\.[a-z-]+|transfer\.too-large)/,
    exit: 5,
    attack: () => on(/^metadata\/2\.root\.json$/, ({ response }) => endless(response)),
  },
  {
    name: 'S14 another publisher’s repository',
    code: /trust\.[a-z-]+/,
    exit: 5,
    attack:
      ({ other }) =>
      ({ path, serve, request }) => {
        if (request.method !== 'GET') return false;
        const file = join(other, path);
        serve(fs.existsSync(file) ? fs.readFileSync(file) : undefined);
        return true;
      },
  },
  {
    name: 'S21 a relay in the middle of its sync: the snapshot is not there yet',
    code: /trust\.missing/,
    exit: 5,
    attack: () => on(/snapshot\.json$/, ({ serve }) => serve(undefined)),
  },
  {
    name: 'S27 a halt that the relay made itself, under the name of the halts role',
    code: /(?:trust\.[a-z-]+|transfer\.too-large)/,
    exit: 5,
    attack: () =>
      on(/^metadata\/\d+\.halts\.json$/, ({ bytes, serve }) => {
        const file = JSON.parse((bytes ?? Buffer.alloc(0)).toString('utf8')) as { signed: { targets: object } };
        file.signed.targets = { 'halts/all.json.zst': { length: 10, hashes: { sha256: 'a'.repeat(64) } } };
        serve(Buffer.from(JSON.stringify(file)));
      }),
  },
  {
    name: 'S12 an endless catalog behind its true beginning',
    code: /transfer\.too-large/,
    exit: 5,
    attack: () => on(CATALOG, ({ response, bytes }) => endless(response, {}, bytes)),
  },
  {
    name: 'S20 a tampered catalog of the right length',
    code: /trust\.target-hash/,
    exit: 5,
    attack: () => on(CATALOG, ({ bytes, serve }) => serve(flip(bytes))),
  },
  {
    name: 'S20 a truncated catalog',
    code: /trust\.target-hash/,
    exit: 5,
    attack: () => on(CATALOG, ({ bytes, serve }) => serve(bytes?.subarray(0, bytes.length - 9))),
  },
];

describe('a relay that lies about documents', () => {
  testLies(lies);
});
