// Which parts of a host a way back of packages covers, and which it never touches. The rule, in one place:
//   covered   everything below the folders of ROOTS (what packages, their scripts and triggers write), and besides every path
//             that a changed package lists anywhere, in its old or its new version
//   excluded  what belongs to the running host or to patchferry itself, even inside those folders
import * as fs from 'node:fs';
import { posix } from 'node:path';
import { type HostContext, hostCommand, type InstallPlan, reach } from '../packages/index.ts';
import { RPM_EXCLUDED, rpmPathsOfAll, rpmPathsOfChanged } from './rpm.ts';

/** Folders that are compared as a whole. Merged ones (`/bin` -> `usr/bin`) are links and compared as such. */
const ROOTS = [
  '/usr',
  '/etc',
  '/boot',
  '/opt',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  // The package databases, and what maintainer scripts keep about their own work.
  '/var/lib/dpkg',
  '/var/lib/rpm',
  '/var/lib/dnf',
  '/var/lib/alternatives',
  '/var/lib/apt/extended_states',
  '/var/lib/ucf',
  '/var/lib/pam',
  '/var/lib/initramfs-tools',
  '/var/lib/systemd/deb-systemd-helper-enabled',
  '/var/lib/systemd/deb-systemd-helper-masked',
  '/var/lib/systemd/deb-systemd-user-helper-enabled',
  '/var/lib/python',
  '/var/lib/xml-core',
  '/var/lib/sgml-base',
  '/var/cache/ldconfig',
  '/var/cache/debconf',
  '/var/cache/man',
] as const;

/** Never read, never written: locks that others hold, state of the running host, the administrator's own software. */
const EXCLUDED = [
  '/var/lib/dpkg/lock',
  '/var/lib/dpkg/lock-frontend',
  '/var/lib/dpkg/triggers/Lock',
  ...RPM_EXCLUDED,
  '/etc/.pwd.lock',
  '/etc/mtab',
  '/etc/resolv.conf',
  '/etc/machine-id',
  '/etc/adjtime',
  '/etc/hostname',
  '/etc/patchferry',
  '/usr/local',
  '/opt/patchferry',
  '/boot/efi',
  '/boot/grub/grubenv',
  '/boot/lost+found',
];

/** Paths of packages below these are made anew at every start, or are not files at all. */
const NOT_ON_DISK = ['/proc', '/sys', '/dev', '/run', '/tmp', '/var/run', '/var/tmp'];

/** Software whose data a run may change in a way that older versions cannot read; named in `notCovered` when it is in a plan. */
const KEEPS_DATA =
  /^(?:postgresql|mysql|mariadb|mongodb|redis|valkey|slapd|elasticsearch|opensearch|influxdb|rabbitmq|cassandra|couchdb)/;

/** For looking through /usr once, on a slow disk. */
const CAPABILITIES_MS = 120_000;

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

export function isExcluded(path: string): boolean {
  if (path.includes('/.patchferry')) return true; // staging folders and snapshots of our own
  return EXCLUDED.some((folder) => isBelow(path, folder)) || NOT_ON_DISK.some((folder) => isBelow(path, folder));
}

/** The covered folders (and single files) that this host has. */
export function scopeRoots(context: Pick<HostContext, 'root'>): string[] {
  return ROOTS.filter((path) => fs.lstatSync(reach(context, path), { throwIfNoEntry: false }) !== undefined);
}

/** Whether a path lies in a folder that is compared as a whole. */
export function isInRoots(path: string): boolean {
  return ROOTS.some((root) => isBelow(path, root));
}

/** Paths that the package databases name for the packages a plan changes (as they are installed now). */
export async function pathsOfChanged(context: Pick<HostContext, 'root'>, plans: readonly InstallPlan[]): Promise<string[]> {
  const paths = new Set<string>();
  const resolve = createResolver(context);
  for (const path of await rpmPathsOfChanged(context, plans)) paths.add(resolve(path));
  for (const plan of plans.filter(({ format }) => format === 'deb')) {
    for (const { name, arch } of plan.changes) {
      for (const file of [`${name}.list`, `${name}:${arch}.list`]) {
        for (const path of readList(reach(context, `/var/lib/dpkg/info/${file}`))) paths.add(resolve(path));
      }
    }
  }
  return [...paths].filter((path) => !isExcluded(path));
}

