// A fleet on a bad network: publisher, a relay beside it, two relays at one site behind thin lines with delay, lost packets and
// cuts, a dozen agents there and one on the road. Real programs in namespaces of their own; relays are killed, filled up and
// lost for good, and for thirty days there is no line. Every result arrives exactly once; bytes are fetched once.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Launched, launch, type RunResult, run } from '#manifests/platform/process';
import { type TryOut, tryOut } from '../../publisher/cli/try-out.ts';
import { until } from '../fleet/index.ts';
import { Line, type Place, TestNetwork } from '../hosts/index.ts';
import { ensureDebianPackages } from '../setup/debian.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const OBSERVED = join(PROJECT, 'agent/service/testing/observed.ts');
const DAY = 86_400_000;
const PORT = 8480;
const AGENTS = 12;
/** 256 kbit/s. */
const THIN = { bits: 256_000, bytesPerSecond: 32_000 } as const;
const BAD = { bytesPerSecond: THIN.bytesPerSecond, delayMs: 40, lossEvery: 50 } as const;
/** What one cut may cost: a piece in the air, and what its end had not read yet. */
const CHUNK = 64 * 1024;
/** Questions, headers and signed documents of one sync beside the payloads. */
const DOCUMENTS = 96 * 1024;
const PAYLOAD = 200_000;

const skip = (await ensureDebianPackages(['hosts'])) ?? false;

/** Runs a program of ours at a place, in the time of the test. */
function at(place: Place, component: 'relay' | 'agent', args: readonly string[], days = 0) {
  const [program, words] = place.inside([process.execPath, '--import', OBSERVED, join(PROJECT, component, 'main.ts'), ...args]);
  return { program, words, env: { ...(process.env as Record<string, string>), PATCHFERRY_TEST_CLOCK_MS: String(days * DAY) } };
}

class SiteRelay {
  readonly place: Place;
  readonly folder: string;
  readonly config: string;
  #running: Launched | undefined;

  constructor(place: Place, folder: string, settings: Readonly<Record<string, unknown>>) {
    this.place = place;
    this.folder = join(folder, place.name);
    fs.mkdirSync(this.folder);
    this.config = join(this.folder, 'relay.yaml');
    const own = { stateDir: join(this.folder, 'state'), cacheDir: join(this.folder, 'cache') };
    fs.writeFileSync(this.config, JSON.stringify({ listen: `0.0.0.0:${PORT}`, syncEvery: 10_080, ...own, ...settings }));
  }

  get url(): string {
    return `http://${this.place.inner ?? this.place.address}:${PORT}`;
  }

  async start(days = 0): Promise<void> {
    const { program, words, env } = at(this.place, 'relay', ['run', '--config', this.config], days);
    this.#running = await launch(program, words, { logFile: join(this.folder, 'relay.log'), env });
    const ask = `fetch('http://127.0.0.1:${PORT}/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))`;
    const [asker, args] = this.place.inside([process.execPath, '-e', ask]);
    await until(`relay ${this.place.name}`, 90, async () =>
      (await run(asker, args, { timeoutMs: 10_000 })).code === 0 ? true : undefined,
    );
  }

  /** SIGKILL; as a power cut leaves it. */
  async kill(): Promise<void> {
    this.#running?.kill('SIGKILL');
    await this.#running?.ended;
    this.#running = undefined;
  }

  sync(signal?: AbortSignal): Promise<RunResult> {
    const { program, words, env } = at(this.place, 'relay', ['sync', '--config', this.config]);
    return run(program, words, { timeoutMs: 120_000, env, signal });
  }

  /** Syncs until it is whole, however often the line is cut. @returns how often that was tried */
  async syncWhole(): Promise<number> {
    for (let tries = 1; tries <= 12; tries += 1) {
      const { code } = await this.sync();
      if (code === 0 || code === 3) return tries;
    }
    throw new Error(`${this.place.name} never got whole`);
  }
}

class Host {
  readonly place: Place;
  readonly folder: string;
  readonly config: string;

  constructor(place: Place, folder: string, relays: readonly string[], rootFile: string) {
    this.place = place;
    this.folder = join(folder, place.name);
    this.config = join(this.folder, 'agent.yaml');
    fs.mkdirSync(this.folder);
    const places = { stateDir: 'state', cacheDir: 'cache', archiveRoot: 'components' };
    const own = Object.fromEntries(Object.entries(places).map(([name, path]) => [name, join(this.folder, path)]));
    fs.writeFileSync(this.config, JSON.stringify({ relays, rootFile, logLevel: 'silent', ...own }));
  }

