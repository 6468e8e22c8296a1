// Which machine this is, apart from what is on its disk: so that a copy of the disk on another machine can be told from the
// machine it was copied from. Kept as hashes only.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';

export interface Machine {
  /** By the firmware's UUID, or the addresses of its network hardware; null where neither can be read. */
  readonly hardware: string | null;
  /** By /etc/machine-id (machine-id(5)); null when there is none. */
  readonly system: string | null;
}

const SMALL_FILE_BYTES = 4_096;
/** UUIDs that careless firmware gives to every machine. */
const NO_UUID = /^(?:0{8}|f{8}|03000200-0400-0500)/i;

function read(path: string): string {
  try {
    const bytes = readFileBounded(path, SMALL_FILE_BYTES);
    return bytes === undefined ? '' : Buffer.from(bytes).toString('utf8').trim();
  } catch {
    return ''; // only root may read the firmware's UUID
  }
}

function digest(kind: string, text: string): string | null {
  return text === '' ? null : createHash('sha256').update(`patchferry-machine-1\n${kind}\n${text}`).digest('hex');
}

/** Addresses of network cards that are hardware (bridges, tunnels and loopback have no device). */
function cards(root: string): string[] {
  const folder = join(root, 'sys/class/net');
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((name) => fs.existsSync(join(folder, name, 'device')))
    .map((name) => read(join(folder, name, 'address')))
    .filter((address) => address !== '')
    .toSorted();
}

/** @param root another root, for tests */
export function readMachine(root = '/'): Machine {
  const uuid = read(join(root, 'sys/class/dmi/id/product_uuid')).toLowerCase();
  const known = uuid !== '' && !NO_UUID.test(uuid);
  return {
    hardware: known ? digest('uuid', uuid) : digest('cards', cards(root).join(' ')),
    system: digest('system', read(join(root, 'etc/machine-id'))),
  };
}

/**
 * Whether two looks were at one machine. The hardware decides where both knew it (a system that is set up anew on it stays the
 * same machine); else the system's own id; what nobody can tell counts as the same.
 */
export function isSameMachine(before: Machine, now: Machine): boolean {
  if (before.hardware !== null && now.hardware !== null) return before.hardware === now.hardware;
  return before.system === null || now.system === null || before.system === now.system;
}
