// A stage for tests: a site with keys, files to carry, a stick, a receiving side; everything small and real.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateSigningKey, memorySigner, type Signer } from '#manifests/trust';
import type { Disk } from '../disk.ts';
import { type Draft, type DraftOptions, draftBundle, type SourceEntry } from '../draft.ts';
import { type Filled, fillFolder } from '../fill.ts';
import { type Accept, type ImportOptions, type ImportOutcome, importBundle } from '../import.ts';
import { packContainer } from '../pack.ts';

/** The moment at which all tests happen. */
export const AT = Date.parse('2026-06-01T00:00:00Z');
const DAY = 86_400_000;
/** Small, so that a few hundred kilobytes are many chunks. */
export const CHUNK = 4_096;

export interface Stage {
  readonly folder: string;
  readonly work: string;
  readonly stick: string;
  readonly staging: string;
  readonly key: string;
  readonly signer: Signer;
  readonly entries: SourceEntry[];
  /** Path to contents of everything packed. */
  readonly contents: Map<string, Buffer>;
  draft(more?: Partial<DraftOptions>, about?: Partial<DraftOptions['about']>): Promise<Draft>;
  fill(draft: Draft, more?: { place?: string; only?: number[]; partBytes?: number; disk?: Disk }): Promise<Filled>;
  pack(draft: Draft, format: 'tar' | '7z', more?: { place?: string; volumeBytes?: number; disk?: Disk }): Promise<Filled>;
  take(index: string, more?: Partial<ImportOptions>, accept?: Partial<Accept>): Promise<ImportOutcome>;
  /** Every file below the tree with its contents. */
  read(tree: string): Map<string, Buffer>;
  end(): void;
}

/** Bytes that look random and are the same every time. */
export function noise(seed: string, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at * 32 < length; at++) blocks.push(createHash('sha256').update(`${seed} ${at}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A repository in small: metadata, documents, payloads of various sizes, one empty file. Names of folders hold blanks. */
export function makeStage(options: { name?: string; payloads?: number[] } = {}): Stage {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry bündel '));
  const [work, stick, staging, files] = ['work', 'stick with blank', 'staging', 'files'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
  ];
  for (const path of [work, stick, staging, files]) fs.mkdirSync(path);
  const pair = generateSigningKey();
  const contents = new Map<string, Buffer>();
  const entries: SourceEntry[] = [];
  const add = (path: string, bytes: Buffer, asFile: boolean) => {
    contents.set(path, bytes);
    if (!asFile) return entries.push({ path, bytes });
    const file = join(files, String(entries.length));
    fs.writeFileSync(file, bytes);
    return entries.push({ path, file, sha256: sha256(bytes) });
  };
  add('metadata/1.root.json', Buffer.from('{"root":1}'), false);
  add('metadata/timestamp.json', noise('timestamp', 700), false);
  add('targets/roster/empty', Buffer.alloc(0), false);
  for (const [at, size] of (options.payloads ?? [10_000, 1, 4_096, 60_000, 8_192, 33_333]).entries()) {
    const bytes = noise(`payload ${at}`, size);
    const hash = sha256(bytes);
    add(`payloads/sha256/${hash.slice(0, 2)}/${hash}`, bytes, true);
  }
  const signer = memorySigner(pair);
  return {
    folder,
    work,
    stick,
    staging,
    key: pair.publicKey,
    signer,
    entries,
    contents,
    draft: (more = {}, about = {}) =>
      draftBundle({
        work,
        entries,
        chunkBytes: CHUNK,
        about: {
          kind: 'content',
          site: 'ward-7',
          sequence: 5,
          from: 'publisher',
          note: 'debian-12',
          madeAt: AT,
          expires: AT + 30 * DAY,
          ...about,
        },
        ...more,
      }),
    fill: (draft, more = {}) => fillFolder({ draft, place: stick, signer, partBytes: 5 * CHUNK, ...more }),
    pack: (draft, format, more = {}) => packContainer({ draft, place: stick, signer, format, partBytes: 8 * CHUNK, ...more }),
    take: (index, more = {}, accept = {}) =>
      importBundle({
        index,
        staging,
        medium: 'none',
        accept: { keys: [pair.publicKey], kind: 'content', site: 'ward-7', lastSequence: 4, now: AT + DAY, ...accept },
        ...more,
      }),
    read(tree) {
      const found = new Map<string, Buffer>();
      for (const entry of fs.readdirSync(tree, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const path = join(entry.parentPath, entry.name);
        found.set(path.slice(tree.length + 1), fs.readFileSync(path));
      }
      return found;
    },
    end: () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}
