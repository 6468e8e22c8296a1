// Roots that are not started from any more, or not yet: written down before they are made, so that none is left that nobody knows
// of, and given back by retention (service/sweep.ts).
import type { RootId, WayBack } from '../snapshot/index.ts';
import type { Journal } from './journal.ts';

/** Name of the list in the journal. */
const OLD_ROOTS = 'old-roots';

export interface OldRoot {
  /** The run that was taken back. */
  readonly run: string;
  readonly kind: WayBack['kind'];
  /** Milliseconds of trusted time. */
  readonly since: number;
  /** The root that was left; null while one is being made. */
  readonly root: RootId | null;
}

type Book = Pick<Journal, 'meta' | 'setMeta'>;

/** Oldest first. */
export function oldRoots({ meta }: Pick<Journal, 'meta'>): OldRoot[] {
  return JSON.parse(meta(OLD_ROOTS) ?? '[]') as OldRoot[];
}

function write(journal: Book, list: readonly OldRoot[]): void {
  journal.setMeta(OLD_ROOTS, list.length === 0 ? null : JSON.stringify(list));
}

/** One is about to be made for this run. */
export function noteRoot(journal: Book, entry: Omit<OldRoot, 'root'>): void {
  const others = oldRoots(journal).filter(({ run, root }) => run !== entry.run || root !== null);
  write(journal, [...others, { ...entry, root: null }]);
}

/** It was switched to and is well: the one before it is kept. */
export function keepOldRoot(journal: Book, of: string, root: RootId): void {
  write(
    journal,
    oldRoots(journal).map((entry) => (entry.run === of && entry.root === null ? { ...entry, root } : entry)),
  );
}

/** What was made for this run is gone, or the old root is. */
export function forgetRoot(journal: Book, of: string, root: string | null = null): void {
  write(
    journal,
    oldRoots(journal).filter((entry) => entry.run !== of || (entry.root?.id ?? null) !== root),
  );
}
