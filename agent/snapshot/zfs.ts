// Snapshots of a ZFS root: reached below `/.zfs/snapshot` without mounting anything. Written to the command lines and output of
// zfs-snapshot(8), zfs-list(8) and zfs-destroy(8), tested over such output; not run against a kernel with ZFS yet.
import * as fs from 'node:fs';
import { type HostContext, hostCommand, lastWords, reach } from '../packages/index.ts';
import { fault } from './copy.ts';
import { type SnapshotDriver, snapshotWay } from './snapshots.ts';
import { fileStore } from './store.ts';
import { carryPaths } from './whole-root.ts';
import { type ZfsMachine, zfsRoot } from './zfs-root.ts';

/** ZFS_SUPER_MAGIC, as statfs(2) gives it. */
const ZFS_MAGIC = 0x2fc12fc1;

const LIMITS = {
  commandMs: 5 * 60_000,
  /** Left to the dataset before a snapshot is made: what changes afterwards stays twice. */
  freeBytes: 512 * 1024 * 1024,
} as const;

/** Rows of `zfs list -H -p -o …`: fields by tabs, numbers as they are, `-` for none. */
export function readRows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

/** The driver over a machine; tests pass a recorded one. */
export function zfsDriver(machine: ZfsMachine): SnapshotDriver {
  const { command, isZfs } = machine;
  const zfs = (context: HostContext, ...args: string[]) => command(context, 'zfs', args, { timeoutMs: LIMITS.commandMs });
  const must = async (context: HostContext, ...args: string[]) => {
    const result = await zfs(context, ...args);
    if (result.code !== 0) throw fault('snapshot', `zfs ${args.join(' ')}: ${lastWords(result, 500)}`);
  };
  /** Dataset that holds the root. */
  const dataset = async (context: HostContext) => {
    const [row] = readRows((await zfs(context, 'list', '-H', '-p', '-o', 'name,available', '/')).stdout);
    const [name, available] = row ?? [];
    return name === undefined ? undefined : { name, freeBytes: Number(available) };
  };
  const nameOf = async (context: HostContext, id: string) => {
    const found = await dataset(context);
    if (found === undefined) throw fault('snapshot', 'the root is in no ZFS dataset');
    return `${found.name}@patchferry-${id}`;
  };
  const find = async (id: string, context: HostContext) => {
    const found = await dataset(context);
    if (found === undefined) return undefined;
    const args = ['list', '-H', '-p', '-t', 'snapshot', '-o', 'name,used', '-d', '1', found.name];
    const rows = readRows((await zfs(context, ...args)).stdout);
    return rows.find(([name]) => name === `${found.name}@patchferry-${id}`);
  };
  return {
    kind: 'zfs',
    store: (context) => fileStore(context, 'zfs'),
    async obstacle(context) {
      if (!isZfs(context)) return { says: 'the root is not on ZFS' };
      if (!['/usr/sbin/zfs', '/sbin/zfs'].some((path) => fs.existsSync(reach(context, path))))
        return { says: 'zfsutils-linux is not installed' };
      const found = await dataset(context);
      if (found === undefined) return { says: 'the root is in no ZFS dataset' };
      return found.freeBytes >= LIMITS.freeBytes ? undefined : { says: `${found.name} is almost full`, lacks: 'room' };
    },
    async take(id, context) {
      const name = await nameOf(context, id);
      await must(context, 'snapshot', name);
      return name;
    },
    // the folder is there although `snapdir=hidden` leaves it out of listings
    withTree: (id, context, use) => use(reach(context, `/.zfs/snapshot/patchferry-${id}`)),
    async remove(id, context) {
      const [name] = (await find(id, context)) ?? [];
      if (name !== undefined) await must(context, 'destroy', name);
    },
    async bytes(id, context) {
      const used = Number((await find(id, context))?.[1] ?? Number.NaN);
      return Number.isFinite(used) ? used : null;
    },
    wholeRoot: zfsRoot(machine),
  };
}

export const zfsSnapshot = snapshotWay(
  zfsDriver({
    command: hostCommand,
    isZfs: (context) => fs.statfsSync(context.root).type === ZFS_MAGIC,
    cmdline: () => fs.readFileSync('/proc/cmdline', 'utf8'),
    carry: carryPaths,
  }),
);
