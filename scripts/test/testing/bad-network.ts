// For tests: a fleet on a bad network. A publisher, a relay beside it, two relays at one site behind thin lines with delay, lost
// packets and cuts, a dozen agents there and one on the road; real programs in namespaces of their own.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type TryOut, tryOut } from '../../../publisher/cli/try-out.ts';
import { Line, type Place, TestNetwork } from '../../hosts/index.ts';
import { each, PORT, SiteHost, SiteRelay, TestTime } from './site-network.ts';

/** Agents at the site. */
export const AGENTS = 12;
export const SITE = 'ward-7';
/** 256 kbit/s. */
const THIN = { bits: 256_000, bytesPerSecond: 32_000 } as const;
const BAD = { bytesPerSecond: THIN.bytesPerSecond, delayMs: 40, lossEvery: 50 } as const;
/** What the inbox of a relay at the site holds, MiB. */
const INBOX_MIB = 1;
const PAYLOAD_BYTES = 200_000;

/** One group whose rollout has a fuse; `health` is what its hosts are judged by after a change. */
const policyWith = (health: readonly string[]) => `apiVersion: patchferry/v1
kind: Baseline
metadata: {name: own-software}
spec: {product: own-tool, rules: [{name: all, approve: {afterDays: 0}}]}
---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: {name: always}
spec: {days: daily, start: "00:00", durationMinutes: 1440, zone: UTC}
---
apiVersion: patchferry/v1
kind: Rollout
metadata: {name: at-once}
spec: {rings: [{name: all}], fuse: {withinHours: 24, minReports: 3, maxFailures: {hosts: 2}, scope: group}}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: all}
spec:
  baselines: [own-software]
  windows: [always]
  rollout: at-once
  health: ${JSON.stringify(health.length === 0 ? [] : [{ name: 'well', command: health, timeoutSeconds: 5 }])}
`;

export interface Collected {
  readonly stored: number;
  readonly enrolments: readonly unknown[];
  readonly chains: readonly { readonly gaps: readonly unknown[]; readonly forks: readonly unknown[] }[];
  readonly siteHalts: readonly { readonly name: string; readonly state: string }[];
  readonly dropped: readonly { readonly results: number; readonly why: string }[];
}

export interface BadNetwork {
  readonly network: TestNetwork;
  readonly publisher: TryOut;
  readonly time: TestTime;
  /** Beside the publisher. */
  readonly hq: SiteRelay;
  /** At the site. */
  readonly relays: readonly [SiteRelay, SiteRelay];
  /** From the relays of the site to the one beside the publisher. */
  readonly lines: readonly [Line, Line];
  readonly hosts: readonly SiteHost[];
  /** On the road, with two lines to the relay beside the publisher. */
  readonly traveller: SiteHost;
  readonly road: readonly [Line, Line];
  readonly all: readonly SiteHost[];
  /** The newest release, and results that the publisher has stored. */
  readonly now: { release: Buffer; stored: number };
  /** A command of the publisher that has to end well. */
  must(...words: string[]): Promise<void>;
  /** By which program a host is judged after a change; none: every host is well. */
  judgedBy(...health: string[]): void;
  /** A new release, at the relay beside the publisher. */
  publish(version: string, bytes?: number): Promise<void>;
  /** Acks and policy as they are now, at the relay beside the publisher. */
  publishWord(): Promise<void>;
  collect(): Promise<Collected>;
  closeLines(closed: boolean): void;
  close(): Promise<void>;
}

