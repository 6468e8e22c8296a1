// Real agents, as processes, against a relay that lies: each row of the threat table ends without effect, in a named alarm, in
// bounded time and memory, and the news install as soon as an honest relay is asked.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sha256Of } from '#manifests/schema';
import { makeHost, type TestHost } from './testing/host.ts';
import { type Attack, drip, endless, type HostileRelay, hostileRelay } from './testing/hostile.ts';
import { openAll } from './testing/publisher.ts';

const OBSERVED = join(import.meta.dirname, 'testing/observed.ts');
const DAY = 86_400_000;

/** KiB that an agent may hold at most, whatever it is sent. */
const MOST_MEMORY = 400 * 1024;
/** Bytes that a liar gets rid of at most in one cycle: limits of unsigned files, and what the kernel buffers. */
const MOST_BYTES = 16 * 1024 * 1024;
/** Milliseconds of one cycle against a liar that answers at once (machines of tests are slow and shared). */
const MOST_TIME = 60_000;

interface Scene {
  readonly host: TestHost;
  /** The file as it was before the news, by its path in the repository. */
  readonly old: (path: string) => Buffer | undefined;
  /** A second publisher's repository. */
  readonly other: string;
  /** Address of somebody whom no agent may ever ask. */
  readonly elsewhere: string;
}

interface Row {
  readonly name: string;
  readonly code: RegExp;
  readonly exit: number;
  readonly attack: (scene: Scene) => Attack;
  /** The liar had to be believed up to the payloads: signed documents are genuine. */
  readonly genuineDocuments?: boolean;
  /** The lie is told when the agent comes back for the rest. */
  readonly afterACut?: boolean;
}

const on =
  (pattern: RegExp, answer: (asked: Parameters<Attack>[0]) => void): Attack =>
  (asked) => {
    if (asked.request.method !== 'GET' || !pattern.test(asked.path)) return false;
    answer(asked);
    return true;
  };
const TIMESTAMP = /^metadata\/timestamp\.json$/;
const CATALOG = /^targets\/catalogs\//;
const PAYLOAD = /^payloads\//;
const flip = (bytes: Buffer = Buffer.alloc(1)) => {
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
  return changed;
};
/** Serves half of a payload, then lies about the rest. */
const cutThen = (rest: (asked: Parameters<Attack>[0], start: number, bytes: Buffer) => void): (() => Attack) => {
  return () => {
    let cut = false;
    return on(PAYLOAD, (asked) => {
      const { request, response, bytes = Buffer.alloc(0) } = asked;
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      if (cut) return rest(asked, start, bytes);
      cut = true;
      response.writeHead(200, { etag: `"${sha256Of(bytes)}"`, 'content-length': bytes.length });
      return void response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
    });
  };
};

