// One call for an export: draft (or the one an interrupted run left), marker of the medium, container, draft removed at the end.
import { join } from 'node:path';
import { formatBytes } from '#manifests/platform/progress';
import type { Signer } from '#manifests/trust';
import { type Disk, realDisk } from './disk.ts';
import { bundleName, type Draft, type DraftOptions, draftAgain, type SourceEntry } from './draft.ts';
import { fault } from './faults.ts';
import { onMedium } from './files.ts';
import { type Filled, fillFolder } from './fill.ts';
import { FOLDER_SUFFIX } from './format.ts';
import { readMedium } from './medium.ts';
import type { ChunkRange } from './names.ts';
import { packContainer } from './pack.ts';
import type { Keys } from './signed.ts';

export interface WriteOptions extends Omit<DraftOptions, 'onProgress'> {
  /** Root of the medium, or a folder. */
  readonly place: string;
  readonly signer: Signer;
  /** `folder` goes on chunk by chunk and can be spread over media; the others are one file or volumes of it. */
  readonly container: 'folder' | 'tar' | '7z';
  /** Keys whose MEDIUM.json counts; `none` for a folder that is no medium. */
  readonly medium: Keys | 'none';
  /** Bytes of a part or volume, at most what a FAT32 file holds. */
  readonly partBytes?: number | undefined;
  readonly capacityBytes?: number | undefined;
  /** Folder only: fill this medium and leave the rest for the next one. */
  readonly whenFull?: 'refuse' | 'fill' | undefined;
  readonly only?: readonly number[] | undefined;
  readonly sevenZip?: string | undefined;
  /** Only hashes, and says what would be written. The draft stays for the export itself. */
  readonly dryRun?: boolean | undefined;
  /** Bytes done and in total, first of reading, then of writing. */
  readonly onProgress?: ((bytes: number, total: number, step: 'reading' | 'writing') => void) | undefined;
  /** Keep the draft: chunks can be fetched again from it. Kept anyway while chunks are left for another medium. */
  readonly keepDraft?: boolean | undefined;
}

export interface WrittenBundle {
  readonly name: string;
  readonly id: string;
  /** Path of the signed index; undefined for a dry run. */
  readonly index: string | undefined;
  readonly files: number;
  /** Bytes of the contents; and bytes written in this run. */
  readonly contentBytes: number;
  readonly writtenBytes: number;
  readonly chunks: number;
  /** Chunks that did not fit: `writeBundle` again with the next medium and `only` these. */
  readonly left: readonly ChunkRange[];
}

/**
 * Writes a bundle. Free space is looked at before anything is read, and again, exactly, before anything is written.
 * @throws bundle.no-medium, bundle.medium, bundle.no-space, bundle.medium-gone, bundle.source-changed, bundle.unwritable
 */
export async function writeBundle(options: WriteOptions): Promise<WrittenBundle> {
  const { place, signer, about } = options;
  const disk = options.disk ?? realDisk;
  if (options.medium !== 'none') readMedium(place, options.medium, { site: about.site, kind: about.kind }, disk);
  if (options.whenFull !== 'fill' && options.only === undefined && options.capacityBytes === undefined)
    await onMedium(place, () => checkRoom(disk, place, bundleName(about), options.entries));
  const draft = await draftAgain({ ...options, onProgress: (bytes, total) => options.onProgress?.(bytes, total, 'reading') });
  const shown = (filled: Filled | undefined) => summaryOf(draft, filled);
  if (options.dryRun === true) return shown(undefined);
  const common = {
    place,
    signer,
    disk,
    signal: options.signal,
    partBytes: options.partBytes,
    onProgress: (bytes: number, total: number) => options.onProgress?.(bytes, total, 'writing'),
  };
  const filled =
    options.container === 'folder'
      ? await fillFolder({
          ...common,
          draft,
          only: options.only,
          capacityBytes: options.capacityBytes,
          whenFull: options.whenFull,
        })
      : await packContainer({
          ...common,
          draft,
          format: options.container,
          volumeBytes: options.partBytes,
          sevenZip: options.sevenZip,
        });
  if (options.keepDraft !== true && filled.left.length === 0 && options.only === undefined) {
    try {
      disk.remove(join(options.work, draft.name));
    } catch {
      // the bundle is written; a draft that is left is used or replaced by the next export of this number
    }
  }
  return shown(filled);
}

/** What does not fit is said before hours are spent on reading it. @throws bundle.no-space */
function checkRoom(disk: Disk, place: string, name: string, entries: readonly SourceEntry[]): void {
  if (disk.facts(place) === undefined) return; // not made yet, or gone: said by whoever writes there
  const needs = entries.reduce(
    (sum, entry) => sum + ('bytes' in entry ? entry.bytes.length : (disk.facts(entry.file)?.size ?? 0)),
    0,
  );
  const folder = join(place, name + FOLDER_SUFFIX);
  const there = [
    ...(disk.list(folder) ?? []).map((one) => join(folder, one)),
    ...(disk.list(place) ?? []).filter((one) => one.startsWith(`${name}.`)).map((one) => join(place, one)),
  ].reduce((sum, path) => sum + (disk.facts(path)?.size ?? 0), 0);
  const room = disk.free(place) + there;
  if (needs > room) {
    throw fault('no-space', `${place} has room for ${formatBytes(room)} of it, ${formatBytes(needs)} are needed`, {
      where: place,
    });
  }
}

function summaryOf({ name, index }: Draft, filled: Filled | undefined): WrittenBundle {
  return {
    name,
    id: index.id,
    index: filled?.index,
    files: index.entryCount,
    contentBytes: index.streamBytes,
    writtenBytes: filled?.bytes ?? 0,
    chunks: index.chunkCount,
    left: filled?.left ?? [],
  };
}
