// Power cuts at random moments of real runs on real hosts: what a cut host has to look like afterwards, and one host's rounds of
// install, cut, boot, settle, look. The command is chaos.ts; a short slice is chaos.host.test.ts.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { runOrThrow } from '#manifests/platform/process';
import { FleetPublisher, FleetRelay, HostAgent } from '../fleet/index.ts';
import type { DebianMirrors, Lab, TestHost } from '../hosts/index.ts';

export interface ChaosPlan {
  readonly lab: Lab;
  readonly folder: string;
  readonly mirrors: DebianMirrors;
  /** The standalone agent. */
  readonly binary: string;
  readonly hosts: number;
  readonly cuts: number;
  readonly seed: number;
  readonly say: (line: string) => void;
}

export interface ChaosReport {
  readonly cuts: number;
  /** What the runs came to over all hosts. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** In which state of a run (or outside of one) the cuts fell. */
  readonly states: Readonly<Record<string, number>>;
  /** A line for each host that was neither as before nor patched after a cut. */
  readonly inconsistent: readonly string[];
  /** Runs without exactly one result at the publisher, gaps and forks of chains. */
  readonly lostOrDoubled: readonly string[];
}

const PATCHES = ['expat', 'brotli'];
const PORT = 8481;
/** No single command of a round may take longer, milliseconds. */
const COMMAND_MS = 300_000;
/** One cut in so many is followed by another one while the host recovers. */
const AGAIN_ONE_IN = 4;

/** Small seeded generator (mulberry32): the same seed chooses the same moments. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Everything that a run may change: each path with type, mode, owner, size and target; packages; capabilities; audits. */
async function portrait(host: TestHost): Promise<Map<string, string>> {
  const roots = ['usr', 'etc', 'boot', 'opt', 'var/lib/dpkg'].map((name) => join(host.root, name));
  const listed = await runOrThrow('find', [...roots, '-xdev', '-printf', '%P\\t%H\\t%y %m %U:%G %s %l\\n'], {
    timeoutMs: COMMAND_MS,
    outputBytes: 64 * 1024 * 1024,
  });
  const found = new Map<string, string>();
  for (const row of listed.stdout.split('\n')) {
    const [path = '', root = '', rest = ''] = row.split('\t');
    const whole = `${root.slice(host.root.length)}/${path}`;
    if (path === '' || /^\/etc\/patchferry|^\/usr\/local\/|\.pyc$|\/__pycache__(?:\/|$)/.test(whole)) continue;
    if (/^\/var\/lib\/dpkg\/(?:lock|triggers\/Lock|status|available)|^\/var\/lib\/dpkg\/.*-old$/.test(whole)) continue;
    // the size of a folder tells about its file system, not about what is in it
    found.set(whole, rest.startsWith('d') ? rest.replace(/ \d+ $/, '') : rest);
  }
  const ask = async (name: string, command: readonly string[]) => {
    const { stdout, stderr, code } = await host.exec(command, { timeoutMs: COMMAND_MS });
    found.set(name, `${code} ${stdout}${stderr}`.trim());
  };
  await ask('packages', ['dpkg-query', '-W', '-f', '${binary:Package} ${Version} ${Status}\n']);
  await ask('audit', ['dpkg', '--audit']);
  await ask('contents', ['dpkg', '--verify', 'libexpat1', 'libbrotli1', 'libc6']);
  await ask('capabilities', ['getcap', '-r', '/usr']);
  return found;
}

function differences(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...now.keys()])]
    .filter((path) => before.get(path) !== now.get(path))
    .map((path) => `${path}: ${before.get(path) ?? 'absent'} -> ${now.get(path) ?? 'absent'}`);
}

interface Machine {
  readonly name: string;
  readonly host: TestHost;
  readonly agent: HostAgent;
}

interface Status {
  readonly agent: string;
  readonly openRun: { readonly state: string } | null;
  readonly handsNeeded: string | null;
  readonly outbox: { readonly waiting: number; readonly lastSequence: number };
}

/** Runs the whole chaos: a publisher, a relay, hosts, cuts in all of them at once, and the books compared at the end. */
export async function chaos(plan: ChaosPlan): Promise<ChaosReport> {
  const publisher = new FleetPublisher(plan.folder);
  await publisher.init();
  await publisher.addDebianSecurity(plan.mirrors);
  publisher.writePolicy('debian-12', { only: PATCHES });
  await publisher.publish('none');
  const upstream = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
  const relay = new FleetRelay({ folder: join(plan.folder, 'relay'), host: '0.0.0.0', ...upstream }, PORT);
  await relay.sync();
  await relay.start();
  try {
    const machines: Machine[] = [];
    for (let n = 1; n <= plan.hosts; n += 1) machines.push(await enrolled(plan, publisher, `chaos${n}`));
    await publisher.arrived(machines.length);
    await publisher.approveAll();
    await publisher.publish('none');
    await relay.sync();
    for (const { agent } of machines) await agent.must(['scan'], [0, 1, 2]);
    return await rounds(plan, machines, publisher, relay);
  } finally {
    await relay.kill('SIGTERM');
  }
}