export async function openBadNetwork(): Promise<BadNetwork> {
  const closing: (() => unknown)[] = [];
  const close = async () => {
    for (const act of closing.toReversed()) await act();
  };
  try {
    let time: TestTime | undefined;
    const clock = { now: () => Date.now() + (time?.ms ?? 0), monotonic: () => performance.now() };
    const publisher = tryOut({ clock });
    closing.push(() => publisher.remove());
    const folder = join(publisher.folder, 'network');
    fs.mkdirSync(folder);
    time = new TestTime(folder);
    const network = await TestNetwork.open([
      { name: 'hq' },
      { name: 'r1', site: 'site', rate: THIN.bits },
      { name: 'r2', site: 'site', rate: THIN.bits },
      { name: 'road', rate: THIN.bits },
      ...Array.from({ length: AGENTS }, (_, number) => ({ name: `a${number}`, site: 'site', rate: false as const })),
    ]);
    network.holdings.add('folders', publisher.folder);
    closing.push(() => network.close());
    const place = (name: string) => network.place(name);
    const line = async (from: Place) => {
      const to = { host: place('hq').address, port: PORT };
      const made = await Line.open({ from: { host: from.middle, port: 0 }, to, ...BAD });
      closing.push(() => made.close());
      return made;
    };
    const lines = [await line(place('r1')), await line(place('r2'))] as const;
    const road = [await line(place('road')), await line(place('road'))] as const;

    await publisher.prepare();
    const must = async (...words: string[]) => {
      const ended = await publisher.run(...words);
      assert.ok(ended.exit === 0 || ended.exit === 3, `${words.join(' ')}: ${ended.exit} ${ended.out}${ended.err}`);
    };
    const judgedBy = (...health: string[]) => fs.writeFileSync(join(publisher.home, 'policy/policy.yaml'), policyWith(health));
    judgedBy();
    await must('publish', '--payloads', 'none');

    const common = { upstreamRoot: publisher.root, payloads: 'approved' };
    const inbox = join(publisher.home, 'inbox');
    const hq = new SiteRelay(place('hq'), folder, time, { ...common, upstream: [publisher.repository], inboxForward: [inbox] });
    const behind = (name: string, { url }: Line, sibling: string) =>
      new SiteRelay(place(name), folder, time, {
        ...common,
        upstream: [url],
        inboxForward: [url],
        inboxMiB: INBOX_MIB,
        site: SITE,
        siblings: [`http://${place(sibling).inner}:${PORT}`],
      });
    const relays = [behind('r1', lines[0], 'r2'), behind('r2', lines[1], 'r1')] as const;
    for (const relay of [hq, ...relays]) closing.push(() => relay.kill());
    await hq.start();
    await Promise.all(relays.map((relay) => relay.start()));

    const [one = '', two = ''] = relays.map(({ url }) => url);
    const hosts = Array.from({ length: AGENTS }, (_, number) => {
      const order = number % 2 === 0 ? [one, two] : [two, one];
      return new SiteHost(place(`a${number}`), folder, time, order, publisher.root);
    });
    const urls = road.map(({ url }) => url);
    const traveller = new SiteHost(place('road'), folder, time, urls, publisher.root);
    const all = [...hosts, traveller];
    for (const host of all) closing.push(() => host.stop());

    const now = { release: Buffer.alloc(0), stored: 0 };
    const atHq = async () => {
      const synced = await hq.sync();
      assert.equal(synced.code, 0, synced.stdout + synced.stderr);
    };
    return {
      network,
      publisher,
      time,
      hq,
      relays,
      lines,
      hosts,
      traveller,
      road,
      all,
      now,
      must,
      judgedBy,
      close,
      async publish(version, bytes = PAYLOAD_BYTES) {
        now.release = Buffer.from(`${version} ${randomBytes(bytes).toString('latin1')}`, 'latin1');
        await publisher.addRelease(version, now.release);
        await must('source', 'sync');
        await must('publish', '--payloads', 'approved');
        await atHq();
      },
      async publishWord() {
        await must('publish', '--payloads', 'none');
        await atHq();
      },
      async collect() {
        const report = (await publisher.json('collect')) as unknown as Collected;
        now.stored += report.stored;
        return report;
      },
      closeLines(closed) {
        for (const each of [...lines, ...road]) each.closed = closed;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** How many results these hosts have made; none of them is unsent. */
export async function toldBy(some: readonly SiteHost[]): Promise<number> {
  let results = 0;
  await each(some, async (host) => {
    const { lastSequence, unsent } = await host.outbox();
    assert.equal(unsent, 0, `${host.place.name}: ${host.waits}; ${host.said}`);
    results += lastSequence;
  });
  return results;
}
