// Row A1 of the performance targets: what this very machine misses, whole processes: `agent scan` (the standalone program, from
// its verified state, full security catalog) against `apt-get -s dist-upgrade` on the same source, and with all of the machine's sources. Only reads
// the machine: apt works in folders of its own.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { run, runOrThrow } from '#manifests/platform/process';
import { buildBinaries } from '../build/binaries.ts';
import { FleetPublisher } from '../fleet/index.ts';
import { debianMirrors } from '../hosts/index.ts';

export const name = 'scan';

type Row = Record<string, string | number>;

const ROUNDS = 7;
const DIST = resolve(import.meta.dirname, '../../dist');
const LONG = { timeoutMs: 600_000 } as const;
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** CPU seconds (user and system) of all children that have ended, by the kernel's own count; proc(5), stat, cutime and cstime. */
function childrenCpu(): number {
  const fields = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[13]) + Number(fields[14])) / 100; // USER_HZ is 100 on every Linux that Node runs on
}

interface Measured {
  readonly cpu: number;
  readonly stdout: string;
}

async function measured(command: string, args: readonly string[], accept: readonly number[]): Promise<Measured> {
  const before = childrenCpu();
  const result = await run(command, args, { ...LONG, outputBytes: 64 * 1024 * 1024 });
  if (!accept.includes(result.code ?? -1)) throw new Error(`${command} ${args.join(' ')}: ${result.code}\n${result.stderr}`);
  return { cpu: childrenCpu() - before, stdout: result.stdout };
}

/** apt's own options for folders below `folder`; the machine's package database is read, nothing else of it. */
function privateApt(folder: string, sourceList: string, sourceParts: string): string[] {
  for (const part of ['lists/partial', 'cache/archives/partial']) fs.mkdirSync(join(folder, part), { recursive: true });
  return [
    ['Dir::State::Lists', join(folder, 'lists')],
    ['Dir::Cache', join(folder, 'cache')],
    ['Dir::Etc::SourceList', sourceList],
    ['Dir::Etc::SourceParts', sourceParts],
    ['Acquire::Languages', 'none'],
    ['APT::Sandbox::User', 'root'],
    ['Debug::NoLocking', '1'],
  ].flatMap(([key, value]) => ['-o', `${key}=${value}`]);
}

/** `Inst NAME [FROM] (TO …)`: names and versions that apt would upgrade. */
function upgradesOf(stdout: string): string[] {
  return [...stdout.matchAll(/^Inst (\S+) \[(\S+)\] \((\S+)/gm)]
    .map(([, which, from, to]) => `${which} ${from} ${to}`)
    .toSorted();
}

/** @returns CPU seconds of both, and whether both name the same packages */
export async function bench(): Promise<{ name: string; rows: Row[] }> {
  const mirrors = await debianMirrors('bookworm');
  if (mirrors === undefined || process.getuid?.() !== 0) {
    return { name, rows: [{ skipped: 'needs root on a Debian 12 with its security updates among the sources' }] };
  }
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-bench-scan-'));
  try {
    const publisher = new FleetPublisher(folder);
    await publisher.init();
    await publisher.addDebianSecurity(mirrors);
    publisher.writePolicy('debian-12', { windowOpen: false });
    await publisher.publish('none');

    const list = join(folder, 'security.list');
    fs.writeFileSync(list, `deb [signed-by=${mirrors.keyring}] ${mirrors.security} bookworm-security main\n`);
    const same = privateApt(join(folder, 'apt-same'), list, '/dev/null');
    const all = privateApt(join(folder, 'apt-all'), '/etc/apt/sources.list', '/etc/apt/sources.list.d');
    await runOrThrow('apt-get', [...same, 'update', '-q'], LONG);
    await runOrThrow('apt-get', [...all, 'update', '-q'], LONG);

    const [binary = ''] = await buildBinaries(['agent'], DIST, () => undefined);
    const places = ['--state-dir', join(folder, 'agent'), '--cache-dir', join(folder, 'agent-cache')];
    await enrol(binary, places, publisher);
    const scan = ['scan', '--json', ...places];
    const figures = { ours: [] as number[], same: [] as number[], all: [] as number[] };
    let ours: string[] = [];
    let theirs: string[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const scanned = await measured(binary, scan, [0, 1]);
      const simulated = await measured('apt-get', [...same, '-s', 'dist-upgrade'], [0]);
      figures.ours.push(scanned.cpu);
      figures.same.push(simulated.cpu);
      figures.all.push((await measured('apt-get', [...all, '-s', 'dist-upgrade'], [0])).cpu);
      const { missing } = JSON.parse(scanned.stdout) as { missing: Array<{ name: string; from: string; to: string }> };
      ours = missing.map(({ name: which, from, to }) => `${which} ${from} ${to}`).toSorted();
      theirs = upgradesOf(simulated.stdout);
    }
    const [cpu, sameCpu, allCpu] = [median(figures.ours), median(figures.same), median(figures.all)];
    const sameSet = JSON.stringify(ours) === JSON.stringify(theirs);
    const status = await run('dpkg-query', ['-f', '.', '-W'], LONG);
    return {
      name,
      rows: [
        {
          packages: status.stdout.length,
          missing: ours.length,
          'apt upgrades': theirs.length,
          'same set': String(sameSet),
          'scan CPU s': cpu,
          'apt same source CPU s': sameCpu,
          'ratio same source': Number((cpu / sameCpu).toFixed(2)),
          'apt all sources CPU s': allCpu,
          'ratio all sources': Number((cpu / allCpu).toFixed(2)),
          met: String(sameSet && cpu < sameCpu && cpu < allCpu / 10),
        },
        ...differences(ours, theirs),
      ],
    };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Enrols this machine into a fleet of its own, by folders. Its window never opens today, so nothing is ever installed. */
async function enrol(binary: string, places: readonly string[], publisher: FleetPublisher): Promise<void> {
  const code = await publisher.invite('bench');
  const agent = async (args: readonly string[], accept: readonly number[]) => measured(binary, [...args, ...places], accept);
  await agent(['enroll', '--code', code, '--relay', publisher.repository, '--root', publisher.root], [0, 8]);
  await agent(['export', publisher.inbox], [0]);
  await publisher.collect();
  await publisher.approveAll();
  await publisher.publish('none');
  await agent(['once'], [0, 1, 3, 4]);
}

/** What only one of the two names: at most ten each. */
function differences(ours: readonly string[], theirs: readonly string[]): Row[] {
  const only = (who: string, a: readonly string[], b: readonly string[]) =>
    a
      .filter((item) => !b.includes(item))
      .slice(0, 10)
      .map((item): Row => ({ [`only ${who}`]: item }));
  return [...only('agent', ours, theirs), ...only('apt', theirs, ours)];
}