async function enrolled(plan: ChaosPlan, publisher: FleetPublisher, name: string): Promise<Machine> {
  const host = await plan.lab.host(name);
  await host.boot();
  const agent = new HostAgent(host);
  const url = `http://${host.gateway}:${PORT}`;
  agent.install(plan.binary, publisher.root, [url]);
  await agent.enroll(await publisher.invite(name), url, name);
  return { name, host, agent };
}

async function rounds(
  plan: ChaosPlan,
  machines: readonly Machine[],
  publisher: FleetPublisher,
  relay: FleetRelay,
): Promise<ChaosReport> {
  const states: Record<string, number> = {};
  const outcomes: Record<string, number> = {};
  const inconsistent: string[] = [];
  // the first cycle tells what is missing, so that the payloads are fetched for it
  for (const { agent } of machines) await agent.must(['once'], [0, 1, 3, 4, 8]);
  await publisher.arrived(machines.length);
  await publisher.publish('wanted');
  await relay.sync();
  const share = (index: number) => Math.floor(plan.cuts / machines.length) + (index < plan.cuts % machines.length ? 1 : 0);
  await Promise.all(
    machines.map(async (machine, index) => {
      const worker = new Worker(machine, seededRandom(plan.seed + index * 7_919), plan.say);
      try {
        await worker.work(share(index));
      } finally {
        for (const [state, count] of Object.entries(worker.states)) states[state] = (states[state] ?? 0) + count;
        inconsistent.push(...worker.inconsistent);
      }
    }),
  );
  const lostOrDoubled: string[] = [];
  const known = new Map<string, { runs: number; lastSequence: number; name: string }>();
  for (const { name, agent } of machines) {
    await agent.must(['once'], [0, 1, 3, 4]);
    const { runs } = await agent.ask<{ runs: ReadonlyArray<{ outcome: string | null }> }>(['history']);
    for (const { outcome } of runs) outcomes[outcome ?? 'open'] = (outcomes[outcome ?? 'open'] ?? 0) + 1;
    const status = await agent.ask<Status>(['status']);
    known.set(status.agent, { runs: runs.length, lastSequence: status.outbox.lastSequence, name });
  }
  const collected = await publisher.ask<{ chains: unknown[]; refusedCount: number }>(['collect'], [0, 1, 3]);
  for (const chain of collected.chains) lostOrDoubled.push(`chain: ${JSON.stringify(chain)}`);
  if (collected.refusedCount > 0) lostOrDoubled.push(`${collected.refusedCount} results were refused`);
  lostOrDoubled.push(...compareBooks(publisher, known));
  return { cuts: plan.cuts, outcomes, states, inconsistent, lostOrDoubled };
}

/** The host's own book of runs against the publisher's: each run one result, and numbers without a hole. */
function compareBooks(
  publisher: FleetPublisher,
  known: ReadonlyMap<string, { runs: number; lastSequence: number; name: string }>,
): string[] {
  using database = new DatabaseSync(join(publisher.home, 'store.sqlite'), { readOnly: true });
  const wrong: string[] = [];
  for (const [agent, { runs, lastSequence, name }] of known) {
    const row = database
      .prepare(
        `SELECT count(*) AS count, count(DISTINCT sequence) AS numbers, max(sequence) AS last, sum(kind = 'run') AS runs
         FROM results JOIN agents ON agents.id = results.agent_id WHERE agents.agent = ?`,
      )
      .get(agent) as { count: number; numbers: number; last: number; runs: number };
    if (row.runs !== runs) wrong.push(`${name}: ${runs} runs on the host, ${row.runs} results of runs`);
    if (row.count !== row.numbers) wrong.push(`${name}: ${row.count - row.numbers} numbers twice`);
    if (row.last !== lastSequence || row.numbers !== lastSequence)
      wrong.push(`${name}: the host has given ${lastSequence} numbers, ${row.numbers} came, up to ${row.last}`);
  }
  return wrong;
}

