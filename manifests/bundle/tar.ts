// The tar container: plain POSIX ustar, regular files only. Our writer makes one form; the reader takes exactly that and says why not.
import { fault } from './faults.ts';
import { nameFault } from './names.ts';

/** Bytes of a tar block (POSIX.1-2017, pax, "ustar Interchange Format"). */
export const TAR_BLOCK = 512;

const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  size: [124, 12],
  checksum: [148, 8],
  magic: [257, 8],
  prefix: [345, 155],
} as const;

const TYPES: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a character device',
  '4': 'a block device',
  '5': 'a folder',
  '6': 'a FIFO',
  '7': 'a contiguous file',
  x: 'an extended header (pax)',
  g: 'a global extended header (pax)',
  L: 'a long name (GNU)',
  K: 'a long link name (GNU)',
  S: 'a sparse file (GNU)',
  D: 'a folder dump (GNU)',
  M: 'a continued file (GNU)',
  V: 'a volume label (GNU)',
};

/** The header of a regular file, mode 0644, no owner, time 0. */
export function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(TAR_BLOCK);
  header.write(name, 0, 100, 'latin1');
  header.write('0000644\u00000000000\u00000000000\u0000', 100, 'latin1');
  header.write(`${size.toString(8).padStart(11, '0')}\u000000000000000\u0000`, 124, 'latin1');
  header.fill(0x20, 148, 156);
  header.write('0', 156, 'latin1');
  header.write('ustar\u000000', 257, 'latin1');
  header.write('0000000\u00000000000\u0000', 329, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
  return header;
}

/** Zero bytes after a file of `size` bytes. */
export const tarPadding = (size: number) => (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;

/** Bytes of a whole archive: headers, padded contents, two empty blocks. */
export function tarBytes(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + TAR_BLOCK + size + tarPadding(size), 2 * TAR_BLOCK);
}

/** Whether these first bytes are those of a ustar archive. */
export function looksLikeTar(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(257, 262)).toString('latin1') === 'ustar';
}

export interface TarMember {
  readonly name: string;
  readonly size: number;
  /** Where its contents begin in the archive. */
  readonly at: number;
}

/**
 * Walks an archive and compares it, header by header, to the members that were signed; stops at the first that differs.
 * @param read gives up to `length` bytes at a position. @throws bundle.hostile-entry, bundle.truncated
 */
export function readTar(
  read: (position: number, length: number) => Uint8Array,
  total: number,
  expected: readonly { readonly name: string; readonly size: number }[],
  where: string,
): TarMember[] {
  const hostile = (message: string) => fault('hostile-entry', `${where}: ${message}`, { where });
  const members: TarMember[] = [];
  let position = 0;
  for (const wanted of expected) {
    const block = Buffer.from(read(position, TAR_BLOCK));
    if (block.length < TAR_BLOCK) throw fault('truncated', `${where} ends before ${wanted.name}`, { where });
    const says = headerFault(block, wanted);
    if (says !== undefined) throw hostile(says);
    const at = position + TAR_BLOCK;
    members.push({ name: wanted.name, size: wanted.size, at });
    position = at + wanted.size + tarPadding(wanted.size);
    if (position > total) throw fault('truncated', `${where} ends inside ${wanted.name}`, { where });
  }
  const rest = Buffer.from(read(position, 2 * TAR_BLOCK));
  if (total !== position + 2 * TAR_BLOCK || rest.some((byte) => byte !== 0)) throw hostile('holds more than was signed');
  return members;
}

/** Why a header is not the one of the wanted file; the reason is for people, the byte comparison at the end decides. */
export function headerFault(block: Buffer, wanted: { readonly name: string; readonly size: number }): string | undefined {
  const text = ([at, length]: readonly [number, number]) =>
    block
      .subarray(at, at + length)
      .toString('utf8')
      .split('\u0000')[0] ?? '';
  if (block.every((byte) => byte === 0)) return `ends before ${wanted.name}`;
  const prefix = text(FIELD.prefix);
  const name = prefix === '' ? text(FIELD.name) : `${prefix}/${text(FIELD.name)}`;
  const quoted = JSON.stringify(name.slice(0, 200));
  const type = String.fromCharCode(block[156] ?? 0);
  if (!looksLikeTar(block)) return 'is no ustar archive where a header must be';
  if (type !== '0') return `the entry ${quoted} is ${TYPES[type] ?? 'of an unknown type'}`;
  const bad = nameFault(name);
  if (bad !== undefined) return `the entry ${quoted} ${bad}`;
  if ((Number.parseInt(text(FIELD.mode), 8) & 0o7000) !== 0) return `the entry ${quoted} has a set-uid, set-gid or sticky bit`;
  if (name !== wanted.name) return `the entry ${quoted} stands where ${wanted.name} was signed`;
  if (Number.parseInt(text(FIELD.size), 8) !== wanted.size) return `the entry ${quoted} has another size than was signed`;
  return block.equals(tarHeader(wanted.name, wanted.size))
    ? undefined
    : `the header of ${quoted} is not in the form of a bundle`;
}
