// One test host: a Debian tree booted with systemd as PID 1 in a network namespace that reaches one address of ours and
// nothing else. Can be entered, cut off from power, booted again.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type Launched, launch, type RunResult, run, runOrThrow } from '#manifests/platform/process';
import { childOf, type Holdings, nameOf, networkTurn, stopMachine } from './holdings.ts';

const COMMAND_MS = 120_000;
const BOOT_MS = 120_000;

/** Where nspawn keeps a folder for each machine by its name, also of one that was killed. */
const NSPAWN = '/run/systemd/nspawn/propagate';

/** Where a host has its root from, anew at each boot, as a boot loader and the kernel find it. */
export interface RootMount {
  readonly device: string;
  /** As after `rootflags=` on a kernel's command line; none: the file system's default subvolume. */
  readonly options: string | undefined;
}

export class TestHost {
  readonly name: string;
  readonly root: string;
  /** The host's own address. */
  readonly address: string;
  /** Our end of the line: the only address the host can reach. Relays for it listen here. */
  readonly gateway: string;
  readonly #namespace: string;
  readonly #link: string;
  readonly #holdings: Holdings;
  readonly #log: string;
  readonly #mount: RootMount | undefined;
  #machine: Launched | undefined;
  /** The same as a holding. */
  #name: string | undefined;
  #init: number | undefined;

  private constructor(
    name: string,
    root: string,
    folder: string,
    network: { namespace: string; link: string; subnet: string },
    holdings: Holdings,
    mount: RootMount | undefined,
  ) {
    this.#mount = mount;
    this.name = name;
    this.root = root;
    this.#namespace = network.namespace;
    this.#link = network.link;
    this.gateway = `${network.subnet}.1`;
    this.address = `${network.subnet}.2`;
    this.#holdings = holdings;
    this.#log = join(folder, `${name}.console`);
  }

  /** Makes the namespace and the line; the host is not booted yet. */
  static async create(name: string, root: string, folder: string, holdings: Holdings, mount?: RootMount): Promise<TestHost> {
    const tag = randomBytes(3).toString('hex');
    using turn = await networkTurn();
    const network = { namespace: `pf-${tag}`, link: `pf${tag}`, subnet: freeSubnet() };
    const host = new TestHost(name, root, folder, network, holdings, mount);
    if (mount !== undefined) holdings.add('mounts', root);
    await host.#mountRoot();
    holdings.add('folders', join(NSPAWN, network.namespace));
    holdings.add('namespaces', network.namespace);
    holdings.add('links', network.link);
    const ip = (...args: string[]) => runOrThrow('ip', args, { timeoutMs: COMMAND_MS });
    await ip('netns', 'add', network.namespace);
    await ip('link', 'add', network.link, 'type', 'veth', 'peer', 'name', 'line0', 'netns', network.namespace);
    await ip('address', 'add', `${host.gateway}/30`, 'dev', network.link);
    await ip('link', 'set', network.link, 'up');
    turn.release();
    await ip('-n', network.namespace, 'address', 'add', `${host.address}/30`, 'dev', 'line0');
    await ip('-n', network.namespace, 'link', 'set', 'line0', 'up');
    await ip('-n', network.namespace, 'link', 'set', 'lo', 'up');
    return host;
  }

