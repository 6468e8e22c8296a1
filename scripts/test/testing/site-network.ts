// For tests: relays and agents as programs at the places of a test network, in the time of the test; and what power cuts and full
// disks do to their files.
import * as fs from 'node:fs';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { type Launched, launch, type RunResult, run } from '#manifests/platform/process';
import { until } from '../../fleet/index.ts';
import type { Place } from '../../hosts/index.ts';

const PROJECT = resolve(import.meta.dirname, '../../..');
const OBSERVED = join(PROJECT, 'agent/service/testing/observed.ts');
const DAY = 86_400_000;
const COMMAND_MS = 300_000;
export const PORT = 8480;

/** The time of a test: relays follow it while they run, agents are told it with each command. */
export class TestTime {
  readonly file: string;
  days = 0;

  constructor(folder: string) {
    this.file = join(folder, 'clock');
    this.set(0);
  }

  set(days: number): void {
    this.days = days;
    fs.writeFileSync(`${this.file}.new`, String(Math.round(days * DAY)));
    fs.renameSync(`${this.file}.new`, this.file);
  }

  get ms(): number {
    return Math.round(this.days * DAY);
  }
}

export class SiteRelay {
  readonly place: Place;
  readonly folder: string;
  readonly config: string;
  readonly #time: TestTime;
  #running: Launched | undefined;

  constructor(place: Place, folder: string, time: TestTime, settings: Readonly<Record<string, unknown>>) {
    this.place = place;
    this.#time = time;
    this.folder = join(folder, place.name);
    fs.mkdirSync(this.folder);
    this.config = join(this.folder, 'relay.yaml');
    const own = { stateDir: join(this.folder, 'state'), cacheDir: join(this.folder, 'cache') };
    fs.writeFileSync(this.config, JSON.stringify({ listen: `0.0.0.0:${PORT}`, syncEvery: 10_080, ...own, ...settings }));
  }

  get url(): string {
    return `http://${this.place.inner ?? this.place.address}:${PORT}`;
  }

  async start(): Promise<void> {
    const [program, words] = this.#inside(['run']);
    const env = this.#env();
    this.#running = await launch(program, words, { logFile: join(this.folder, 'relay.log'), env });
    const ask = `(async () => { for (let i = 0; i < 900; i += 1) {
      if (await fetch('http://127.0.0.1:${PORT}/healthz').then(({ ok }) => ok, () => false)) process.exit(0);
      await new Promise((r) => setTimeout(r, 100)); } process.exit(1); })()`;
    const [asker, args] = this.place.inside([process.execPath, '-e', ask]);
    const up = await run(asker, args, { timeoutMs: COMMAND_MS });
    if (up.code !== 0) throw new Error(`relay ${this.place.name} does not answer: ${this.log().slice(-1_000)}`);
  }

  /** Results and enrolments that it has not passed on yet, by its own metrics. */
  async waiting(): Promise<number> {
    const ask = `fetch('http://127.0.0.1:${PORT}/metrics').then(async (got) => process.stdout.write(await got.text()))`;
    const [asker, args] = this.place.inside([process.execPath, '-e', ask]);
    const { stdout, stderr } = await run(asker, args, { timeoutMs: COMMAND_MS });
    const rows = [...stdout.matchAll(/^patchferry_relay_spool_items\{kind="(?:results|enrolments)"\} (\d+)$/gm)];
    if (rows.length === 0) throw new Error(`relay ${this.place.name} tells no metrics: ${stdout.slice(0, 500)}${stderr}`);
    return rows.reduce((sum, [, count]) => sum + Number(count), 0);
  }

  log(): string {
    const file = join(this.folder, 'relay.log');
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  }

  /** SIGKILL; with `tear`, as a power cut leaves its files. */
  async kill(tear = false): Promise<void> {
    this.#running?.kill('SIGKILL');
    await this.#running?.ended;
    this.#running = undefined;
    if (tear) tearFiles(this.folder);
  }

  command(words: readonly string[], signal?: AbortSignal): Promise<RunResult> {
    const [program, args] = this.#inside(words);
    return run(program, args, { timeoutMs: COMMAND_MS, env: this.#env(), signal });
  }

  sync(signal?: AbortSignal): Promise<RunResult> {
    return this.command(['sync'], signal);
  }

  /** Syncs until it is whole, however often the line is cut. */
  async syncWhole(): Promise<void> {
    let last: RunResult | undefined;
    for (let tries = 1; tries <= 12; tries += 1) {
      last = await this.sync();
      if (last.code === 0 || last.code === 3) return;
    }
    throw new Error(`${this.place.name} never got whole: ${last?.stdout}${last?.stderr}`);
  }

  #inside(words: readonly string[]): [string, string[]] {
    return this.place.inside([
      process.execPath,
      '--import',
      OBSERVED,
      join(PROJECT, 'relay/main.ts'),
      ...words,
      '--config',
      this.config,
    ]);
  }

  #env() {
    return { ...(process.env as Record<string, string>), PATCHFERRY_TEST_CLOCK_FILE: this.#time.file };
  }
}

interface Told {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class SiteHost {
  readonly place: Place;
  readonly folder: string;
  readonly relays: readonly string[];
  readonly #config: string;
  readonly #time: TestTime;
  #loop: Launched | undefined;
  /** What its last cycle said, and when results last did not leave, and why. */
  said = '';
  waits = '';