const rows: readonly Row[] = [
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
    name: 'S12 an endless catalog behind its true beginning',
    code: /transfer\.too-large/,
    exit: 5,
    attack: () => on(CATALOG, ({ response, bytes }) => endless(response, {}, bytes)),
  },
  {
    name: 'S12 an endless payload behind its true beginning',
    code: /transfer\.too-large/,
    exit: 5,
    attack: () => on(PAYLOAD, ({ response, bytes }) => endless(response, {}, bytes)),
    genuineDocuments: true,
  },
  {
    name: 'S12 headers without end',
    code: /transfer\.(?:too-large|cut)/,
    exit: 5,
    attack: () =>
      on(TIMESTAMP, ({ response }) => {
        const socket = response.socket;
        socket?.write('HTTP/1.1 200 OK\r\n');
        const more = () => {
          for (let room = true; room; ) room = socket?.write(`x-${'y'.repeat(60)}: ${'z'.repeat(4_000)}\r\n`) ?? false;
        };
        socket?.on('drain', more);
        more();
      }),
  },
  {
    name: 'S12 a bomb: a content coding that unpacks to a gigabyte',
    code: /transfer\.encoding/,
    exit: 5,
    attack: () => {
      const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
      return on(CATALOG, ({ response }) => {
        response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': bomb.length }).end(bomb);
      });
    },
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
  {
    name: 'S20 a captive portal’s page with status 200',
    code: /transfer\.portal/,
    exit: 5,
    attack: () => on(/./, ({ serve }) => serve(Buffer.from('<!DOCTYPE html><title>Welcome to the hotel</title>'))),
  },
  {
    name: 'S20 a tampered payload',
    code: /transfer\.hash/,
    exit: 5,
    attack: () => on(PAYLOAD, ({ bytes, serve }) => serve(flip(bytes))),
    genuineDocuments: true,
  },
  {
    name: 'S20 a payload of another stated length',
    code: /transfer\.size/,
    exit: 5,
    attack: () => on(PAYLOAD, ({ bytes, serve }) => serve(Buffer.concat([bytes ?? Buffer.alloc(0), Buffer.alloc(77)]))),
    genuineDocuments: true,
  },
  {
    name: 'S20 a payload that ends early although its length was stated',
    code: /transfer\.cut/,
    exit: 8,
    attack: () =>
      on(PAYLOAD, ({ response, bytes = Buffer.alloc(0) }) => {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 1_000), () => response.destroy());
      }),
    genuineDocuments: true,
  },
  {
    name: 'S20 status 500 for everything',
    code: /transfer\.status/,
    exit: 8,
    attack: () => on(/./, ({ response }) => void response.writeHead(500).end('no')),
  },
  {
    name: 'S21 a relay in the middle of its sync: the snapshot is not there yet',
    code: /trust\.missing/,
    exit: 5,
    attack: () => on(/snapshot\.json$/, ({ serve }) => serve(undefined)),
  },
  {
    name: 'S22 a redirect to another host',
    code: /transfer\.redirect/,
    exit: 5,
    attack: ({ elsewhere }) =>
      on(/./, ({ path, response }) => void response.writeHead(302, { location: `${elsewhere}/${path}` }).end()),
  },
  {
    name: 'S22 a redirect that goes round in circles',
    code: /transfer\.redirect/,
    exit: 5,
    attack: () =>
      on(/./, ({ path, response }) => {
        const location = path.startsWith('a/') ? `/b/${path.slice(2)}` : `/a/${path.replace(/^b\//, '')}`;
        response.writeHead(307, { location }).end();
      }),
  },
  {
    name: 'S23 cut, then a range of something else, and a part in place of the whole',
    code: /transfer\.range/,
    exit: 5,
    attack: cutThen(({ response }, start, bytes) => {
      response.writeHead(206, { 'content-range': `bytes 5-${bytes.length - 1}/${bytes.length}` }).end(bytes.subarray(start));
    }),
    genuineDocuments: true,
    afterACut: true,
  },
  {
    name: 'S23 cut, then 200 with other bytes where 206 was asked for',
    code: /transfer\.hash/,
    exit: 5,
    attack: cutThen(({ response }, _start, bytes) => {
      response.writeHead(200, { 'content-length': bytes.length }).end(Buffer.alloc(bytes.length, 1));
    }),
    genuineDocuments: true,
    afterACut: true,
  },
  {
    name: 'S23 an ETag that lies: the rest of another file under the same name',
    code: /transfer\.hash/,
    exit: 5,
    attack: cutThen(({ response }, start, bytes) => {
      const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
      const headers = start === 0 ? {} : { etag: `"${sha256Of(bytes)}"`, 'content-range': range };
      response.writeHead(start === 0 ? 200 : 206, headers).end(Buffer.alloc(bytes.length - start, 1));
    }),
    genuineDocuments: true,
    afterACut: true,
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
];

const firstTimestamps = new WeakMap<TestHost, Buffer>();
const firstTimestamp = (host: TestHost) => firstTimestamps.get(host) ?? Buffer.alloc(0);

function pictureOf(host: TestHost): string {
  return JSON.stringify([host.tool(), sha256Of(fs.readFileSync(join(host.stateDir, 'documents/current.json')))]);
}

