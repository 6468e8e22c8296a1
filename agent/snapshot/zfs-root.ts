// The whole root on ZFS: a clone of the way back's snapshot becomes the pool's `bootfs`, which the next boot starts from. Written to the
// command lines and output of zfs-clone(8), zfs-promote(8) and zpool-set(8), tested over such output; not run on a kernel with ZFS yet.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { type HostContext, type hostCommand, lastWords, reach, seenByHost } from '../packages/index.ts';
import { fault } from './copy.ts';
import { scopeRoots } from './scope.ts';
import { fileStore, folderOf } from './store.ts';
import { carriedPaths, type carryPaths, elsewhere, IN_PLACE, kernelsIn, type WholeRoot } from './whole-root.ts';

const COMMAND_MS = 5 * 60_000;
/** Where the other root is mounted while it is worked on. */
const PLACE = '/run/patchferry-root';

export interface ZfsMachine {
  readonly command: typeof hostCommand;
  readonly isZfs: (context: HostContext) => boolean;
  /** Text of /proc/cmdline. */
  readonly cmdline: () => string;
  readonly carry: typeof carryPaths;
}

/** The dataset that a kernel command line names as root (`root=ZFS=rpool/ROOT/debian`, `root=zfs:…`); undefined where it names none. */
export function namedRoot(cmdline: string): string | undefined {
  const found = /(?:^|\s)root=(?:ZFS=|zfs:)(\S+)/i.exec(cmdline)?.[1];
  return found === undefined || /^auto$/i.test(found) ? undefined : found;
}

/** The acts over a machine; tests pass a recorded one. */
export function zfsRoot({ command, isZfs, cmdline, carry }: ZfsMachine): WholeRoot {
  const call = (context: HostContext, program: string, ...args: string[]) =>
    command(context, program, args, { timeoutMs: COMMAND_MS });
  const must = async (context: HostContext, program: string, ...args: string[]) => {
    const result = await call(context, program, ...args);
    if (result.code !== 0) throw fault('snapshot', `${program} ${args.join(' ')}: ${lastWords(result, 500)}`);
    return result.stdout.trim();
  };
  const dataset = (context: HostContext) => must(context, 'zfs', 'list', '-H', '-o', 'name', '/');
  const pool = (name: string) => name.split('/')[0] ?? name;
  const bootfs = (context: HostContext, name: string) =>
    must(context, 'zpool', 'get', '-H', '-o', 'value', 'bootfs', pool(name));
  const get = (context: HostContext, property: string, name: string) =>
    must(context, 'zfs', 'get', '-H', '-o', 'value', property, name);
  const exists = async (context: HostContext, name: string) =>
    (await call(context, 'zfs', 'list', '-H', '-o', 'name', name)).code === 0;
  const cloneOf = (name: string, run: string) => `${dirname(name)}/patchferry-${run}`;
  const whole: WholeRoot = {
    async assess(id, context) {
      const no = (says: string) => ({ possible: false, says: `${says}${IN_PLACE}` });
      if (!isZfs(context)) return no('the root is not on ZFS');
      const name = await dataset(context);
      if (!name.includes('/')) return no(`the root is the pool ${name} itself, which can be replaced by nothing`);
      const named = namedRoot(cmdline());
      // ZFSBootMenu names on the command line what bootfs said; a menu of GRUB's is written down
      if (named !== undefined && (await get(context, 'org.zfsbootmenu:commandline', name)) === '-')
        return no(`the boot loader names the root itself (${named}), not the pool's bootfs`);
      const next = await bootfs(context, name);
      if (next !== name) return no(`the pool's bootfs is ${next}, and ${name} is what runs`);
      const [, ...children] = (await must(context, 'zfs', 'list', '-H', '-r', '-o', 'name', name)).split('\n');
      if (children.length > 0) return no(`datasets below the root would stay behind: ${children.join(', ')}`.slice(0, 400));
      const away = elsewhere(context, scopeRoots(context));
      if (away !== undefined) return no(away);
      const saved = id === null ? undefined : join(folderOf(fileStore(context, 'zfs'), id), 'saved/files/boot');
      if (saved !== undefined && fs.existsSync(saved) && kernelsIn(saved) !== kernelsIn(reach(context, '/boot')))
        return no('/boot is a file system of its own and its kernels are not those of the way back');
      return {
        possible: true,
        says: `at the next boot, as bootfs of ${pool(name)}: logs, homes and data on the root go back too`,
      };
    },
    async make(id, context) {
      const name = await dataset(context);
      const to = cloneOf(name, id);
      if (to === (await bootfs(context, name)) || to === name)
        throw fault('snapshot', `${to} is started from, it is not made anew`);
      if (await exists(context, to)) await must(context, 'zfs', 'destroy', to);
      await must(context, 'zfs', 'clone', '-o', 'canmount=noauto', '-o', 'mountpoint=/', `${name}@patchferry-${id}`, to);
      return { method: 'bootfs', from: { id: name, name }, to: { id: to, name: to } };
    },
    async carry(pair, _id, context) {
      const other = (await dataset(context)) === pair.to.id ? pair.from.id : pair.to.id;
      const folder = reach(context, PLACE);
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
      const place = seenByHost(context, folder);
      await call(context, 'umount', place); // of an earlier try that was cut off
      await must(context, 'mount', '-t', 'zfs', '-o', 'zfsutil', other, place);
      try {
        await carry(context, carriedPaths(context), folder);
      } finally {
        await must(context, 'umount', place);
      }
      await must(context, 'zpool', 'sync', pool(other));
    },
    async switchTo(pair, to, context) {
      const name = pair[to].id;
      if ((await bootfs(context, name)) === name) return;
      await must(context, 'zpool', 'set', `bootfs=${name}`, pool(name));
      await must(context, 'zpool', 'sync', pool(name));
    },
    look: async (pair, context) => ({ runs: await dataset(context), next: await bootfs(context, pair.from.id) }),
    // the snapshots up to the way back come over to the new root, and with them the ways back of earlier runs
    async settle(pair, context) {
      if ((await get(context, 'origin', pair.to.id)) !== '-') await must(context, 'zfs', 'promote', pair.to.id);
    },
    async discard(run, id, context) {
      const runs = await dataset(context);
      const name = id ?? cloneOf(runs, run);
      if (name === runs || name === (await bootfs(context, runs)) || !(await exists(context, name))) return;
      await must(context, 'zfs', 'destroy', '-r', name);
    },
  };
  return whole;
}
