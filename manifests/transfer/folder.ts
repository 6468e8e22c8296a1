// An origin that is a folder: a drop folder, a mounted medium, a publisher's repository beside its relay.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { relativePath } from '#manifests/schema';
import { fault, type Origin } from './origin.ts';
import { type PartTag, receive, type Stream } from './receive.ts';

/**
 * Reads a repository from `folder`. A folder that holds no repository (a medium that is not mounted) is an error, never "empty".
 * @param mark what every repository of this kind has at its root; a vendor's may be of another kind.
 */
export function folderOrigin(folder: string, mark = 'metadata'): Origin {
  const root = resolve(folder);

  function pathOf(path: string): string {
    if (!relativePath.safeParse(path).success) throw fault('missing', `${JSON.stringify(path)} is no path of a repository`);
    return join(root, path);
  }

  /** Opens a regular file; undefined when the repository does not have it. @throws transfer.not-a-repository */
  function open(path: string): number | undefined {
    try {
      return fs.openSync(pathOf(path), 'r');
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTDIR') {
        if (cause instanceof Error && 'syscall' in cause) {
          throw fault('unreachable', `cannot read ${join(root, path)}: ${message}`, { where: join(root, path), cause });
        }
        throw cause;
      }
      if (!fs.existsSync(join(root, mark))) {
        throw fault('not-a-repository', `${root} holds no repository (no folder ${mark})`, { where: root, cause });
      }
      return undefined;
    }
  }

  return {
    name: root,

    fetchSmall(path, { limitBytes, etag }) {
      return attempt(() => {
        const handle = open(path);
        if (handle === undefined) return { kind: 'missing' };
        try {
          const facts = fs.fstatSync(handle, { bigint: true });
          if (!facts.isFile()) return { kind: 'missing' };
          const current = validatorOf(facts);
          if (etag === current) return { kind: 'unchanged' };
          const where = join(root, path);
          const tooLarge = () => fault('too-large', `${where} has more than the limit of ${limitBytes} bytes`, { where });
          if (facts.size > BigInt(limitBytes)) throw tooLarge();
          const bytes = fs.readFileSync(handle);
          if (bytes.length > limitBytes) throw tooLarge();
          return { kind: 'found', bytes, etag: current };
        } finally {
          fs.closeSync(handle);
        }
      });
    },

    async download(path, want, destination, options = {}) {
      const ask = (offset: number, tag: PartTag | undefined): Promise<Stream> =>
        attempt(() => {
          const where = join(root, path);
          const handle = open(path);
          if (handle === undefined) throw fault('missing', `${where} is not there`, { where });
          const facts = fs.fstatSync(handle, { bigint: true });
          if (!facts.isFile() || facts.size !== BigInt(want.size)) {
            fs.closeSync(handle);
            throw fault('size', `${where} has ${facts.size} bytes, signed are ${want.size}`, { where });
          }
          const validator = validatorOf(facts);
          const start = tag?.from === root && tag.validator === validator ? offset : 0;
          return { start, validator, chunks: chunksOf(handle, start, where, options.signal) };
        });
      await receive(root, path, want, destination, ask, options);
    },

    post: () => Promise.reject(fault('no-post', `${root} is a folder; it takes no requests`, { where: root })),
    close: () => Promise.resolve(),
  };
}

function attempt<T>(action: () => T): Promise<T> {
  return new Promise((done) => {
    done(action());
  });
}

function validatorOf(facts: fs.BigIntStats): string {
  return `"${facts.ino.toString(36)}-${facts.mtimeNs.toString(36)}-${facts.size.toString(36)}"`;
}

async function* chunksOf(
  handle: number,
  start: number,
  where: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of fs.createReadStream('', { fd: handle, start, highWaterMark: 1024 * 1024, autoClose: true })) {
      signal?.throwIfAborted();
      yield chunk as Buffer;
    }
  } catch (cause) {
    if (cause instanceof Error && 'syscall' in cause) throw fault('cut', `${where}: ${cause.message}`, { where, cause });
    throw cause;
  }
}
