// Pure: how the next boot of a btrfs host finds its root, from what the kernel was told and what is written down. What is not
// plainly one of two ways is refused: a host that does not start again cannot be helped from afar.

export interface RootFacts {
  /** /proc/self/mountinfo, proc(5). */
  readonly mountinfo: string;
  /** /proc/cmdline. */
  readonly cmdline: string;
  /** /etc/fstab, fstab(5). */
  readonly fstab: string;
  /** Number of the subvolume that a mount without a name gets: `btrfs subvolume get-default`. */
  readonly defaultId: string;
}

export type RootChoice =
  | {
      readonly ok: true;
      /** `default`: the file system's default subvolume. `name`: a path in it, that the boot loader hands over. */
      readonly method: 'default' | 'name';
      /** Number of the subvolume that runs. */
      readonly id: string;
      /** Its path from the top of the file system, with a leading `/`. */
      readonly path: string;
      readonly device: string;
    }
  | { readonly ok: false; readonly says: string };

/** The top of every btrfs (BTRFS_FS_TREE_OBJECTID). */
const TOP_ID = '5';

const unescape = (text: string) =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
const absolute = (path: string) => `/${path.replaceAll(/^\/+|\/+$/g, '')}`;

function option(options: string, name: string): string | undefined {
  const found = options.split(',').find((one) => one.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

/** The btrfs root that runs: its device, and number and path of its subvolume; undefined when there is none. */
export function runningRoot(
  mountinfo: string,
): { device: string; id: string; path: string; shown: string | undefined } | undefined {
  const fields = mountinfo.split('\n').findLast((line) => line.split(' ')[4] === '/');
  const [mount = '', source = ''] = fields?.split(' - ') ?? [];
  const [type, device = '', options = ''] = source.split(' ');
  const id = option(options, 'subvolid');
  if (type !== 'btrfs' || id === undefined) return undefined;
  const shown = option(options, 'subvol');
  return {
    device: unescape(device),
    id,
    path: unescape(mount.split(' ')[3] ?? ''),
    shown: shown === undefined ? undefined : absolute(unescape(shown)),
  };
}

/** Decides how the root is found. */
export function rootChoice({ mountinfo, cmdline, fstab, defaultId }: RootFacts): RootChoice {
  const refuse = (says: string) => ({ ok: false, says }) as const;
  const root = runningRoot(mountinfo);
  if (root === undefined) return refuse('the root is not on btrfs');
  const { device, id, path, shown } = root;
  if (id === TOP_ID) return refuse('the root is the top of its btrfs, which can be replaced by nothing');
  if (shown !== undefined && shown !== absolute(path))
    return refuse(`the root is the folder ${path} of a subvolume, not a subvolume`);

  const flags = cmdline
    .trim()
    .split(/\s+/)
    .filter((word) => word.startsWith('rootflags='))
    .map((word) => word.slice('rootflags='.length))
    .join(',');
  const row = fstab
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .find(([first = '#', folder]) => !first.startsWith('#') && folder === '/');
  const written = row?.[3] ?? '';
  for (const [where, given] of [
    ['the kernel command line', flags],
    ['/etc/fstab', written],
  ] as const) {
    if (option(given, 'subvolid') !== undefined) return refuse(`${where} names the root by number (subvolid=)`);
    const name = option(given, 'subvol');
    if (name !== undefined && absolute(name) !== absolute(path))
      return refuse(`${where} names ${name} as root, and ${absolute(path)} is what runs`);
  }
  const named = option(flags, 'subvol') !== undefined;
  if (named) return { ok: true, method: 'name', id, path: absolute(path), device };
  if (option(written, 'subvol') !== undefined)
    return refuse('/etc/fstab names the root by subvol= and the kernel command line does not (rootflags=subvol=)');
  if (defaultId !== id)
    return refuse(`nothing names the root at boot, and the default subvolume (${defaultId}) is not the one that runs (${id})`);
  return { ok: true, method: 'default', id, path: absolute(path), device };
}
