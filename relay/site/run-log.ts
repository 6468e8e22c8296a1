// Envelopes of the runs that this relay has counted itself, kept for the other relays of the site: one file each, by number, no
// more than one of a host and group, bounded. What lies here is sealed as it came.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded, removeTemporaries, writeFileAtomic } from '#manifests/platform/files';
import { SITE_LIMITS } from './limits.ts';

export interface RunLog {
  /** Durable when it returns; why it is not kept, where there is no room. @throws files.unwritable */
  put(number: number, envelope: Uint8Array): string | undefined;
  /** What is behind a number, as much as fits one page. */
  after(number: number): { more: boolean; items: { number: number; envelope: Uint8Array }[] };
  drop(number: number): void;
}

const NAME = /^(\d{15})\.pfe$/;
const nameOf = (number: number) => `${String(number).padStart(15, '0')}.pfe`;

/** @param kept numbers that still count; the rest goes */
export function openRunLog(folder: string, kept: ReadonlySet<number>): RunLog {
  const sizes = new Map<number, number>();
  removeTemporaries(folder);
  for (const name of fs.existsSync(folder) ? fs.readdirSync(folder).toSorted() : []) {
    const number = Number(NAME.exec(name)?.[1] ?? Number.NaN);
    if (kept.has(number)) sizes.set(number, fs.statSync(join(folder, name)).size);
    else if (!Number.isNaN(number)) fs.rmSync(join(folder, name), { force: true });
  }
  let total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  const drop = (number: number) => {
    const bytes = sizes.get(number);
    if (bytes === undefined) return;
    fs.rmSync(join(folder, nameOf(number)), { force: true });
    sizes.delete(number);
    total -= bytes;
  };
  return {
    drop,
    put(number, envelope) {
      const { length } = envelope;
      if (length > SITE_LIMITS.sharedBytes) return `it has ${length} bytes`;
      fs.mkdirSync(folder, { recursive: true });
      const { bavail, bsize } = fs.statfsSync(folder);
      if (bavail * bsize < SITE_LIMITS.sharedReserveBytes + length) return 'the disk is nearly full';
      writeFileAtomic(join(folder, nameOf(number)), envelope, { mode: 0o640 });
      sizes.set(number, length);
      total += length;
      for (const oldest of sizes.keys()) {
        if (total <= SITE_LIMITS.sharedTotalBytes) break;
        drop(oldest);
      }
      return undefined;
    },
    after(number) {
      const items: { number: number; envelope: Uint8Array }[] = [];
      let bytes = 0;
      for (const [each, size] of sizes) {
        if (each <= number) continue;
        if (items.length === SITE_LIMITS.pageRuns || (items.length > 0 && bytes + size > SITE_LIMITS.pageBytes))
          return { more: true, items };
        const envelope = readFileBounded(join(folder, nameOf(each)), SITE_LIMITS.sharedBytes);
        if (envelope === undefined || envelope.length === 0) continue; // taken away by hand
        items.push({ number: each, envelope });
        bytes += envelope.length;
      }
      return { more: false, items };
    },
  };
}
