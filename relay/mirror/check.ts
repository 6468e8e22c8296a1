// Looking again at what is held: each file is hashed, and what is rotten is taken out of view at once. The one loop for `verify`
// and for the walk of a running relay.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { hashOfFile, openPayloadStore, targetFilePath } from '#manifests/repository';
import { checkedBytes, type Generation, generationNumbers, type MirrorLayout } from './generations.ts';
import type { HeldFile } from './held.ts';
import { readUsage } from './usage.ts';
import { type Documents, namedPayloads, readInto, wantedPayloads } from './wanted.ts';

export interface Finding {
  readonly path: string;
  /** Of a payload; null for a signed file. */
  readonly sha256: string | null;
  readonly says: string;
  /** Whether a sync can bring it back: not what belongs to an older generation. */
  readonly repairable: boolean;
}

export interface Looked {
  readonly held: HeldFile;
  readonly bytes: number;
  /** Undefined: it is whole. */
  readonly finding: Finding | undefined;
}

export interface CheckOptions {
  readonly layout: MirrorLayout;
  readonly files: Iterable<HeldFile>;
  readonly pieceBytes?: number;
  /** Awaited after each piece that was read. */
  readonly onPiece?: (bytes: number) => unknown;
  readonly signal?: AbortSignal | undefined;
}

/** Hashes one file after the other; what is not as it must be is gone from view when it is told. */
export async function* checkHeld({ layout, files, pieceBytes, onPiece, signal }: CheckOptions): AsyncGenerator<Looked> {
  const whole = new Set<string>();
  for (const held of files) {
    signal?.throwIfAborted();
    const before = idOf(held.file);
    if (before !== undefined && held.sha256 !== undefined && whole.has(`${before} ${held.sha256}`)) {
      yield { held, bytes: 0, finding: undefined }; // the same file under a further name
      continue;
    }
    const read = {
      ...(pieceBytes === undefined ? {} : { pieceBytes }),
      onPiece: async (bytes: number) => {
        signal?.throwIfAborted();
        await onPiece?.(bytes);
      },
    };
    let found: Awaited<ReturnType<typeof hashOfFile>> | 'unreadable';
    try {
      found = await hashOfFile(held.file, read);
    } catch (cause) {
      if (typeof (cause as NodeJS.ErrnoException).syscall !== 'string') throw cause;
      found = 'unreadable'; // a sector that cannot be read is as bad as one with other bytes
    }
    const bytes = typeof found === 'object' ? found.size : 0;
    const ok = typeof found === 'object' && (held.sha256 === undefined || found.sha256 === held.sha256);
    if (ok) {
      if (before !== undefined && held.sha256 !== undefined && held.kind !== 'payload') whole.add(`${before} ${held.sha256}`);
      yield { held, bytes, finding: undefined };
    } else if (idOf(held.file) !== before || (found === undefined && wentRightly(layout, held))) {
      yield { held, bytes, finding: undefined }; // another one by now, or removed for want of room: that one was checked
    } else {
      withdraw(layout, held);
      yield { held, bytes, finding: findingOf(held, found === undefined) };
    }
  }
}

/** Whether what is gone may be: payloads come and go, and so do older generations as a whole. */
function wentRightly(layout: MirrorLayout, { kind, older }: HeldFile): boolean {
  return kind === 'payload' || (older !== undefined && !fs.existsSync(join(layout.generations, String(older))));
}

function findingOf({ path, kind, sha256, older }: HeldFile, gone: boolean): Finding {
  const says =
    kind === 'payload'
      ? 'is damaged'
      : kind === 'document'
        ? 'is damaged or gone'
        : gone
          ? 'is gone'
          : 'is not what was signed';
  const after = older === undefined ? '' : `; generation ${older}, which is not served, was removed`;
  return {
    path,
    sha256: kind === 'payload' ? (sha256 ?? null) : null,
    says: `${says}${after}`,
    repairable: older === undefined,
  };
}

/** Takes a rotten file out of view under each of its names. An older generation that lost one goes as a whole. */
function withdraw(layout: MirrorLayout, held: HeldFile): void {
  if (held.kind === 'payload') openPayloadStore(layout.payloads).remove(held.sha256 ?? '');
  else if (held.older !== undefined) {
    fs.rmSync(join(layout.generations, String(held.older)), { recursive: true, force: true });
    return;
  } else {
    const id = idOf(held.file);
    for (const number of generationNumbers(layout)) {
      const file = join(layout.generations, String(number), held.path);
      if (id !== undefined && idOf(file) === id) fs.rmSync(file, { force: true });
    }
    fs.rmSync(held.file, { force: true });
  }
  markDamaged(layout, held.kind === 'payload' ? (held.sha256 ?? '') : '');
}

/** The next sync looks after everything. */
export function markDamaged(layout: MirrorLayout, sha256: string): void {
  fs.appendFileSync(layout.damaged, `${sha256}\n`);
}

/** A file's identity on its disk with the moment of its last change; undefined when it is not there. */
function idOf(file: string): string | undefined {
  const facts = fs.statSync(file, { throwIfNoEntry: false });
  return facts === undefined ? undefined : `${facts.dev} ${facts.ino} ${facts.size} ${facts.mtimeMs}`;
}

/** The documents of a generation that decide about payloads, as far as they are whole. @throws document.* */
export function documentsOf(layout: MirrorLayout, generation: Generation): Documents {
  const documents: Documents = { catalogs: [], baselines: [] };
  const folder = join(layout.generations, String(generation.number));
  for (const { path, sha256, length } of generation.targets) {
    if (!path.startsWith('catalogs/') && !path.startsWith('policy/baselines/')) continue;
    const bytes = checkedBytes(folder, targetFilePath(path, sha256), length);
    if (bytes !== undefined) readInto(documents, path, bytes);
  }
  return documents;
}

/** Payloads that have another size than the catalogs say, or that should be here and are not; they are asked for. */
export function missingPayloads(layout: MirrorLayout, generation: Generation, documents: Documents): Finding[] {
  const store = openPayloadStore(layout.payloads);
  const lacking = new Set(generation.lacking);
  const kept = { payloads: generation.payloads, products: generation.only, asked: readUsage(layout).asked };
  return wantedPayloads(documents, kept).flatMap(({ sha256, size, required }): Finding[] => {
    if (!required && generation.payloads === 'missing') return []; // agents may have asked for more since the last sync
    if (lacking.has(sha256) || store.has(sha256, size)) return [];
    markDamaged(layout, sha256);
    return [{ path: pathIn(layout, store.pathOf(sha256)), sha256, says: 'is gone', repairable: true }];
  });
}

const pathIn = (layout: MirrorLayout, file: string) => file.slice(layout.root.length + 1).replaceAll('\\', '/');

/** Which package a payload is, as the catalogs say: `product name arch`. */
export function titlesOf(documents: Documents): (sha256: string | null) => string | null {
  let named: ReturnType<typeof namedPayloads> | undefined;
  return (sha256) => (sha256 === null ? null : ((named ??= namedPayloads(documents)).get(sha256)?.package ?? null));
}
