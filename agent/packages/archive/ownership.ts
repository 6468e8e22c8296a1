// Owner and modes of a component as its signed description wants them, set on the unpacked folder before it is put in place.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';
import type { Placement } from '#manifests/schema';
import { reach } from '../host.ts';
import type { HostContext } from '../system.ts';

const DATABASE_BYTES = 16 * 1024 * 1024;

/** Id and primary group of a name in `/etc/passwd` or `/etc/group` (passwd(5), group(5)). */
function row(context: Pick<HostContext, 'root'>, file: string, name: string): string[] | undefined {
  const text = Buffer.from(readFileBounded(reach(context, file), DATABASE_BYTES) ?? new Uint8Array()).toString('utf8');
  return text
    .split('\n')
    .find((line) => line.startsWith(`${name}:`))
    ?.split(':');
}

/** User and group id of `user[:group]`, or why there are none on this host. */
export function ownerOf(context: Pick<HostContext, 'root'>, owner: string): { uid: number; gid: number } | { lacks: string } {
  const [user = '', group] = owner.split(':');
  const found = row(context, '/etc/passwd', user);
  if (found === undefined) return { lacks: `there is no user ${user} on this host` };
  const own = group === undefined ? undefined : row(context, '/etc/group', group);
  if (group !== undefined && own === undefined) return { lacks: `there is no group ${group} on this host` };
  return { uid: Number(found[2]), gid: Number(own?.[2] ?? found[3]) };
}

/** Whether a path of the archive is meant by a pattern; `*` stands for part of one name. */
export function pathFits(pattern: string, path: string): boolean {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[.+]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join('[^/]*')}$`).test(path);
}

/** Sets owner and modes on everything below `folder`. Links cannot be there: the unpacker takes none. */
export function applyPlacement(context: Pick<HostContext, 'root'>, folder: string, { owner, modes = [] }: Placement): void {
  const ids = owner === undefined ? undefined : ownerOf(context, owner);
  const give = (path: string) => {
    if (ids !== undefined && 'uid' in ids) fs.lchownSync(path, ids.uid, ids.gid);
  };
  const walk = (below: string) => {
    for (const entry of fs.readdirSync(join(folder, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      const mode = modes.findLast((one) => pathFits(one.path, path))?.mode;
      give(join(folder, path));
      if (mode !== undefined) fs.chmodSync(join(folder, path), Number.parseInt(mode, 8));
      if (entry.isDirectory()) walk(path);
    }
  };
  walk('');
  give(folder);
}
