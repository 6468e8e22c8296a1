// The backlog: envelopes that are safe in the journal and have no file of their own. It keeps where each lies, not its bytes, so
// that a burst of many thousand costs little memory.
import type { JournalPlace } from './journal.ts';

export interface Kept {
  readonly place: JournalPlace;
  /** When it came, monotonic milliseconds. */
  readonly cameAt: number;
}

export interface Backlog {
  add(path: string, kept: Kept): void;
  get(path: string): Kept | undefined;
  /** It has its own file now, or has gone on. False: it was not here. */
  remove(path: string): boolean;
  /** What came first is first; may be removed meanwhile. */
  entries(): MapIterator<[string, Kept]>;
  items(): number;
  bytes(): number;
  /** Whether a segment of the journal holds some of it. */
  needs(segment: string): boolean;
}

export function openBacklog(): Backlog {
  const kept = new Map<string, Kept>();
  const inSegment = new Map<string, number>();
  let bytes = 0;

  function remove(path: string): boolean {
    const gone = kept.get(path);
    if (gone === undefined) return false;
    kept.delete(path);
    bytes -= gone.place.length;
    const left = (inSegment.get(gone.place.segment) ?? 1) - 1;
    if (left === 0) inSegment.delete(gone.place.segment);
    else inSegment.set(gone.place.segment, left);
    return true;
  }

  return {
    add(path, each) {
      remove(path);
      kept.set(path, each);
      bytes += each.place.length;
      inSegment.set(each.place.segment, (inSegment.get(each.place.segment) ?? 0) + 1);
    },
    get: (path) => kept.get(path),
    remove,
    entries: () => kept.entries(),
    items: () => kept.size,
    bytes: () => bytes,
    needs: (segment) => inSegment.has(segment),
  };
}