  /** Boots and waits until systemd says it is up (`running`, or `degraded` by a unit that cannot work in a container). */
  async boot(): Promise<void> {
    await this.#mountRoot();
    const args = ['-D', this.root, '--boot', '--register=no', '--keep-unit', '--quiet', '--console=pipe'];
    args.push(
      '--link-journal=no',
      '--resolv-conf=off',
      '--timezone=off',
      `--network-namespace-path=/run/netns/${this.#namespace}`,
      // of hosts with the same name in two labs nspawn would share what it keeps by the name of a machine
      `--machine=${this.#namespace}`,
      `--hostname=${this.name}`,
    );
    if (this.#mount !== undefined) args.push(`--bind=${this.#mount.device}`);
    this.#machine = await launch('systemd-nspawn', args, { logFile: this.#log, env: nspawnEnvironment(this.root) });
    this.#name = nameOf(this.#machine.pid);
    this.#holdings.add('machines', this.#name);
    const until = performance.now() + BOOT_MS;
    let ended = false;
    void this.#machine.ended.then(() => {
      ended = true;
    });
    for (;;) {
      this.#init = childOf(this.#machine.pid);
      if (this.#init !== undefined) {
        const state = await run('nsenter', ['-t', String(this.#init), '-a', 'systemctl', 'is-system-running'], {
          timeoutMs: 10_000,
        });
        if (/^(running|degraded)/.test(state.stdout)) return;
      }
      if (ended || performance.now() > until) {
        const said = fs.existsSync(this.#log) ? fs.readFileSync(this.#log, 'utf8').slice(-2_000) : '';
        throw new Error(`host ${this.name} did not boot: ${said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** The host's PID 1 as this machine numbers it, while it is booted. */
  get init(): number | undefined {
    return this.#init;
  }

  /** Runs a command inside the booted host, in all its namespaces. */
  exec(command: readonly string[], options: { timeoutMs?: number; input?: string } = {}): Promise<RunResult> {
    if (this.#init === undefined) throw new Error(`host ${this.name} is not booted`);
    const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', HOME: '/root' };
    const timeoutMs = options.timeoutMs ?? COMMAND_MS;
    return run('nsenter', ['-t', String(this.#init), '-a', ...command], { timeoutMs, env, input: options.input });
  }

  /** As `exec`, but a failure is an error that says what the command printed. */
  async must(command: readonly string[], options: { timeoutMs?: number; input?: string } = {}): Promise<string> {
    const result = await this.exec(command, options);
    if (result.code !== 0) {
      throw new Error(
        `${this.name}: ${command.join(' ')} ended with ${result.code ?? result.signal}: ${result.stdout}${result.stderr}`,
      );
    }
    return result.stdout;
  }

  /** Takes the line down as a pulled cable does, or up again. */
  async line(state: 'down' | 'up'): Promise<void> {
    await runOrThrow('ip', ['link', 'set', this.#link, state], { timeoutMs: COMMAND_MS });
    // The kernel tells the far end a moment later (its link watch, at most once a second); until then nothing gets through.
    const inside = ['-n', this.#namespace, '-o', 'link', 'show', 'dev', 'line0'];
    const until = performance.now() + COMMAND_MS;
    for (;;) {
      const { stdout } = await runOrThrow('ip', inside, { timeoutMs: COMMAND_MS });
      if (/ state UP /.test(stdout) === (state === 'up')) return;
      if (performance.now() > until) throw new Error(`the line of ${this.name} does not go ${state}: ${stdout}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Bytes that went over the line since the host was made. */
  traffic(): { down: number; up: number } {
    const count = (name: string) => Number(fs.readFileSync(`/sys/class/net/${this.#link}/statistics/${name}`, 'utf8'));
    return { down: count('tx_bytes'), up: count('rx_bytes') };
  }

  /** Lets no more than so many kbit a second through, each way; null: as much as goes. */
  async thin(kbit: number | null): Promise<void> {
    const ends = [
      { netns: [] as string[], dev: this.#link },
      { netns: ['-n', this.#namespace], dev: 'line0' },
    ];
    const limit = kbit === null ? [] : ['rate', `${kbit}kbit`, 'burst', '2k', 'latency', '400ms'];
    for (const { netns, dev } of ends) {
      const words =
        kbit === null ? ['qdisc', 'del', 'dev', dev, 'root'] : ['qdisc', 'replace', 'dev', dev, 'root', 'tbf', ...limit];
      await runOrThrow('tc', [...netns, ...words], { timeoutMs: COMMAND_MS });
    }
  }

  /** Copies a file of ours into the host. */
  install(from: string, to: string, mode = 0o755): void {
    const path = join(this.root, to);
    fs.mkdirSync(join(path, '..'), { recursive: true });
    fs.copyFileSync(from, path);
    fs.chmodSync(path, mode);
  }

  /** Waits until the host has gone down by itself, as it does when it reboots, and boots it again. */
  async bootAgain(withinMs = BOOT_MS): Promise<void> {
    const machine = this.#machine;
    if (machine === undefined) throw new Error(`host ${this.name} is not booted`);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), withinMs);
    });
    const how = await Promise.race([machine.ended, late]);
    clearTimeout(timer);
    if (how === 'late') throw new Error(`host ${this.name} did not go down within ${withinMs / 1000} s`);
    this.#forget();
    await this.boot();
  }

  /** Kills everything in the host at once, as when the plug is pulled. The tree stays as it is at that instant. */
  async powerCut(): Promise<void> {
    if (this.#name !== undefined) await stopMachine(this.#name);
    this.#machine?.kill('SIGKILL');
    await this.#machine?.ended;
    this.#forget();
  }

  /** The root as the next boot finds it, where it is a file system of its own. */
  async #mountRoot(): Promise<void> {
    const mount = this.#mount;
    if (mount === undefined) return;
    fs.mkdirSync(this.root, { recursive: true });
    await run('umount', [this.root], { timeoutMs: COMMAND_MS });
    const options = mount.options === undefined ? [] : ['-o', mount.options];
    await runOrThrow('mount', [...options, mount.device, this.root], { timeoutMs: COMMAND_MS });
  }

  /** Stops the host and deletes its namespace and line; its tree goes with the lab. Never throws. */
  async close(): Promise<void> {
    await this.powerCut().catch(() => undefined);
    await run('ip', ['link', 'delete', this.#link], { timeoutMs: COMMAND_MS });
    await run('ip', ['netns', 'delete', this.#namespace], { timeoutMs: COMMAND_MS });
    this.#holdings.drop('links', this.#link);
    this.#holdings.drop('namespaces', this.#namespace);
  }

  #forget(): void {
    if (this.#name !== undefined) this.#holdings.drop('machines', this.#name);
    this.#machine = undefined;
    this.#name = undefined;
    this.#init = undefined;
  }
}

/** systemd 258 and later starts on the unified hierarchy of control groups alone, which nspawn gives only when told. */
function nspawnEnvironment(root: string): Record<string, string> {
  const ours = Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
  const libraries = fs.globSync('usr/lib/*/systemd/libsystemd-shared-*.so', { cwd: root });
  const version = Number(/-(\d+)[^/]*$/.exec(libraries[0] ?? '')?.[1] ?? 0);
  return version < 258 ? ours : { ...ours, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' };
}

/** Three numbers of a /24 in our own range that no interface here uses. */
export function freeSubnet(): string {
  const routes = fs.readFileSync('/proc/net/fib_trie', 'utf8');
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const subnet = `10.213.${1 + ((randomBytes(1)[0] ?? 0) % 250)}`;
    if (!routes.includes(`${subnet}.`)) return subnet;
  }
  throw new Error('no free address range for a test host');
}
