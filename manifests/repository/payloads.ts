// The payload store: files by their SHA-256, checked before they get their name, never changed afterwards.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { syncFolder, temporaryNameFor } from '#manifests/platform/files';
import { fault } from './faults.ts';
import { payloadPath } from './names.ts';

/** What `fetch` needs of an origin (structurally `Origin` of #manifests/transfer). */
export interface PayloadSource {
  download(
    path: string,
    want: { sha256: string; size: number },
    destination: string,
    options?: { onBytes?: (bytes: number) => void; signal?: AbortSignal },
  ): Promise<void>;
}

export interface PayloadStore {
  /** The folder that is `payloads/` of a repository. */
  readonly folder: string;
  /** Whether it is here with this size. Its hash was checked when it came in; `verify` looks again. */
  has(sha256: string, size: number): boolean;
  /** Absolute path of the payload, whether it is here or not. */
  pathOf(sha256: string): string;
  /**
   * Takes bytes in: checked, fsynced, then visible under their hash, read-only. A file is copied, or moved with
   * `move`. What is here already is left alone. @throws repository.payload-hash, repository.payload-size
   */
  put(sha256: string, size: number, source: AsyncIterable<Uint8Array> | string, options?: { move?: boolean }): Promise<void>;
  /**
   * Fetches a payload from an origin unless it is here; a cut download goes on where it stopped, also after a restart.
   * @throws transfer.*
   */
  fetch(
    from: PayloadSource,
    want: { sha256: string; size: number },
    options?: { onBytes?: (bytes: number) => void; signal?: AbortSignal },
  ): Promise<'present' | 'fetched'>;
  /** Where a download in the making lies (on the store's own file system). */
  partialPath(sha256: string): string;
  /** Every payload here, in order of hash. @param after only those behind this hash */
  list(after?: string): Iterable<{ sha256: string; size: number }>;
  /** Reads a payload again; false when it is absent or its bytes are not what its name says. */
  verify(sha256: string, size?: number): Promise<boolean>;
  /** Deletes a payload and what there is of a download of it. */
  remove(sha256: string): void;
}

/** Bytes of a file that are read and hashed at a time. */
const PIECE_BYTES = 1024 * 1024;

/** Downloads of this process, by their part. */
const underWay = new Map<string, Promise<unknown>>();

