// What was refused: moved into `rejected/` with a note beside it, or, on a stick, named there and left where it is.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { PatchferryError } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { writeFileAtomic } from '#manifests/platform/files';

const REJECTED_FOLDER = 'rejected';

export interface Rejection {
  /** Folder or stick the bundle lies in. */
  readonly place: string;
  /** Name of the bundle, before `.pfb.json`. */
  readonly name: string;
  readonly error: PatchferryError;
  /** Moved away, so that it is not looked at again: a drop folder. Else it is only named: a stick. */
  readonly move: boolean;
  /** Folder of this side for notes that the medium does not take (it may be read-only). */
  readonly own: string;
  readonly now: number;
}

/** Puts the note (and, with `move`, the bundle) away. @returns path of the note */
export function rejectBundle({ place, name, error, move, own, now }: Rejection): string {
  const note = [
    'patchferry did not take this bundle; nothing of it was used.',
    '',
    `bundle: ${name}`,
    `when:   ${utcSeconds(now)}`,
    `why:    ${error.message}`,
    `code:   ${error.code}`,
    `next:   ${error.next}`,
    '',
  ].join('\r\n');
  for (const folder of [join(place, REJECTED_FOLDER), own]) {
    try {
      const base = freeName(folder, name, move);
      const file = join(folder, `${base}.txt`);
      writeFileAtomic(file, note);
      if (move && folder !== own) moveBundle(place, name, folder, base);
      return file;
    } catch (cause) {
      if (!isDiskError(cause)) throw cause;
    }
  }
  return '';
}

/** The name, or the name with a number where another bundle of that name was refused before. */
function freeName(folder: string, name: string, move: boolean): string {
  if (!move) return name;
  for (let number = 1; number < 10_000; number += 1) {
    const base = number === 1 ? name : `${name}-${number}`;
    if (!fs.existsSync(join(folder, `${base}.txt`))) return base;
  }
  return name;
}

/** Index, folder of parts, containers and volumes all begin with the bundle's name and a dot. */
function moveBundle(place: string, name: string, folder: string, base: string): void {
  for (const entry of fs.readdirSync(place)) {
    if (entry.startsWith(`${name}.`)) fs.renameSync(join(place, entry), join(folder, base + entry.slice(name.length)));
  }
}

/** Removes a bundle that was taken over whole from a drop folder. */
export function removeBundle(place: string, name: string): void {
  // The index first: what is left of a removal that was cut off is no bundle any more.
  const entries = fs.readdirSync(place).filter((entry) => entry.startsWith(`${name}.`));
  for (const entry of entries.toSorted((a, b) => Number(b.endsWith('.json')) - Number(a.endsWith('.json'))))
    fs.rmSync(join(place, entry), { recursive: true, force: true });
}

function isDiskError(cause: unknown): boolean {
  return cause instanceof Error && ('syscall' in cause || 'code' in cause);
}
