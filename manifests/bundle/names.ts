// Names inside a bundle: what an entry may be called, and why another is refused. Whitelist first; the reasons are for people. Pure.
import { BUNDLE_LIMITS } from './limits.ts';

const PLAIN = /^[A-Za-z0-9_=@+,-][A-Za-z0-9_=@+,.-]*$/;
/** Device names of Windows, whatever extension follows ("Naming Files, Paths, and Namespaces"). */
const RESERVED = /^(?:con|prn|aux|nul|clock|com[0-9]|lpt[0-9]|conin|conout)$/i;

/** Why `path` may not be placed anywhere, or undefined when it is a relative path of plain names. */
export function nameFault(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (!path.isWellFormed() || /[\u0000-\u001f\u007f-\u009f]/.test(path)) return 'holds control characters';
  if (path.length > BUNDLE_LIMITS.pathLength) return 'is too long';
  if (path.startsWith('/')) return 'is absolute';
  if (path.includes('\\')) return 'holds a backslash';
  if (/^[A-Za-z]:/.test(path)) return 'names a drive';
  if (path.includes(':')) return 'holds a colon (an NTFS stream)';
  const parts = path.split('/');
  if (parts.length > BUNDLE_LIMITS.pathDepth) return 'is too deep';
  for (const part of parts) {
    if (part === '..') return 'climbs to a parent folder';
    if (part === '' || part === '.') return 'has an empty part';
    if (/[. ]$/.test(part)) return 'has a part that ends in a dot or a blank';
    if (RESERVED.test(part.split('.')[0] ?? '')) return 'is a device name of Windows';
    if (!PLAIN.test(part)) return 'holds characters that are not plain letters, digits, dots and dashes';
  }
  return undefined;
}

/** The form in which two names are one on file systems that fold case or Unicode (FAT, NTFS, APFS). */
export function foldedName(path: string): string {
  return path.normalize('NFKC').toLowerCase().normalize('NFKC');
}

/** What is wrong with a whole set of paths, first fault only: bad names, twins, a file where a folder must be. */
export function namesFault(paths: Iterable<string>): { path: string; says: string } | undefined {
  const files = new Set<string>();
  const folders = new Set<string>();
  for (const path of paths) {
    const says = nameFault(path);
    if (says !== undefined) return { path, says };
    const folded = foldedName(path);
    if (files.has(folded)) return { path, says: 'is there twice (by letter case or Unicode form)' };
    files.add(folded);
    for (let at = folded.indexOf('/'); at !== -1; at = folded.indexOf('/', at + 1)) folders.add(folded.slice(0, at));
  }
  for (const path of files) if (folders.has(path)) return { path, says: 'is a file and a folder' };
  return undefined;
}

/** Chunks first to last, both included. */
export interface ChunkRange {
  readonly first: number;
  readonly last: number;
}

const PART = /^(\d{7})-(\d{7})\.pfp$/;

/** The name of a part file tells the chunks it holds, one after the other: `0000000-0000255.pfp`. */
export function partName({ first, last }: ChunkRange): string {
  return `${String(first).padStart(7, '0')}-${String(last).padStart(7, '0')}.pfp`;
}

/** The chunks of a part name, or undefined when it is none of a bundle with `chunkCount` chunks. */
export function partRange(name: string, chunkCount: number): ChunkRange | undefined {
  const found = PART.exec(name);
  if (!found) return undefined;
  const range = { first: Number(found[1]), last: Number(found[2]) };
  return range.first <= range.last && range.last < chunkCount ? range : undefined;
}

/** Numbers as ranges: [1,2,3,7] gives 1-3 and 7-7. */
export function rangesOf(numbers: Iterable<number>): ChunkRange[] {
  const ranges: { first: number; last: number }[] = [];
  for (const value of [...numbers].toSorted((a, b) => a - b)) {
    const open = ranges.at(-1);
    if (open !== undefined && value === open.last + 1) open.last = value;
    else ranges.push({ first: value, last: value });
  }
  return ranges;
}

/** `812-1003, 1010`, at most `most` ranges. */
export function rangesText(ranges: readonly ChunkRange[], most = 10): string {
  const shown = ranges.slice(0, most).map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`));
  return `${shown.join(', ')}${ranges.length > most ? `, and ${ranges.length - most} more ranges` : ''}`;
}

/** Files that desktops leave behind on any folder they show; never read, never a reason to refuse. */
export function isDesktopLitter(name: string): boolean {
  return name === '.DS_Store' || name.startsWith('._') || /^(?:thumbs\.db|desktop\.ini)$/i.test(name);
}
