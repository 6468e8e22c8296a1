// Snapshots of a thin LVM volume (lvmthin(7)): they share the pool's blocks with the root and cost what changes afterwards. Written
// to the tools' own command lines and tested over recorded output; not run against a kernel with device-mapper thin volumes yet.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type HostContext, hostCommand, lastWords, reach, seenByHost } from '../packages/index.ts';
import { fault } from './copy.ts';
import { type Obstacle, type SnapshotDriver, snapshotWay } from './snapshots.ts';
import { fileStore, folderOf } from './store.ts';

const LIMITS = {
  commandMs: 5 * 60_000,
  /** A pool that is fuller than this share of its data or metadata gets no further snapshot: a full pool stops the host. */
  poolPercent: 85,
} as const;

/** Columns that are asked of `lvs`. */
const COLUMNS = 'vg_name,lv_name,lv_path,segtype,pool_lv,origin,lv_size,data_percent,metadata_percent';

export interface LogicalVolume {
  readonly group: string;
  readonly name: string;
  readonly segment: string;
  /** Null where it is in none. */
  readonly pool: string | null;
  readonly origin: string | null;
  readonly sizeBytes: number;
  /** Of a pool: how full it is. Null where nothing is printed, as for a pool that is not active. */
  readonly dataPercent: number | null;
  readonly metadataPercent: number | null;
}

/** Reads `lvs --reportformat json --units b --nosuffix -o COLUMNS`; what is no such report holds no volume. */
export function readVolumes(text: string): LogicalVolume[] {
  let report: { report?: { lv?: Record<string, string>[] }[] };
  try {
    report = JSON.parse(text) as typeof report;
  } catch {
    return [];
  }
  const number = (value: string | undefined) => (value === undefined || value === '' ? null : Number(value));
  return (report.report ?? []).flatMap(({ lv = [] }) =>
    lv.map((row) => ({
      group: row['vg_name'] ?? '',
      name: row['lv_name'] ?? '',
      segment: row['segtype'] ?? '',
      pool: row['pool_lv'] || null,
      origin: row['origin'] || null,
      sizeBytes: number(row['lv_size']) ?? 0,
      dataPercent: number(row['data_percent']),
      metadataPercent: number(row['metadata_percent']),
    })),
  );
}

/** Device and type of the file system at `/`, from /proc/self/mountinfo (proc(5)); the last mount counts. */
export function rootMount(mountinfo: string): { device: string; type: string } | undefined {
  const row = mountinfo.split('\n').findLast((line) => line.split(' ')[4] === '/');
  const [type, device] = row?.split(' - ')[1]?.split(' ') ?? [];
  return type === undefined || device === undefined ? undefined : { device, type };
}

/** Options by which a snapshot of a mounted file system is mounted beside it, without writing to it: by file system. */
const MOUNT_OPTIONS: Readonly<Record<string, string>> = { ext4: 'ro,noload', ext3: 'ro,noload', xfs: 'ro,nouuid,norecovery' };

interface Machine {
  /** Runs a program of the host. */
  readonly command: typeof hostCommand;
  /** Text of /proc/self/mountinfo. */
  readonly mountinfo: () => string;
}

/** The driver over a machine; tests pass a recorded one. */
export function lvmDriver({ command, mountinfo }: Machine): SnapshotDriver {
  const call = (context: HostContext, program: string, ...args: string[]) =>
    command(context, program, args, { timeoutMs: LIMITS.commandMs });
  const must = async (context: HostContext, program: string, ...args: string[]) => {
    const result = await call(context, program, ...args);
    if (result.code !== 0) throw fault('snapshot', `${program} ${args.join(' ')}: ${lastWords(result, 500)}`);
  };
  const ask = async (context: HostContext, name: string) => {
    const args = ['--reportformat', 'json', '--units', 'b', '--nosuffix', '-o', COLUMNS, name];
    return readVolumes((await call(context, 'lvs', ...args)).stdout)[0];
  };
  const root = async (context: HostContext) => {
    const mount = rootMount(mountinfo());
    const volume = mount?.device.startsWith('/dev/') === true ? await ask(context, mount.device) : undefined;
    return mount === undefined || volume === undefined ? undefined : { mount, volume };
  };
  const nameOf = (id: string) => `patchferry_${id}`;
  const driver: SnapshotDriver = {
    kind: 'lvm',
    store: (context) => fileStore(context, 'lvm'),
    async obstacle(context): Promise<Obstacle | undefined> {
      if (!['/usr/sbin/lvs', '/sbin/lvs'].some((path) => fs.existsSync(reach(context, path))))
        return { says: 'lvm2 is not installed' };
      const found = await root(context);
      if (found === undefined) return { says: 'the root is not on LVM' };
      const { volume, mount } = found;
      if (volume.segment !== 'thin' || volume.pool === null)
        return { says: `the root is a ${volume.segment} volume of LVM, only thin ones share their blocks with snapshots` };
      if (MOUNT_OPTIONS[mount.type] === undefined) return { says: `snapshots of ${mount.type} on LVM are not supported` };
      const pool = await ask(context, `${volume.group}/${volume.pool}`);
      const full = Math.max(pool?.dataPercent ?? 100, pool?.metadataPercent ?? 0);
      if (full <= LIMITS.poolPercent) return undefined;
      return {
        says: `the pool ${volume.group}/${volume.pool} is ${full} % full, ${LIMITS.poolPercent} % is the most`,
        lacks: 'room',
      };
    },
    async take(id, context) {
      const found = await root(context);
      if (found === undefined) throw fault('snapshot', 'the root is not on LVM');
      const { group, name } = found.volume;
      // the device-mapper freezes the file system while the snapshot is made, so it is as after a clean unmount
      await must(context, 'lvcreate', '--snapshot', '--setactivationskip', 'y', '--name', nameOf(id), `${group}/${name}`);
      return `${group}/${nameOf(id)}`;
    },
    async withTree(id, context, use) {
      const found = await root(context);
      if (found === undefined) throw fault('snapshot', 'the root is not on LVM');
      const { volume, mount } = found;
      const name = `${volume.group}/${nameOf(id)}`;
      const folder = join(folderOf(driver.store(context), id), 'tree');
      const place = seenByHost(context, folder);
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
      await call(context, 'umount', place); // of a restore that was cut off
      await must(context, 'lvchange', '--activate', 'y', '--ignoreactivationskip', name);
      try {
        await must(context, 'mount', '-t', mount.type, '-o', MOUNT_OPTIONS[mount.type] ?? 'ro', `/dev/${name}`, place);
        return await use(folder);
      } finally {
        await call(context, 'umount', place);
        await call(context, 'lvchange', '--activate', 'n', name);
      }
    },
    async remove(id, context) {
      const group = (await root(context))?.volume.group;
      if (group === undefined) return;
      const volume = await ask(context, `${group}/${nameOf(id)}`);
      if (volume === undefined) return;
      await call(context, 'umount', seenByHost(context, join(folderOf(driver.store(context), id), 'tree')));
      await must(context, 'lvremove', '--yes', `${volume.group}/${volume.name}`);
    },
    // lvs tells what a thin volume maps, shared blocks included; what it alone holds only thin_ls on the pool's metadata would
    bytes: async () => null,
  };
  return driver;
}

export const lvmSnapshot = snapshotWay(
  lvmDriver({ command: hostCommand, mountinfo: () => fs.readFileSync('/proc/self/mountinfo', 'utf8') }),
);
