// Completes package-lock.json after `npm install`: npm leaves out optional packages for other platforms that the registry at
// hand does not carry, and then `npm ci` refuses the lock. Their versions are known from their parents; so are os, cpu and
// libc, from their names, so that npm passes over them where they do not fit. Also takes registry addresses out.
import * as fs from 'node:fs';
import { resolve } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';

interface LockEntry {
  version?: string;
  resolved?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
  [field: string]: unknown;
}

const OS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32', 'openbsd', 'netbsd', 'sunos', 'aix'];
const CPU = ['arm64', 'x64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el', 'wasm32'];

/** What the name of a platform package says: `binding-linux-arm-musleabihf` is linux, arm, musl. */
export function platformOf(name: string): { os: string[]; cpu: string[]; libc?: string[] } {
  const words = name.split(/[/-]/);
  const os = OS.filter((known) => words.includes(known));
  const cpu = CPU.filter((known) => words.includes(known));
  const libc = /musl/.test(name) ? ['musl'] : /gnu/.test(name) ? ['glibc'] : undefined;
  return {
    os: os.length > 0 ? os : ['none'],
    cpu: cpu.length > 0 ? cpu : ['none'],
    ...(libc && os.includes('linux') ? { libc } : {}),
  };
}

/** The same lock with the missing entries, sorted, without addresses. */
export function completeLock(packages: Record<string, LockEntry>): Record<string, LockEntry> {
  const complete: Record<string, LockEntry> = {};
  for (const [path, { resolved: _resolved, ...entry }] of Object.entries(packages)) complete[path] = entry;
  for (const [path, parent] of Object.entries(packages)) {
    if (path === '') continue;
    for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
      const isThere = [`${path}/node_modules/${name}`, `node_modules/${name}`].some((place) => complete[place] !== undefined);
      if (isThere || !/^\d+\.\d+\.\d+/.test(version)) continue;
      complete[`node_modules/${name}`] = { version, ...(parent.dev ? { dev: true } : {}), optional: true, ...platformOf(name) };
    }
  }
  return Object.fromEntries(Object.entries(complete).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === import.meta.filename) {
  const path = resolve(import.meta.dirname, '../../package-lock.json');
  const lock = JSON.parse(fs.readFileSync(path, 'utf8')) as { packages: Record<string, LockEntry> };
  const before = Object.keys(lock.packages).length;
  lock.packages = completeLock(lock.packages);
  writeFileAtomic(path, `${JSON.stringify(lock, null, 2)}\n`);
  process.stderr.write(`package-lock.json: ${Object.keys(lock.packages).length - before} entries added\n`);
}