  run(args: readonly string[], days = 0): Promise<RunResult> {
    const { program, words, env } = at(this.place, 'agent', [...args, '--config', this.config], days);
    return run(program, words, { timeoutMs: 120_000, env });
  }

  tool(): Buffer | null {
    const root = join(this.folder, 'components');
    const found = fs.existsSync(root) ? fs.readdirSync(root, { recursive: true, encoding: 'utf8' }) : [];
    const tool = found.find((path) => /current\/.*tool$/.test(path) && fs.statSync(join(root, path)).isFile());
    return tool === undefined ? null : fs.readFileSync(join(root, tool));
  }

  async outbox(days: number): Promise<{ lastSequence: number; unsent: number; waiting: number }> {
    const said = await this.run(['status', '--json'], days);
    return (JSON.parse(said.stdout) as { outbox: { lastSequence: number; unsent: number; waiting: number } }).outbox;
  }
}

/** Three at a time: a machine of tests has few cores. */
async function each<T>(items: readonly T[], act: (item: T, index: number) => Promise<unknown>): Promise<void> {
  const queue = [...items.entries()];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await act(next[1], next[0]);
  };
  await Promise.all([work(), work(), work()]);
}

describe('a fleet on a bad network', { skip }, () => {
  let network: TestNetwork;
  let publisher: TryOut;
  let clockMs = 0;
  let folder: string;
  let hq: SiteRelay;
  let relays: [SiteRelay, SiteRelay];
  let lines: [Line, Line];
  let road: [Line, Line];
  let hosts: Host[] = [];
  let traveller: Host;
  let release = Buffer.alloc(0);
  let stored = 0;
  const closing: (() => unknown)[] = [];

  const must = async (...words: string[]) => {
    const ended = await publisher.run(...words);
    assert.ok(ended.exit === 0 || ended.exit === 3, `${words.join(' ')}: ${ended.exit} ${ended.out}${ended.err}`);
  };
  /** A new release, at the relay beside the publisher. */
  const publish = async (version: string) => {
    release = Buffer.from(`${version} ${randomBytes(PAYLOAD).toString('latin1')}`, 'latin1');
    await publisher.addRelease(version, release);
    await must('source', 'sync');
    await must('publish', '--payloads', 'approved');
    const synced = await hq.sync();
    assert.equal(synced.code, 0, synced.stdout + synced.stderr);
  };
  const collect = async () => {
    const report = (await publisher.json('collect')) as { stored: number; chains: { gaps: unknown[]; forks: unknown[] }[] };
    stored += report.stored;
    return report;
  };
  const all = () => [...hosts, traveller];

  before(async () => {
    const clock = { now: () => Date.now() + clockMs, monotonic: () => performance.now() };
    publisher = tryOut({ clock });
    closing.push(() => publisher.remove());
    folder = join(publisher.folder, 'network');
    fs.mkdirSync(folder);
    network = await TestNetwork.open([
      { name: 'hq' },
      { name: 'r1', site: 'site', rate: THIN.bits },
      { name: 'r2', site: 'site', rate: THIN.bits },
      { name: 'road', rate: THIN.bits },
      ...Array.from({ length: AGENTS }, (_, number) => ({ name: `a${number}`, site: 'site', rate: false as const })),
    ]);
    closing.push(() => network.close());
    const place = (name: string) => network.place(name);
    const line = async (from: Place, options: object) => {
      const made = await Line.open({
        from: { host: from.middle, port: 0 },
        to: { host: place('hq').address, port: PORT },
        ...options,
      });
      closing.push(() => made.close());
      return made;
    };
    lines = [await line(place('r1'), BAD), await line(place('r2'), BAD)];
    road = [await line(place('road'), BAD), await line(place('road'), BAD)];
    await publisher.prepare();
    await must('publish', '--payloads', 'none');
    const common = { upstreamRoot: publisher.root, payloads: 'approved' };
    const inbox = join(publisher.home, 'inbox');
    hq = new SiteRelay(place('hq'), folder, { ...common, upstream: [publisher.repository], inboxForward: [inbox] });
    const behind = (name: string, { url }: Line) =>
      new SiteRelay(place(name), folder, { ...common, upstream: [url], inboxForward: [url] });
    relays = [behind('r1', lines[0]), behind('r2', lines[1])];
    for (const relay of [hq, ...relays]) closing.push(() => relay.kill());
    await hq.start();
    await Promise.all(relays.map((relay) => relay.start()));
    const [one, two] = relays.map(({ url }) => url);
    hosts = Array.from({ length: AGENTS }, (_, number) => {
      const order = number % 2 === 0 ? [one ?? '', two ?? ''] : [two ?? '', one ?? ''];
      return new Host(place(`a${number}`), folder, order, publisher.root);
    });
    traveller = new Host(
      place('road'),
      folder,
      road.map(({ url }) => url),
      publisher.root,
    );
  });
  after(async () => {
    for (const close of closing.toReversed()) await close();
  });

  test('enrolments travel over two tiers and a thin line', async () => {
    const codes: string[] = [];
    for (const { place } of all()) {
      const invited = await publisher.json('agent', 'invite', '--group', 'all', '--title', place.name);
      codes.push((invited as { code: string }).code);
    }
    await each(all(), async (host, index) => {
      const code = codes[index] ?? '';
      const relay = (JSON.parse(fs.readFileSync(host.config, 'utf8')) as { relays: string[] }).relays[0] ?? '';
      const ended = await host.run(['enroll', '--code', code, '--relay', relay, '--root', publisher.root]);
      assert.equal(ended.code, 0, ended.stdout + ended.stderr);
    });
    let enrolled = 0;
    await until('enrolments to arrive', 60, async () => {
      const report = (await publisher.json('collect')) as { enrolments: unknown[] };
      enrolled += report.enrolments.length;
      return enrolled >= all().length ? true : undefined;
    });
    await must('agent', 'approve', '--all-valid');
  });

  test('a sync over a line that is cut four times, its relay killed in the middle: every byte once, and a chunk a cut', async () => {
    await publish('2.0.0');
    const began = lines.map(({ down }) => down);
    lines[0].cutAfter(50_000, 60_000);
    lines[1].cutAfter(70_000, 30_000);
    const killed = new AbortController();
    const first = relays[0].sync(killed.signal);
    await until('half of the payload', 60, () => (lines[0].down - (began[0] ?? 0) > 30_000 ? true : undefined));
    killed.abort(); // and the relay that serves beside it goes with the power
    await relays[0].kill();
    await first.catch(() => undefined);
    tearTails(relays[0].folder);
    await Promise.all(relays.map((relay) => relay.syncWhole()));
    await relays[0].start();
    for (const [index, line] of lines.entries()) {
      const losses = line.cuts + (index === 0 ? 1 : 0);
      const most = release.length + DOCUMENTS + losses * CHUNK;
      const took = line.down - (began[index] ?? 0);
      assert.ok(line.cuts >= 2, `${line.cuts} cuts`);
      assert.ok(took >= release.length && took <= most, `line ${index}: ${took} bytes of at most ${most}`);
    }
  });

  test('a dozen agents install; a relay is killed while they hand their results in, and its tails are torn', async () => {
    const before = lines.map(({ down }) => down);
    const spool = join(relays[0].folder, 'state/inbox');
    const seen = sizeOf(spool);
    const cycles = each(hosts, async (host) => {
      const ended = await host.run(['once']);
      assert.ok([0, 3].includes(ended.code ?? -1), `${host.place.name}: ${ended.code} ${ended.stdout}${ended.stderr}`);
    });
    await until('results at the first relay', 90, () => (sizeOf(spool) > seen ? true : undefined));
    await relays[0].kill();
    tearTails(relays[0].folder);
    await cycles;
    for (const host of hosts) assert.ok(host.tool()?.equals(release), `${host.place.name} has the release`);
    for (const [index, line] of lines.entries())
      assert.ok(line.down - (before[index] ?? 0) < DOCUMENTS, 'no payload came over the line again');
    await relays[0].start();
  });

  test('on the road: a payload cut in mid-file goes on at the other relay, and no byte of it comes twice', async () => {
    const began = road[0].down + road[1].down;
    road[0].cutAfter(90_000);
    const first = traveller.run(['once']);
    await until('the cut', 60, () => (road[0].cuts > 0 ? true : undefined));
    road[0].closed = true;
    const ended = await first;
    if (ended.code !== 0) assert.equal((await traveller.run(['once'])).code, 0, ended.stdout + ended.stderr);
    assert.ok(traveller.tool()?.equals(release));
    assert.ok(road[1].down > 50_000, 'the rest came by the other relay');
    const took = road[0].down + road[1].down - began;
    assert.ok(took <= release.length + DOCUMENTS + road[0].cuts * CHUNK, `${took} bytes`);
    assert.match((await traveller.run(['status'])).stdout, /transfer\.(?:cut|unreachable)/);
    road[0].closed = false;
  });

  test('a relay whose disk is full takes nothing and loses nothing; the other one takes it', async () => {
    const state = join(relays[1].folder, 'state');
    await relays[1].kill();
    const kept = `${state}.kept`;
    fs.renameSync(state, kept);
    fs.mkdirSync(state);
    const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', state], { timeoutMs: 10_000 });
    assert.equal(mounted.code, 0, mounted.stderr);
    try {
      fs.cpSync(kept, state, { recursive: true });
      await relays[1].start();
      fillUp(join(state, 'ballast'));
      await each(hosts.slice(0, 4), async (host) => {
        const ended = await host.run(['once'], 1); // a day later there is something to tell
        assert.ok([0, 3].includes(ended.code ?? -1), ended.stdout + ended.stderr);
        assert.equal((await host.outbox(1)).unsent, 0, 'the other relay took it');
      });
      await relays[1].kill();
      fs.rmSync(join(state, 'ballast'));
      fs.rmSync(kept, { recursive: true });
      fs.cpSync(state, kept, { recursive: true });
    } finally {
      await run('umount', [state], { timeoutMs: 10_000 });
      fs.rmSync(state, { recursive: true });
      fs.renameSync(kept, state);
    }
    await relays[1].start();
  });

  test('thirty days without a line, one of the two relays lost for good: every result arrives exactly once', async () => {
    for (const line of [...lines, ...road]) line.closed = true;
    for (const days of [2, 9, 16, 23, 30]) {
      if (days === 16) {
        await relays[1].kill();
        fs.rmSync(relays[1].folder, { recursive: true }); // with whatever it had
      }
      await relays[0].kill();
      await relays[0].start(days);
      const some = days === 9 || days === 23 ? hosts.slice(0, 4) : hosts;
      await each(some, async (host) => {
        const ended = await host.run(['once'], days);
        assert.ok(ended.code !== 70 && ended.code !== null, ended.stdout + ended.stderr);
      });
    }
    for (const line of [...lines, ...road]) line.closed = false;
    clockMs = 30 * DAY;
    await hq.kill();
    await hq.start(30);
    await relays[0].kill();
    await relays[0].start(30);
    await each([...hosts, traveller], async (host) => {
      await host.run(['once'], 30.5); // what was given to the lost relay is given again
    });
    const told = new Map<string, number>();
    await each(all(), async (host) => {
      const { lastSequence, unsent } = await host.outbox(30.5);
      assert.equal(unsent, 0, host.place.name);
      told.set(host.place.name, lastSequence);
    });
    const wanted = [...told.values()].reduce((sum, count) => sum + count, 0);
    let report = await collect();
    await until('every result', 120, async () => {
      report = await collect();
      return stored >= wanted ? true : undefined;
    });
    assert.equal(stored, wanted, 'each is stored once');
    for (const { gaps, forks } of report.chains) assert.deepEqual([gaps, forks], [[], []]);
    await until('nothing more to come', 30, async () => {
      const late = await collect();
      return late.stored === 0 ? true : undefined;
    });
    assert.equal(stored, wanted);

    // The acknowledgement finds its way down, and the hosts let go of what they kept.
    await must('publish', '--payloads', 'none');
    assert.equal((await hq.sync()).code, 0);
    await relays[0].syncWhole();
    await each(hosts.slice(0, 2), async (host) => {
      await host.run(['once'], 30.6);
      assert.ok((await host.outbox(30.6)).waiting <= 2, 'acknowledged results are gone');
    });
  });
});

/** What a power cut leaves of files that were never flushed: the end of a download in the making is zeros, a log has half a line. */
function tearTails(folder: string): void {
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.name.endsWith('.part')) continue;
    const { size } = fs.statSync(path);
    const handle = fs.openSync(path, 'r+');
    fs.writeSync(handle, Buffer.alloc(Math.min(size, 4_096)), 0, Math.min(size, 4_096), Math.max(0, size - 4_096));
    fs.closeSync(handle);
  }
}

function sizeOf(folder: string): number {
  if (!fs.existsSync(folder)) return 0;
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return names.reduce(
    (sum, entry) => sum + (fs.statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** Writes until there is no room. */
function fillUp(file: string): void {
  const handle = fs.openSync(file, 'w');
  try {
    for (let size = 256 * 1024; size >= 1_024; size /= 2) {
      try {
        for (;;) fs.writeSync(handle, Buffer.alloc(size));
      } catch {
        // no room for so much; for less, perhaps
      }
    }
  } finally {
    fs.closeSync(handle);
  }
}
