// The whole root on btrfs: a snapshot of the way back that can be written to takes the place of the root subvolume at the next boot,
// by number (`btrfs subvolume set-default`) or by name (both names exchanged in one step). The old root is kept.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { type HostContext, hostCommand, lastWords, reach } from '../packages/index.ts';
import { fault } from './copy.ts';
import { type RootChoice, rootChoice, runningRoot } from './root-choice.ts';
import { scopeRoots } from './scope.ts';
import { folderOf, listStore } from './store.ts';
import { carriedPaths, carryPaths, elsewhere, IN_PLACE, kernelsIn, type WholeRoot } from './whole-root.ts';

const COMMAND_MS = 5 * 60_000;

/** On the root subvolume; private (btrfs.ts). */
const STORE = '/.patchferry/way-back';
/** Where the top of the file system is mounted while roots are worked on. */
const TOP = '/run/patchferry-top';

const PERL = `use Config; my ($machine) = split(/-/, $Config{archname});
my $call = {x86_64 => 316, aarch64 => 276}->{$machine} // die "no number of renameat2 for $machine\\n";
syscall($call, -100, $ARGV[0], -100, $ARGV[1], 2) == 0 or die "$!\\n";`;
const PYTHON = `import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, os.fsencode(sys.argv[1]), -100, os.fsencode(sys.argv[2]), 2) != 0: sys.exit(os.strerror(ctypes.get_errno()))`;

/** Programs that exchange two names in one step, renameat2(2) with RENAME_EXCHANGE; perl is on every Debian (perl-base). */
const EXCHANGERS: readonly { readonly program: string; readonly args: readonly string[] }[] = [
  { program: '/usr/bin/exch', args: [] },
  { program: '/usr/bin/perl', args: ['-e', PERL, '--'] },
  { program: '/usr/bin/python3', args: ['-c', PYTHON] },
];

interface Subvolume {
  readonly id: string;
  /** From the top of the file system, with a leading `/`. */
  readonly path: string;
}

/** Reads `btrfs subvolume list`. */
export function readSubvolumes(text: string): Subvolume[] {
  return text.split('\n').flatMap((line) => {
    const found = /^ID (\d+) gen \d+ (?:cgen \d+ )?top level \d+ path (?:<FS_TREE>\/)?(.+)$/.exec(line);
    return found === null ? [] : [{ id: found[1] ?? '', path: `/${found[2] ?? ''}` }];
  });
}

/** Name of the new root of a run, beside the old one; after names were exchanged, that of the old one. */
const nameOf = (path: string, run: string) => join(dirname(path), `.patchferry-root-${run}`);

async function must(context: HostContext, program: string, ...args: string[]): Promise<string> {
  const result = await hostCommand(context, program, args, { timeoutMs: COMMAND_MS });
  if (result.code !== 0) throw fault('snapshot', `${program} ${args.join(' ')}: ${lastWords(result, 500)}`);
  return result.stdout;
}

const text = (path: string) => (fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : '');

/** Number of the subvolume that a mount without a name gets. */
async function defaultOf(context: HostContext): Promise<string> {
  return /^ID (\d+)/.exec(await must(context, 'btrfs', 'subvolume', 'get-default', '/'))?.[1] ?? '';
}

async function choose(context: HostContext): Promise<RootChoice> {
  if (context.root !== '/') return { ok: false, says: 'only a host itself has a root to start from' };
  return rootChoice({
    mountinfo: text('/proc/self/mountinfo'),
    cmdline: text('/proc/cmdline'),
    fstab: text('/etc/fstab'),
    defaultId: await defaultOf(context),
  });
}

/** Has the top of the root's file system at TOP while `use` runs; `use` gets the root that runs. */
async function withTop<T>(context: HostContext, use: (root: Subvolume) => Promise<T>): Promise<T> {
  const root = runningRoot(text('/proc/self/mountinfo'));
  if (root === undefined) throw fault('snapshot', 'the root is not on btrfs');
  fs.mkdirSync(TOP, { recursive: true, mode: 0o700 });
  await hostCommand(context, 'umount', [TOP], { timeoutMs: COMMAND_MS }); // of an earlier try that was cut off
  await must(context, 'mount', '-t', 'btrfs', '-o', 'subvolid=5', root.device, TOP);
  try {
    return await use(root);
  } finally {
    await hostCommand(context, 'umount', [TOP], { timeoutMs: COMMAND_MS });
  }
}

