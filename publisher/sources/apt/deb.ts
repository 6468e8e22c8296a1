// A .deb from the outside: an ar archive with debian-binary, control.tar.* and data.tar.* (deb(5)). Nothing is unpacked to disk.
import * as fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { isFault } from '#manifests/errors';
import { type Compression, decompress } from '../compression.ts';
import { fault } from '../faults.ts';
import { readFromTar } from './tar.ts';

export const DEB_FILE_LIMITS = {
  /** Members of the outer archive that are looked at. */
  members: 16,
  /** Bytes of a changelog, unpacked. */
  changelogBytes: 64 * 1024 * 1024,
} as const;

export interface Member {
  readonly name: string;
  /** Where its bytes start in the file, and how many they are. */
  readonly start: number;
  readonly size: number;
}

const MAGIC = '!<arch>\n';
const HEADER = 60;
const COMPRESSION_OF: Readonly<Record<string, Compression>> = {
  'data.tar': 'none',
  'data.tar.gz': 'gz',
  'data.tar.xz': 'xz',
  'data.tar.zst': 'zst',
};

/**
 * Members of an ar archive by their headers alone.
 * @param read bytes at an offset; may give fewer at the end of the file. @throws source.payload
 */
export function readMembers(read: (start: number, length: number) => Uint8Array, fileSize: number, where: string): Member[] {
  const bad = (says: string) => fault('payload', `${where}: is no Debian package: ${says}`, { where });
  const text = (start: number, length: number) => Buffer.from(read(start, length)).toString('latin1');
  if (text(0, MAGIC.length) !== MAGIC) throw bad('no ar archive');
  const members: Member[] = [];
  let at = MAGIC.length;
  while (at < fileSize) {
    if (members.length >= DEB_FILE_LIMITS.members) throw bad(`more than ${DEB_FILE_LIMITS.members} members`);
    const header = text(at, HEADER);
    const size = /^\d{1,10}$/.exec(header.slice(48, 58).trim());
    if (header.length !== HEADER || header.slice(58) !== '`\n' || size === null) throw bad('a member without a header');
    const start = at + HEADER;
    const member = { name: header.slice(0, 16).trimEnd().replace(/\/$/, ''), start, size: Number(size[0]) };
    if (start + member.size > fileSize) throw bad(`${JSON.stringify(member.name)} is cut`);
    members.push(member);
    at = start + member.size + (member.size % 2);
  }
  const [first] = members;
  if (first?.name !== 'debian-binary' || !text(first.start, Math.min(first.size, 2)).startsWith('2.')) {
    throw bad('no debian-binary of version 2 at its start');
  }
  return members;
}

/**
 * The changelog inside of a package file, as text: `changelog.Debian.gz`, or `changelog.gz` of a native package. Undefined
 * when the package carries none (its documentation is then a link to another package's).
 * @throws source.payload when the file is no Debian package
 */
export async function readChangelog(file: string, packageName: string): Promise<string | undefined> {
  const handle = fs.openSync(file, 'r');
  let member: Member | undefined;
  try {
    const read = (start: number, length: number) => {
      const buffer = Buffer.alloc(length);
      return buffer.subarray(0, fs.readSync(handle, buffer, 0, length, start));
    };
    const members = readMembers(read, fs.fstatSync(handle).size, file);
    member = members.find(({ name }) => name.startsWith('data.tar'));
  } finally {
    fs.closeSync(handle);
  }
  const compression = member && COMPRESSION_OF[member.name];
  if (member === undefined || compression === undefined || member.size === 0) {
    throw fault('payload', `${file}: has no data member that can be read (${member?.name ?? 'none'})`, { where: file });
  }
  const packed = fs.createReadStream(file, {
    start: member.start,
    end: member.start + member.size - 1,
    highWaterMark: 256 * 1024,
  });
  const names = ['changelog.Debian.gz', 'changelog.gz'].map((name) => `usr/share/doc/${packageName}/${name}`);
  const [debian = '', native = ''] = names;
  try {
    const found = await readFromTar(
      decompress(packed, compression),
      (name) => names.includes(name),
      (files) => files.has(debian),
      file,
    );
    const bytes = found.get(debian) ?? found.get(native);
    if (bytes === undefined) return undefined;
    return gunzipSync(bytes, { maxOutputLength: DEB_FILE_LIMITS.changelogBytes }).toString('utf8').toWellFormed();
  } catch (cause) {
    if (isFault(cause)) throw cause;
    throw fault('payload', `${file}: cannot be unpacked: ${(cause as Error).message}`, { where: file, cause });
  } finally {
    packed.destroy();
  }
}