/** One host through its share of the cuts. */
class Worker {
  readonly states: Record<string, number> = {};
  readonly inconsistent: string[] = [];
  readonly #machine: Machine;
  readonly #random: () => number;
  readonly #say: (line: string) => void;
  /** What an uninterrupted command takes, milliseconds. */
  readonly #took = { once: 0, rollback: 0 };
  #old: ReadonlyMap<string, string> = new Map();
  #patched: ReadonlyMap<string, string> = new Map();

  constructor(machine: Machine, random: () => number, say: (line: string) => void) {
    this.#machine = machine;
    this.#random = random;
    this.#say = say;
  }

  async work(cuts: number): Promise<void> {
    const { agent, host } = this.#machine;
    const timed = async (args: readonly string[], accept: readonly number[]) => {
      const started = performance.now();
      await agent.must(args, accept);
      return performance.now() - started;
    };
    await host.must(['systemctl', 'mask', '--quiet', 'apt-daily.timer', 'apt-daily-upgrade.timer']);
    this.#old = await portrait(host);
    this.#took.once = await timed(['once', '--retry'], [0, 1]);
    this.#patched = await portrait(host);
    if (differences(this.#old, this.#patched).length === 0) throw new Error(`${this.#machine.name}: nothing was installed`);
    this.#took.rollback = await timed(['rollback'], [0]);
    this.#look('the first rollback', await portrait(host));
    let patched = false;
    for (let done = 0; done < cuts; ) {
      const kind = patched ? 'rollback' : 'once';
      const args = patched ? ['rollback'] : ['once', '--retry'];
      const moments = [await this.#cut(args, this.#took[kind])];
      done += 1;
      if (done < cuts && this.#random() * AGAIN_ONE_IN < 1) {
        moments.push(await this.#cut(['once'], this.#took.once));
        done += 1;
      }
      const what = `cut ${done} of ${cuts} in ${kind} at ${moments.join(' and ')}`;
      const settled = await agent.run(['once']);
      patched = this.#look(`${what}; once said ${settled.code}: ${settled.stdout.trim()}`, await portrait(host));
      const status = await agent.ask<Status>(['status'], [0, 1, 3, 4, 7]);
      if (status.openRun !== null) this.#wrong(`${what}: a run is still open in ${status.openRun.state}`);
      if (status.handsNeeded !== null) this.#wrong(`${what}: hands are needed`);
      this.#say(`${this.#machine.name}: ${what}: ${patched ? 'patched' : 'as before'} (exit ${settled.code})`);
    }
  }

  /** Pulls the plug at a random moment of a command, and boots. @returns the moment and where the run was, for a person */
  async #cut(args: readonly string[], took: number): Promise<string> {
    const { agent, host } = this.#machine;
    const moment = this.#random() * took * 1.1;
    const command = agent.run(args, COMMAND_MS).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, moment));
    await host.powerCut();
    await command;
    const state = openState(host);
    this.states[state] = (this.states[state] ?? 0) + 1;
    await host.boot();
    return `${(moment / 1000).toFixed(2)} s (${state})`;
  }

  /** Holds a host against the two it may be. @returns whether it is patched */
  #look(what: string, now: ReadonlyMap<string, string>): boolean {
    const toOld = differences(this.#old, now);
    if (toOld.length === 0) return false;
    const toPatched = differences(this.#patched, now);
    if (toPatched.length > 0) {
      const nearest = toOld.length < toPatched.length ? toOld : toPatched;
      this.#wrong(`${what}: neither as before nor patched: ${nearest.slice(0, 10).join('; ')}`);
    }
    return toPatched.length <= toOld.length;
  }

  #wrong(says: string): void {
    this.inconsistent.push(`${this.#machine.name}: ${says}`);
    this.#say(`INCONSISTENT ${this.#machine.name}: ${says}`);
  }
}

/** The state of the open run in a host's journal as the cut left it; read from a copy, so that nothing is repaired. */
function openState(host: TestHost): string {
  const from = join(host.root, 'var/lib/patchferry/agent');
  const copy = fs.mkdtempSync(join(host.root, '..', 'journal-'));
  try {
    for (const suffix of ['', '-wal', '-journal']) {
      const file = join(from, `journal.sqlite${suffix}`);
      if (fs.existsSync(file)) fs.copyFileSync(file, join(copy, `journal.sqlite${suffix}`));
    }
    using database = new DatabaseSync(join(copy, 'journal.sqlite'));
    const row = database.prepare('SELECT state FROM runs WHERE finished IS NULL').get();
    return row === undefined ? 'no run open' : String(row['state']);
  } finally {
    fs.rmSync(copy, { recursive: true, force: true });
  }
}