const atTop = (path: string) => join(TOP, path);

/** Subvolumes below this one, the deepest first. */
async function below(context: HostContext, path: string): Promise<Subvolume[]> {
  const all = readSubvolumes(await must(context, 'btrfs', 'subvolume', 'list', TOP));
  return all.filter((one) => one.path.startsWith(`${path}/`)).toSorted((a, b) => b.path.length - a.path.length);
}

/** Folders of the running root that are subvolumes of others, as systemd makes `/var/lib/machines` (tmpfiles.d(5), `Q`). */
async function innerFolders(context: HostContext, root: string): Promise<string[]> {
  const list = readSubvolumes(await must(context, 'btrfs', 'subvolume', 'list', '-o', '/'));
  return list.flatMap(({ path }) => {
    const inner = path.startsWith(`${root}/`) ? path.slice(root.length) : path;
    return inner.startsWith('/.patchferry/way-back/') ? [] : [inner];
  });
}

/** A snapshot has a folder that nothing can be put into where the root has a subvolume: a common, empty one takes its place. */
function placeFolder(from: string, to: string): void {
  const { mode, uid, gid } = fs.statSync(from);
  if (!fs.existsSync(to)) return; // it came later
  fs.rmdirSync(to);
  fs.mkdirSync(to, { mode: mode & 0o7777 });
  fs.chownSync(to, uid, gid);
  fs.chmodSync(to, mode & 0o7777);
}

async function removeSubvolume(context: HostContext, path: string): Promise<void> {
  if (!fs.existsSync(atTop(path))) return;
  const nested = await below(context, path);
  const foreign = nested.filter(
    (one) => !one.path.startsWith(`${path}/.patchferry/`) && fs.readdirSync(atTop(one.path)).length > 0,
  );
  if (foreign.length > 0)
    throw fault('snapshot', `${path} holds subvolumes that are not patchferry's: ${foreign.map((one) => one.path).join(', ')}`);
  for (const one of [...nested.map((each) => each.path), path])
    await must(context, 'btrfs', 'subvolume', 'delete', '--commit-after', atTop(one));
}

/** Why /boot would not fit the root that is put back; undefined when it does. */
function bootObstacle(context: HostContext, choice: Extract<RootChoice, { ok: true }>, id: string): string | undefined {
  const now = kernelsIn(reach(context, '/boot'));
  const place = folderOf(STORE, id);
  const own = fs.statSync('/boot', { throwIfNoEntry: false })?.dev !== fs.statSync('/').dev && fs.existsSync('/boot');
  if (!own && choice.method === 'name') return undefined; // the boot loader finds it by the same name
  const was = kernelsIn(own ? join(place, 'saved/files/boot') : join(place, 'root/boot'));
  if (now === was) return undefined;
  return own
    ? '/boot is a file system of its own and its kernels are not those of the way back'
    : 'the kernels in /boot are not those of the way back, and a boot loader reads /boot by its path in the old root';
}