function sizeOf(folder: string): number {
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return names.reduce((sum, entry) => sum + fs.statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** One cycle of the agent with these relays, its memory watched. */
async function cycle(host: TestHost, relays: readonly string[], clockMs = 0) {
  const peak = join(host.folder, 'peak');
  host.settings([`relays: [${relays.map((url) => JSON.stringify(url)).join(', ')}]`]);
  const started = performance.now();
  const env = { NODE_OPTIONS: `--import ${OBSERVED}`, PATCHFERRY_TEST_PEAK: peak, PATCHFERRY_TEST_CLOCK_MS: String(clockMs) };
  const ran = await host.agent(['once'], env);
  return { ...ran, took: performance.now() - started, peakKiB: Number(fs.readFileSync(peak, 'utf8')) };
}

/** As if this host had never asked any relay: none rests, and none is kept because it was used just now. */
function forgetRelays(host: TestHost): void {
  using journal = host.journal();
  journal.setMeta('relays', null);
}

/** A host that has installed `1`, and the releases it knows. */
async function readyHost() {
  const host = await makeHost();
  await host.enrol();
  firstTimestamps.set(host, fs.readFileSync(join(host.publisher.repository, 'metadata/timestamp.json')));
  let number = 1;
  const release = () => ({ version: `${number}.0.0`, content: `${number} ${randomBytes(60_000).toString('hex')}` });
  await host.publish({ releases: [release()] });
  const ran = await host.agent(['once']);
  assert.equal(ran.code, 0, ran.out + ran.err);
  forgetRelays(host);
  const next = async () => {
    number += 1;
    const news = release();
    await host.publish({ releases: [news] });
    return news;
  };
  return { host, next };
}

describe('a relay that lies', () => {
  let host: TestHost;
  let next: Awaited<ReturnType<typeof readyHost>>['next'];
  let other: TestHost;
  let elsewhere: HostileRelay;
  const met = new Set<string>();
  let latest = '';
  before(async () => {
    ({ host, next } = await readyHost());
    other = await makeHost();
    await other.publish({ releases: [{ version: '9.0.0', content: 'of another publisher' }] });
    elsewhere = await hostileRelay(other.publisher.repository, () => false);
  });
  after(async () => {
    await elsewhere.close();
    await other.remove();
    await host.remove();
  });

  // first those that leave the host at its old documents
  for (const row of rows.toSorted((a, b) => Number(a.genuineDocuments ?? false) - Number(b.genuineDocuments ?? false))) {
    test(row.name, async () => {
      const { repository } = host.publisher;
      const before = new Map(
        fs
          .readdirSync(join(repository, 'metadata'))
          .map((name): [string, Buffer] => [`metadata/${name}`, fs.readFileSync(join(repository, 'metadata', name))]),
      );
      const picture = pictureOf(host);
      const tool = host.tool();
      const room = sizeOf(host.folder);
      latest = (await next()).content;
      const scene: Scene = {
        host,
        old: (path) => before.get(path),
        other: other.publisher.repository,
        elsewhere: elsewhere.url,
      };
      const liar = await hostileRelay(repository, row.attack(scene));
      try {
        if (row.afterACut === true) assert.match((await cycle(host, [liar.url])).out, /transfer\.cut/);
        const fooled = await cycle(host, [liar.url]);
        assert.match(fooled.out, row.code, fooled.err);
        assert.equal(fooled.code, row.exit, fooled.out + fooled.err);
        met.add(row.code.exec(fooled.out)?.[0] ?? '');
        assert.ok(host.tool() === tool, 'what is installed is as before');
        if (row.genuineDocuments !== true) assert.equal(pictureOf(host), picture, 'nothing of it was kept');
        assert.ok(fooled.took < MOST_TIME, `${fooled.took} ms`);
        assert.ok(fooled.peakKiB < MOST_MEMORY, `${fooled.peakKiB} KiB`);
        assert.ok(liar.sent() < MOST_BYTES, `${liar.sent()} bytes`);
        assert.ok(sizeOf(host.folder) - room < 4 * 1024 * 1024, 'the disk does not fill');
        assert.deepEqual(elsewhere.requests, []);
      } finally {
        await liar.close();
      }
    });
  }

  test('S6 S20 none of it left a trace: an honest relay is enough, and it hears of every refusal by its code', async () => {
    const well = await cycle(host, [host.relay.url], 7 * 3_600_000); // what the liars took is sent again
    assert.equal(well.code, 0, well.out + well.err);
    assert.ok(host.tool() === latest);
    const told = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'alert' ? [result.body.code] : [],
    );
    for (const code of met)
      if (!/^transfer\.(?:cut|status)$/.test(code)) assert.ok(told.includes(code), `${code} of ${told.join()}`);
  });
});

test('S20 tampered payload at the first relay: fetched from the second in the same cycle, and the first one is told by name', async () => {
  const { host, next } = await readyHost();
  const liar = await hostileRelay(
    host.publisher.repository,
    on(PAYLOAD, ({ bytes, serve }) => serve(flip(bytes))),
  );
  try {
    const news = await next();
    const ran = await cycle(host, [liar.url, host.relay.url]);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.ok(host.tool() === news.content);
    assert.match(ran.out, /transfer\.hash/);
    const waiting = await host.agent(['status']);
    assert.match(waiting.out, new RegExp(`${liar.url}: .*rests until .*transfer\\.hash`));
    await cycle(host, [host.relay.url], 7 * 3_600_000); // what the liar took is sent again
    const alerts = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'alert' ? [result.body] : [],
    );
    assert.ok(alerts.some(({ code, message }) => code === 'transfer.hash' && message.includes(liar.url)));
  } finally {
    await liar.close();
    await host.remove();
  }
});

