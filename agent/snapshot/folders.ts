// Extended attributes and access lists of folders that are put back: as they were, also where the folder is still there and has got
// some since. Node knows nothing of them: `tar` reads and sets them, and what was not there before is removed one by one.
import * as fs from 'node:fs';
import { readFileBounded } from '#manifests/platform/files';
import { type HostContext, hostCommand, lastWords, reach, seenByHost } from '../packages/index.ts';
import { fault, packFolders, unpackFolders, WITH_ATTRIBUTES } from './copy.ts';
import { type Attributes, attributesDiffer, attributesIn } from './pax.ts';

const LIMITS = {
  /** A folder takes 512 bytes to some KiB: a host with 100,000 of them. */
  archiveBytes: 512 * 1024 * 1024,
  readMs: 10 * 60_000,
  removeMs: 60_000,
} as const;

const PERL = `use Config; my ($machine) = split(/-/, $Config{archname});
my $call = {x86_64 => 198, aarch64 => 15}->{$machine} // die "no number of lremovexattr for $machine\\n";
syscall($call, $ARGV[1], $ARGV[0]) == 0 or die "$!\\n";`;
const PYTHON = 'import os, sys; os.removexattr(sys.argv[2], sys.argv[1], follow_symlinks=False)';

/** Programs that remove an attribute, in order of preference: one of them is on every Debian (perl-base) and with every dnf. */
const REMOVERS: readonly { readonly program: string; readonly args: (name: string, path: string) => string[] }[] = [
  { program: '/usr/bin/setfattr', args: (name, path) => ['--no-dereference', `--remove=${name}`, '--', path] },
  { program: '/usr/bin/perl', args: (name, path) => ['-e', PERL, '--', name, path] },
  { program: '/usr/bin/python3', args: (name, path) => ['-c', PYTHON, name, path] },
  { program: '/usr/libexec/platform-python', args: (name, path) => ['-c', PYTHON, name, path] },
];

/** Attributes of these folders of the tree at `root`; nothing is written anywhere, for the disk may be full. @throws wayback.copy */
async function read(context: HostContext, root: string, folders: readonly string[]): Promise<Map<string, Attributes>> {
  const from = `--directory=${seenByHost(context, root)}`;
  // base64 stands where a program for packing would: what comes out is text
  const args = ['--create', '--use-compress-program=base64', ...WITH_ATTRIBUTES, from, '--files-from=-', '--file=-'];
  const input = folders.map((path) => `.${path}\0`).join('');
  const result = await hostCommand(context, 'tar', args, {
    timeoutMs: LIMITS.readMs,
    outputBytes: LIMITS.archiveBytes,
    input,
  });
  if (result.code !== 0) throw fault('copy', `tar: ${lastWords(result, 1_000)}`, { where: root });
  return attributesIn(Buffer.from(result.stdout, 'base64'));
}

async function remove(context: HostContext, path: string, name: string): Promise<string | undefined> {
  const remover = REMOVERS.find(({ program }) => fs.existsSync(reach(context, program)));
  if (remover === undefined) return `${path} keeps the attribute ${name}: this host has neither setfattr, perl nor python3`;
  const result = await hostCommand(context, remover.program, remover.args(name, path), { timeoutMs: LIMITS.removeMs });
  return result.code === 0 ? undefined : `${path} keeps the attribute ${name}: ${lastWords(result, 200)}`;
}

/**
 * Gives folders of the host, which are there, the attributes that they had: `source` is the tree that has them as they were,
 * or `archive` holds them (packFolders). @returns what could not be put back, in words
 */
export async function restoreAttributes(
  context: HostContext,
  folders: readonly string[],
  from: { readonly source: string; readonly archive?: string | undefined; readonly stage: string },
): Promise<string[]> {
  if (folders.length === 0 || (from.archive !== undefined && !fs.existsSync(from.archive))) return []; // earlier versions kept none
  const kept = from.archive === undefined ? undefined : readFileBounded(from.archive, LIMITS.archiveBytes);
  const was = kept === undefined ? await read(context, from.source, folders) : attributesIn(kept);
  const known = folders.filter((path) => was.has(path));
  const differing = async (among: readonly string[]) => {
    if (among.length === 0) return [];
    const now = await read(context, context.root, among);
    return among.flatMap((path) => {
      const found = attributesDiffer(was.get(path) ?? new Map(), now.get(path) ?? new Map());
      return found.other || found.extra.length > 0 ? [{ path, ...found }] : [];
    });
  };
  const todo = await differing(known);
  if (todo.length === 0) return [];
  const paths = todo.map(({ path }) => path);
  const archive = from.archive ?? from.stage;
  try {
    if (from.archive === undefined) await packFolders(context, from.source, archive, paths);
    await unpackFolders(context, archive, paths);
  } finally {
    fs.rmSync(from.stage, { force: true });
  }
  const failed: string[] = [];
  for (const { path, extra } of await differing(paths)) {
    for (const name of extra) failed.push((await remove(context, path, name)) ?? '');
  }
  const wrong = failed.filter((says) => says !== '');
  for (const { path } of await differing(paths)) {
    if (!wrong.some((says) => says.startsWith(`${path} `))) wrong.push(`${path} has other attributes than before`);
  }
  return wrong;
}