export const btrfsRoot: WholeRoot = {
  async assess(id, context) {
    const no = (says: string) => ({ possible: false, says: `${says}${IN_PLACE}` });
    const choice = await choose(context);
    if (!choice.ok) return no(choice.says);
    const away = elsewhere(context, scopeRoots(context));
    if (away !== undefined) return no(away);
    const foreign = (await innerFolders(context, choice.path)).filter((path) => fs.readdirSync(path).length > 0);
    if (foreign.length > 0)
      return no(`subvolumes in the root would stay behind in the old one: ${foreign.join(', ')}`.slice(0, 400));
    if (choice.method === 'name' && !EXCHANGERS.some(({ program }) => fs.existsSync(program)))
      return no(
        'the root is found by its name, and this host has nothing (exch, perl, python3) that exchanges two names in one step',
      );
    const boot = id === null ? undefined : bootObstacle(context, choice, id);
    if (boot !== undefined) return no(boot);
    const how = choice.method === 'default' ? 'as default subvolume' : `by the name ${choice.path}`;
    return { possible: true, says: `at the next boot, ${how}: logs, homes and data on the root go back too` };
  },
  async make(id, context) {
    const choice = await choose(context);
    if (!choice.ok) throw fault('snapshot', choice.says);
    return withTop(context, async ({ id: runs, path }) => {
      const to = nameOf(path, id);
      const there = readSubvolumes(await must(context, 'btrfs', 'subvolume', 'list', TOP)).find((one) => one.path === to);
      if (there !== undefined && there.id === (await defaultOf(context)))
        throw fault('snapshot', `${to} is started from, it is not made anew`);
      await removeSubvolume(context, to);
      await must(context, 'btrfs', 'subvolume', 'snapshot', atTop(join(path, STORE, id, 'root')), atTop(to));
      for (const inner of await innerFolders(context, path)) placeFolder(inner, atTop(join(to, inner)));
      const made = (await must(context, 'btrfs', 'inspect-internal', 'rootid', atTop(to))).trim();
      return { method: choice.method, from: { id: runs, name: path }, to: { id: made, name: to } };
    });
  },
  carry: (pair, id, context) =>
    withTop(context, async ({ id: runs }) => {
      const other = await pathOf(context, runs === pair.to.id ? pair.from.id : pair.to.id);
      await carryPaths(context, carriedPaths(context), atTop(other));
      if (runs === pair.from.id) await carryWays(context, id, atTop(other)); // the old root has its own still
      await must(context, 'btrfs', 'filesystem', 'sync', TOP);
    }),
  async switchTo(pair, to, context) {
    const { next } = await btrfsRoot.look(pair, context);
    if (next === pair[to].id) return;
    if (pair.method === 'default') await must(context, 'btrfs', 'subvolume', 'set-default', pair[to].id, '/');
    else
      await withTop(context, async () => {
        const [a, b] = [await pathOf(context, pair.from.id), await pathOf(context, pair.to.id)];
        const exchanger = EXCHANGERS.find(({ program }) => fs.existsSync(program));
        if (exchanger === undefined) throw fault('snapshot', 'nothing here exchanges two names in one step');
        await must(context, exchanger.program, ...exchanger.args, atTop(a), atTop(b));
      });
    await must(context, 'btrfs', 'filesystem', 'sync', '/');
  },
  async look(pair, context) {
    const runs = (await must(context, 'btrfs', 'inspect-internal', 'rootid', '/')).trim();
    if (pair.method === 'default') return { runs, next: await defaultOf(context) };
    const list = readSubvolumes(await must(context, 'btrfs', 'subvolume', 'list', '/'));
    return { runs, next: list.find(({ path }) => path === pair.from.name)?.id ?? '' };
  },
  discard: (run, id, context) =>
    withTop(context, async (root) => {
      const list = readSubvolumes(await must(context, 'btrfs', 'subvolume', 'list', TOP));
      const gone = list.find((one) => (id === null ? one.path === nameOf(root.path, run) : one.id === id));
      const started = [root.id, await defaultOf(context)];
      if (gone === undefined || started.includes(gone.id)) return;
      await removeSubvolume(context, gone.path);
    }),
};

async function pathOf(context: HostContext, id: string): Promise<string> {
  const list = readSubvolumes(await must(context, 'btrfs', 'subvolume', 'list', TOP));
  return list.find((one) => one.id === id)?.path ?? Promise.reject(fault('snapshot', `there is no subvolume ${id}`));
}

/** Ways back of other runs lie in the root that is left: their notes are copied, their snapshots snapped once more. */
async function carryWays(context: HostContext, run: string, target: string): Promise<void> {
  const store = join(target, STORE);
  for (const { path } of await below(context, target.slice(TOP.length)))
    await must(context, 'btrfs', 'subvolume', 'delete', '--commit-after', atTop(path)); // of an earlier try
  fs.rmSync(dirname(store), { recursive: true, force: true });
  fs.mkdirSync(store, { recursive: true, mode: 0o700 });
  fs.chmodSync(dirname(store), 0o700);
  for (const { id } of listStore(STORE).filter((way) => way.id !== run)) {
    const from = folderOf(STORE, id);
    fs.mkdirSync(join(store, id), { mode: 0o700 });
    const notes = fs.readdirSync(from).filter((name) => name !== 'root');
    await carryPaths(
      context,
      notes.map((name) => join(from, name)),
      target,
    );
    await must(context, 'btrfs', 'subvolume', 'snapshot', '-r', join(from, 'root'), join(store, id, 'root'));
  }
}
