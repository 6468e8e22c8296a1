// The tree that is served: the mirror's current generation and its payloads. Small files and all ETags are kept in memory.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { hashInPath } from '#manifests/repository';
import type { ServeLimits } from './limits.ts';

/** One file as it is answered. */
export interface Entry {
  readonly file: string;
  readonly size: number;
  /** Strong, with its quotes. */
  readonly etag: string;
  /** Named by its hash: never changes. */
  readonly immutable: boolean;
  /** The content, when it is small. */
  readonly body: Buffer | undefined;
}

export interface Tree {
  /** The file at a path relative to the repository's root; undefined when there is none. */
  find(path: string): Entry | undefined;
}

const SERVED = /^(?:metadata|targets|payloads)\/[A-Za-z0-9_+~=,@.-]+(?:\/[A-Za-z0-9_+~=,@.-]+)*$/;

/** Whether a path can be one of a repository: plain names below the three folders, nothing hidden, nothing that climbs. */
export function isServed(path: string): boolean {
  return SERVED.test(path) && !path.includes('/.');
}

/** @param root the mirror's folder, in which `current` is a link to a generation. @param monotonic milliseconds */
export function openTree(root: string, limits: ServeLimits, monotonic: () => number): Tree {
  let generation: string | undefined;
  let withdrawnAt: number | undefined;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let entries = new Map<string, Entry>();
  let inMemory = 0;

  function current(): string | undefined {
    const now = monotonic();
    if (now - lookedAt < limits.generationMs) return generation;
    lookedAt = now;
    const found = readLink(join(root, 'current'));
    // A file that was found rotten and is gone must not be served from memory either.
    const withdrawn = fs.statSync(join(root, 'damaged'), { throwIfNoEntry: false })?.size;
    if (found !== generation || withdrawn !== withdrawnAt) {
      generation = found;
      withdrawnAt = withdrawn;
      entries = new Map();
      inMemory = 0;
    }
    return generation;
  }

  function load(path: string, from: string): Entry | undefined {
    const hash = hashInPath(path);
    if (path.startsWith('payloads/') && hash === undefined) return undefined;
    const file = path.startsWith('payloads/') ? join(root, path) : join(root, from, path);
    const handle = tryOpen(file);
    if (handle === undefined) return undefined;
    try {
      const facts = fs.fstatSync(handle);
      if (!facts.isFile()) return undefined;
      const small = facts.size <= limits.smallFileBytes && !path.startsWith('payloads/');
      const body = small ? fs.readFileSync(handle) : undefined;
      // The same content has the same ETag on every relay, so that a poll at another one still costs nothing, and a
      // download goes on there. Only a large file without a hash in its name is told apart by when it came.
      const tag =
        hash ??
        (body === undefined
          ? `${from.replaceAll('/', '-')}-${Math.trunc(facts.mtimeMs).toString(36)}-${facts.size.toString(36)}`
          : createHash('sha256').update(body).digest('base64url').slice(0, 27));
      return { file, size: body?.length ?? facts.size, etag: `"${tag}"`, immutable: hash !== undefined, body };
    } finally {
      fs.closeSync(handle);
    }
  }

  return {
    find(path) {
      const from = current();
      if (from === undefined) return undefined;
      const known = entries.get(path);
      if (known?.body !== undefined) return known;
      if (known !== undefined) {
        if (fs.existsSync(known.file)) return known;
        entries.delete(path); // it went to make room
        inMemory -= 512;
      }
      const entry = load(path, from);
      if (entry === undefined) return undefined;
      inMemory += (entry.body?.length ?? 0) + 512;
      entries.set(path, entry);
      while (inMemory > limits.memoryBytes) {
        const [oldest] = entries;
        if (oldest === undefined) break;
        entries.delete(oldest[0]);
        inMemory -= (oldest[1].body?.length ?? 0) + 512;
      }
      return entry;
    },
  };
}

function readLink(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch {
    return undefined; // nothing was mirrored yet
  }
}

function tryOpen(path: string): number | undefined {
  try {
    return fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch {
    return undefined; // not there, or not readable: both are "not found" to whoever asks
  }
}
