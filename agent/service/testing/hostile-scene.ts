// For tests: real agents, as processes, against a relay that lies. Each lie ends without effect, in a named alarm, in bounded time
// and memory, and the news install as soon as an honest relay is asked.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sha256Of } from '#manifests/schema';
import { makeHost, type TestHost } from './host.ts';
import { type Attack, type HostileRelay, hostileRelay } from './hostile.ts';
import { openAll } from './publisher.ts';

const OBSERVED = join(import.meta.dirname, 'observed.ts');

/** KiB that an agent may hold at most, whatever it is sent. */
export const MOST_MEMORY = 400 * 1024;
/** Bytes that a liar gets rid of at most in one cycle: limits of unsigned files, and what the kernel buffers. */
export const MOST_BYTES = 16 * 1024 * 1024;
/** Milliseconds of one cycle against a liar that answers at once (machines of tests are slow and shared). */
export const MOST_TIME = 60_000;

interface Scene {
  readonly host: TestHost;
  /** The file as it was before the news, by its path in the repository. */
  readonly old: (path: string) => Buffer | undefined;
  /** A second publisher's repository. */
  readonly other: string;
  /** Address of somebody whom no agent may ever ask. */
  readonly elsewhere: string;
}

export interface Lie {
  readonly name: string;
  readonly code: RegExp;
  readonly exit: number;
  readonly attack: (scene: Scene) => Attack;
  /** The liar had to be believed up to the payloads: signed documents are genuine. */
  readonly genuineDocuments?: boolean;
  /** The lie is told when the agent comes back for the rest. */
  readonly afterACut?: boolean;
}

export const on =
  (pattern: RegExp, answer: (asked: Parameters<Attack>[0]) => void): Attack =>
  (asked) => {
    if (asked.request.method !== 'GET' || !pattern.test(asked.path)) return false;
    answer(asked);
    return true;
  };
export const TIMESTAMP = /^metadata\/timestamp\.json$/;
export const CATALOG = /^targets\/catalogs\//;
export const PAYLOAD = /^payloads\//;
export const flip = (bytes: Buffer = Buffer.alloc(1)) => {
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
  return changed;
};
/** Serves half of a payload, then lies about the rest. */
const firstTimestamps = new WeakMap<TestHost, Buffer>();
export const firstTimestamp = (host: TestHost) => firstTimestamps.get(host) ?? Buffer.alloc(0);

function pictureOf(host: TestHost): string {
  return JSON.stringify([host.tool(), sha256Of(fs.readFileSync(join(host.stateDir, 'documents/current.json')))]);
}

function sizeOf(folder: string): number {
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return names.reduce((sum, entry) => sum + fs.statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** One cycle of the agent with these relays, its memory watched. */
export async function cycle(host: TestHost, relays: readonly string[], clockMs = 0) {
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
export async function readyHost() {
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

/** One test for each lie, and one that none of them left a trace; to be called inside a `describe`. */
export function testLies(lies: readonly Lie[]): void {
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
  for (const row of lies.toSorted((a, b) => Number(a.genuineDocuments ?? false) - Number(b.genuineDocuments ?? false))) {
    void test(row.name, async () => {
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

  void test('S6 S20 none of it left a trace: an honest relay is enough, and it hears of every refusal by its code', async () => {
    const well = await cycle(host, [host.relay.url], 7 * 3_600_000); // what the liars took is sent again
    assert.equal(well.code, 0, well.out + well.err);
    assert.ok(host.tool() === latest);
    const told = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'alert' ? [result.body.code] : [],
    );
    for (const code of met)
      if (!/^transfer\.(?:cut|status)$/.test(code)) assert.ok(told.includes(code), `${code} of ${told.join()}`);
  });
}