/** Opens (and makes, when first written to) the store in `folder`, which has the layout of a repository's `payloads/`. */
export function openPayloadStore(folder: string): PayloadStore {
  const pathOf = (sha256: string) => join(folder, payloadPath(sha256).slice('payloads/'.length));
  const partialPath = (sha256: string) => join(folder, '.partial', payloadPath(sha256).split('/').at(-1) ?? sha256);
  const has = (sha256: string, size: number) => {
    const facts = fs.statSync(pathOf(sha256), { throwIfNoEntry: false });
    return facts?.isFile() === true && facts.size === size;
  };

  /** Gives a checked, fsynced file its name. */
  const place = (file: string, sha256: string) => {
    const path = pathOf(sha256);
    const parent = dirname(path);
    const isNew = !fs.existsSync(parent);
    fs.mkdirSync(parent, { recursive: true });
    fs.chmodSync(file, 0o444);
    fs.renameSync(file, path);
    syncFolder(parent);
    if (isNew) syncFolder(dirname(parent));
  };

  return {
    folder,
    has,
    pathOf,
    partialPath,

    async put(sha256, size, source, options = {}) {
      if (has(sha256, size)) {
        if (typeof source === 'string' && options.move === true) fs.rmSync(source, { force: true });
        return;
      }
      const temporary = temporaryNameFor(partialPath(sha256));
      fs.mkdirSync(dirname(temporary), { recursive: true });
      try {
        const chunks = typeof source === 'string' ? fs.createReadStream(source, { highWaterMark: 1024 * 1024 }) : source;
        await writeChecked(temporary, sha256, size, chunks);
        place(temporary, sha256);
        if (typeof source === 'string' && options.move === true) fs.rmSync(source, { force: true });
      } catch (cause) {
        fs.rmSync(temporary, { force: true });
        if (isDiskError(cause)) {
          throw fault('unwritable', `cannot keep payload ${sha256}: ${cause.message}`, { where: pathOf(sha256), cause });
        }
        throw cause;
      }
    },

    async fetch(from, want, options = {}) {
      if (has(want.sha256, want.size)) return 'present';
      const partial = partialPath(want.sha256);
      // Two that want the same at the same time must not write into one part: the second comes after the first, and then
      // mostly finds it here.
      const before = underWay.get(partial);
      const turn = (async () => {
        await before?.catch(() => undefined);
        if (has(want.sha256, want.size)) return 'present' as const;
        fs.mkdirSync(dirname(partial), { recursive: true });
        await from.download(payloadPath(want.sha256), want, partial, options);
        place(partial, want.sha256);
        return 'fetched' as const;
      })();
      underWay.set(partial, turn);
      try {
        return await turn;
      } finally {
        if (underWay.get(partial) === turn) underWay.delete(partial);
      }
    },

    *list(after = '') {
      const root = join(folder, 'sha256');
      for (const prefix of namesIn(root).toSorted()) {
        if (!/^[0-9a-f]{2}$/.test(prefix) || prefix < after.slice(0, 2)) continue;
        for (const name of namesIn(join(root, prefix)).toSorted()) {
          if (!/^[0-9a-f]{64}$/.test(name) || !name.startsWith(prefix) || name <= after) continue;
          const facts = fs.statSync(join(root, prefix, name), { throwIfNoEntry: false });
          if (facts?.isFile() === true) yield { sha256: name, size: facts.size };
        }
      }
    },

    async verify(sha256, size) {
      const found = await hashOfFile(pathOf(sha256));
      return found?.sha256 === sha256 && (size === undefined || found.size === size);
    },

    remove(sha256) {
      fs.rmSync(pathOf(sha256), { force: true });
      const partial = partialPath(sha256);
      for (const name of [partial, `${partial}.part`, `${partial}.part.from`]) fs.rmSync(name, { force: true });
    },
  };
}

/**
 * SHA-256 and size of a file, read a piece at a time; undefined when there is none.
 * @param options.onPiece awaited after each piece: how many bytes it had; whoever paces a reading waits there
 */
export async function hashOfFile(
  path: string,
  options: { pieceBytes?: number; onPiece?: (bytes: number) => unknown } = {},
): Promise<{ sha256: string; size: number } | undefined> {
  let handle: fs.promises.FileHandle;
  try {
    handle = await fs.promises.open(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
  try {
    const hash = createHash('sha256');
    const { size: expected } = await handle.stat();
    const piece = Buffer.allocUnsafe(Math.max(1, Math.min(options.pieceBytes ?? PIECE_BYTES, expected + 1)));
    let size = 0;
    for (;;) {
      const { bytesRead } = await handle.read(piece, 0, piece.length, size);
      if (bytesRead === 0) break;
      hash.update(piece.subarray(0, bytesRead));
      size += bytesRead;
      await options.onPiece?.(bytesRead);
    }
    return { sha256: hash.digest('hex'), size };
  } finally {
    await handle.close();
  }
}

async function writeChecked(path: string, sha256: string, size: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const handle = fs.openSync(path, 'wx', 0o644);
  try {
    const hash = createHash('sha256');
    let written = 0;
    for await (const chunk of chunks) {
      written += chunk.length;
      if (written > size) break;
      hash.update(chunk);
      writeAll(handle, chunk);
    }
    if (written !== size) {
      throw fault(
        'payload-size',
        `payload ${sha256} has ${written > size ? 'more than' : `${written} instead of`} ${size} bytes`,
      );
    }
    const found = hash.digest('hex');
    if (found !== sha256) throw fault('payload-hash', `payload ${sha256} has the hash ${found}`);
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}

/** `writeSync` may write less than it was given. */
function writeAll(handle: number, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.length; ) done += fs.writeSync(handle, chunk, done);
}

function isDiskError(cause: unknown): cause is NodeJS.ErrnoException {
  return cause instanceof Error && typeof (cause as NodeJS.ErrnoException).syscall === 'string';
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw cause;
  }
}