/**
 * Files with capabilities (`/usr/bin/ping`): the list of what was there cannot say them, so they are always copied. A host
 * without libcap2-bin has none: packages then fall back to set-uid.
 */
export async function pathsWithCapabilities(context: Pick<HostContext, 'root'>): Promise<string[]> {
  if (!['/usr/sbin/getcap', '/sbin/getcap'].some((path) => fs.existsSync(reach(context, path)))) return [];
  const result = await hostCommand(context, 'getcap', ['-r', '/usr'], { timeoutMs: CAPABILITIES_MS });
  return result.stdout.split('\n').flatMap((line) => {
    const path = /^(\/.*) cap_\S+$/.exec(line)?.[1];
    return path === undefined ? [] : [path];
  });
}

/** Every path that any installed package lists. */
export async function pathsOfAll(context: Pick<HostContext, 'root'>): Promise<Set<string>> {
  const paths = new Set<string>();
  const resolve = createResolver(context);
  const folder = reach(context, '/var/lib/dpkg/info');
  if (!fs.existsSync(folder)) for (const path of await rpmPathsOfAll(context)) paths.add(resolve(path));
  else
    for (const name of fs.readdirSync(folder)) {
      if (name.endsWith('.list')) for (const path of readList(`${folder}/${name}`)) paths.add(resolve(path));
    }
  return paths;
}

function readList(file: string): string[] {
  if (!fs.existsSync(file)) return [];
  return fs
    .readFileSync(file, 'utf8')
    .split('\n')
    .filter((path) => path.startsWith('/') && path !== '/.');
}

/**
 * Paths as packages write them (`/lib/x`), as they are on this host (`/usr/lib/x`): links among their folders are followed, the
 * last part is not. One resolver remembers the folders it has seen.
 */
export function createResolver(context: Pick<HostContext, 'root'>): (path: string) => string {
  const known = new Map<string, string>([['/', '/']]);
  const folder = (path: string, depth: number): string => {
    const seen = known.get(path);
    if (seen !== undefined || depth > 40) return seen ?? path;
    const own = posix.join(folder(posix.dirname(path), depth + 1), posix.basename(path));
    let real = own;
    if (fs.lstatSync(reach(context, own), { throwIfNoEntry: false })?.isSymbolicLink() === true) {
      real = folder(posix.resolve(posix.dirname(own), fs.readlinkSync(reach(context, own))), depth + 1);
    }
    known.set(path, real);
    return real;
  };
  return (path) => (path === '/' ? path : posix.join(folder(posix.dirname(path), 0), posix.basename(path)));
}

/** What no way back of packages brings back on this host, in words (trap 25: a downgrade of software is none of its data). */
export function notCovered(context: Pick<HostContext, 'root'>, plans: readonly InstallPlan[]): string[] {
  const rows = ['what services wrote to /var, /srv and /home while the change was in place'];
  const changed = plans.flatMap(({ changes }) => changes.map(({ name }) => name));
  for (const name of changed.filter((each) => KEEPS_DATA.test(each))) rows.push(`the data of ${name}`);
  const mounts = otherMounts(context).filter((path) => !isInRoots(path) || isExcluded(path));
  if (mounts.length > 0) rows.push(`other mounts: ${mounts.join(', ')}`.slice(0, 500));
  return rows;
}

/** Mounts of disks (not of the kernel's own file systems) other than the root. */
function otherMounts(context: Pick<HostContext, 'root'>): string[] {
  if (context.root !== '/') return [];
  let table: string;
  try {
    table = fs.readFileSync('/proc/self/mounts', 'utf8');
  } catch {
    return [];
  }
  const found = table.split('\n').flatMap((line) => {
    const [device, path] = line.split(' ');
    const real = device?.startsWith('/dev/') === true || device?.includes(':') === true;
    return real && path !== undefined && path !== '/' ? [path.replace(/\\040/g, ' ')] : [];
  });
  return [...new Set(found)].filter((path) => !NOT_ON_DISK.some((folder) => isBelow(path, folder)));
}