  constructor(place: Place, folder: string, time: TestTime, relays: readonly string[], rootFile: string) {
    this.place = place;
    this.relays = relays;
    this.folder = join(folder, place.name);
    this.#time = time;
    this.#config = join(this.folder, 'agent.yaml');
    fs.mkdirSync(this.folder);
    const places = { stateDir: 'state', cacheDir: 'cache', archiveRoot: 'components' };
    const own = Object.fromEntries(Object.entries(places).map(([name, path]) => [name, join(this.folder, path)]));
    fs.writeFileSync(this.#config, JSON.stringify({ relays, rootFile, logLevel: 'silent', ...own }));
  }

  /** A command of the agent at this place, in a process that stays for the next one. */
  async run(...args: readonly string[]): Promise<Told> {
    const socketPath = join(this.folder, 'loop');
    if (this.#loop === undefined) {
      const program = join(import.meta.dirname, 'agent-loop.ts');
      const [starter, words] = this.place.inside([process.execPath, program, socketPath]);
      this.#loop = await launch(starter, words, { logFile: `${socketPath}.log` });
      await until(`agent ${this.place.name}`, 120, () => (fs.existsSync(socketPath) ? true : undefined));
    }
    const body = JSON.stringify({ args: [...args, '--config', this.#config], clockMs: this.#time.ms });
    return new Promise((done, failed) => {
      const asked = request({ socketPath, method: 'POST', timeout: COMMAND_MS }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', failed);
        response.on('end', () => done(JSON.parse(Buffer.concat(chunks).toString('utf8')) as Told));
      });
      asked.on('error', failed);
      asked.on('timeout', () => asked.destroy(new Error(`agent ${this.place.name}: ${args.join(' ')} takes too long`)));
      asked.end(body);
    });
  }

  /** One cycle; an end that is not among these is an error with what the agent said. */
  async once(...accept: readonly number[]): Promise<string> {
    const { code, stdout, stderr } = await this.run('once');
    if (!accept.includes(code)) throw new Error(`${this.place.name} ended with ${code}: ${stdout}${stderr}`);
    this.said = stdout;
    const [line] = /^.*results? waits?:.*$/m.exec(stdout) ?? [];
    if (line !== undefined) this.waits = `day ${this.#time.days}: ${line}`;
    return stdout;
  }

  async stop(): Promise<void> {
    this.#loop?.kill('SIGKILL');
    await this.#loop?.ended;
  }

  tool(): Buffer | null {
    const root = join(this.folder, 'components');
    const found = fs.existsSync(root) ? fs.readdirSync(root, { recursive: true, encoding: 'utf8' }) : [];
    const tool = found.find((path) => /current\/.*tool$/.test(path) && fs.statSync(join(root, path)).isFile());
    return tool === undefined ? null : fs.readFileSync(join(root, tool));
  }

  async outbox(): Promise<{ lastSequence: number; unsent: number; waiting: number }> {
    const said = await this.run('status', '--json');
    return (JSON.parse(said.stdout) as { outbox: { lastSequence: number; unsent: number; waiting: number } }).outbox;
  }
}

/** Three at a time: a machine of tests has few cores. */
export async function each<T>(items: readonly T[], act: (item: T, index: number) => Promise<unknown>): Promise<void> {
  const queue = [...items.entries()];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await act(next[1], next[0]);
  };
  await Promise.all([work(), work(), work()]);
}

/**
 * What a power cut leaves of files that were never flushed: behind the flushed beginning of a download zeros, behind the last
 * record of the inbox's journal half of one that nobody was promised, and files in the making.
 */
function tearFiles(folder: string): void {
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const { parentPath, name } of entries) {
    const path = join(parentPath, name);
    if (name.endsWith('.part')) {
      const { size } = fs.statSync(path);
      const flushed = Number(fs.readFileSync(`${path}.from`, 'utf8').split('\n')[2] ?? size);
      fs.truncateSync(path, Math.min(flushed, size));
      fs.truncateSync(path, size);
    }
    if (name.endsWith('.pfj')) fs.appendFileSync(path, fs.readFileSync(path).subarray(0, 60));
  }
  const results = join(folder, 'state/inbox/results');
  for (const agent of fs.existsSync(results) ? fs.readdirSync(results) : [])
    fs.writeFileSync(join(results, agent, '.tmp-0123456789ab-000000000099-0123456789abcdef.pfe'), 'PF');
}

/** Bytes of all files below a folder. */
export function sizeOf(folder: string): number {
  if (!fs.existsSync(folder)) return 0;
  const names = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return names.reduce(
    (sum, entry) => sum + (fs.statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** Writes until there is no room. */
export function fillUp(file: string): void {
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