test('S7 freeze: "unchanged" to every question: noticed by expiry, said since when, and results still leave the host', async () => {
  const { host, next } = await readyHost();
  const liar = await hostileRelay(
    host.publisher.repository,
    on(TIMESTAMP, ({ request, response, bytes, serve }) => {
      if (request.headers['if-none-match'] === undefined) return serve(bytes);
      return void response.writeHead(304).end();
    }),
  );
  try {
    await cycle(host, [liar.url]);
    const tool = host.tool();
    await next();
    const frozen = await cycle(host, [liar.url]);
    assert.ok(host.tool() === tool, 'what is installed is as before');
    assert.ok(frozen.code === 0 || frozen.code === 3, frozen.out + frozen.err);
    liar.results.length = 0;
    const late = await cycle(host, [liar.url], 401 * DAY);
    assert.equal(late.code, 5, late.out + late.err);
    assert.match(late.out, /expired since/);
    assert.ok(host.tool() === tool, 'what is installed is as before');
    const told = openAll(liar.results, host.publisher);
    assert.ok(told.length > 0, 'a host that installs nothing goes on reporting');
    assert.match((await host.agent(['status'])).out, /EXPIRED|until/);
  } finally {
    await liar.close();
    await host.remove();
  }
});

test('S26 a relay that takes results and drops them: kept until acked, then given to the other relay', async () => {
  const { host } = await readyHost();
  const hole = await hostileRelay(host.publisher.repository, () => false);
  try {
    host.relay.results.length = 0;
    await host.publish({ releases: [{ version: '7.0.0', content: 'seven' }] });
    await cycle(host, [hole.url, host.relay.url]);
    const swallowed = openAll(hole.results, host.publisher);
    assert.ok(swallowed.length > 0 && host.relay.results.length === 0);
    await cycle(host, [hole.url, host.relay.url], 7 * 3_600_000);
    const arrived = new Set(openAll(host.relay.results, host.publisher).map(({ hash }) => hash));
    for (const { hash } of swallowed) assert.ok(arrived.has(hash));
  } finally {
    await hole.close();
    await host.remove();
  }
});

test('S12 an endless answer to a result: let go, and the result counts as not taken', async () => {
  const { host } = await readyHost();
  const liar = await hostileRelay(host.publisher.repository, ({ request, response }) => {
    if (request.method !== 'POST') return false;
    endless(response);
    return true;
  });
  try {
    host.relay.results.length = 0;
    await host.publish({ releases: [{ version: '8.0.0', content: 'eight' }] });
    const ran = await cycle(host, [liar.url, host.relay.url]);
    assert.ok(liar.sent() < MOST_BYTES && ran.peakKiB < MOST_MEMORY);
    assert.ok(
      openAll(host.relay.results, host.publisher).some(({ result }) => result.kind === 'run'),
      ran.out,
    );
  } finally {
    await liar.close();
    await host.remove();
  }
});

describe('S13 slow retrieval: given up by the minimum rate, another relay is used in the same cycle', {
  concurrency: true,
}, () => {
  const slow: [string, RegExp][] = [
    ['the timestamp', TIMESTAMP],
    ['a payload', PAYLOAD],
  ];
  for (const [what, pattern] of slow) {
    test(`S13 ${what} drips`, async () => {
      const { host, next } = await readyHost();
      const liar = await hostileRelay(
        host.publisher.repository,
        on(pattern, ({ response, bytes = Buffer.alloc(0) }) => {
          response.writeHead(200, { 'content-length': bytes.length });
          drip(response, bytes, 500);
        }),
      );
      try {
        const news = await next();
        const ran = await cycle(host, [liar.url, host.relay.url]);
        assert.equal(ran.code, 0, ran.out + ran.err);
        assert.ok(host.tool() === news.content);
        assert.match((await host.agent(['status'])).out, /transfer\.slow/);
        assert.ok(ran.took < MOST_TIME, `${ran.took} ms`);
      } finally {
        await liar.close();
        await host.remove();
      }
    });
  }
});
