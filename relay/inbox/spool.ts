// The spool: envelopes as files, in the layout that collectors read. An envelope is flushed with others into the journal before
// it is answered; if it has not gone on a moment later it gets its own file, and leaves the journal when that is flushed too.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { removeTemporaries, writeFileAtomic } from '#manifests/platform/files';
import { openBacklog } from './backlog.ts';
import { openJournal, readJournal } from './journal.ts';
import { INBOX_LIMITS } from './limits.ts';
import { flushFiles, placeFile } from './place.ts';

/** `records` are what relays say themselves; each is a file of its own from the start. */
export type SpoolKind = 'results' | 'enrolments' | 'records';
type EnvelopeSpoolKind = Exclude<SpoolKind, 'records'>;

export interface SpoolItem {
  readonly kind: SpoolKind;
  readonly agent: string;
  /** Relative to the inbox folder, with slashes. */
  readonly path: string;
}

/** How many items are here, by kind. */
export interface Waiting {
  readonly results: number;
  readonly enrolments: number;
  readonly refused: number;
}

/** An envelope that is safe in the journal and has no file of its own yet. */
export interface Unplaced {
  readonly path: string;
  readonly bytes: number;
  /** When it came, milliseconds. */
  readonly at: number;
}

export interface Spool {
  readonly folder: string;
  /** Keeps an envelope durably; `duplicate` when exactly these bytes are here. A fork gets a name of its own. */
  keep(kind: EnvelopeSpoolKind, agent: string, sequence: number, hash: string, bytes: Uint8Array): Promise<'new' | 'duplicate'>;
  /** Whether exactly these bytes are here. */
  holds(kind: EnvelopeSpoolKind, agent: string, sequence: number, hash: string, bytes: Uint8Array): boolean;
  /** Keeps a record of a relay durably. @param id SHA-256 of its body @throws files.unwritable */
  keepRecord(id: string, record: Uint8Array): void;
  /** Items of one kind; those of one agent in order of sequence. */
  items(kind: SpoolKind): SpoolItem[];
  read(item: SpoolItem): Uint8Array;
  /** The item has arrived at the next hop. */
  remove(item: SpoolItem): void;
  /** Puts an item that no next hop will ever take aside, with the reason. */
  setAside(item: SpoolItem, reason: string): void;
  counts(): Waiting;
  /** What a look at the files alone does not see. */
  unplaced(): Unplaced[];
  unplacedBytes(): number;
  /** Gives every envelope its own file, as far as there is room. */
  place(): void;
  /** Flushes the envelopes' own files and empties the journal. Happens by itself; for tests. */
  settle(): Promise<void>;
  /** Does of that what can be done in `closePlaceMs` and `closeFlushMs`; the journal keeps the rest for the next start. */
  close(): Promise<void>;
}

export interface SpoolOptions {
  /** Whether an envelope went on already, so that a journal that a kill left does not bring it back. */
  readonly wentOn?: ((bytes: Uint8Array) => boolean) | undefined;
  /** Milliseconds. */
  readonly now?: () => number;
  readonly limits?: Partial<Record<keyof typeof INBOX_LIMITS, number>>;
}

const AGENT = /^[0-9a-f]{32}$/;
const PATH = /^(?:results\/[0-9a-f]{32}\/\d{12,16}-[0-9a-f]{16,64}|enrolments\/[0-9a-f]{32}-[0-9a-f]{16,64})\.pfe$/;

/** `results/<agent>/<sequence>-<hash>.pfe`, `enrolments/<agent>-<hash>.pfe`; hash digits as many as needed to be unique. */
function nameOf(kind: EnvelopeSpoolKind, agent: string, sequence: number, hashPart: string): string {
  return kind === 'results'
    ? `results/${agent}/${String(sequence).padStart(12, '0')}-${hashPart}.pfe`
    : `enrolments/${agent}-${hashPart}.pfe`;
}

const agentOf = (path: string) => (path.startsWith('results/') ? path.slice(8, 40) : path.slice(11, 43));

/** Opens (and makes) the spool in `folder`; left-overs of writes that a kill ended are removed, the journal is taken up. */
export function openSpool(folder: string, options: SpoolOptions = {}): Spool {
  for (const kind of ['results', 'enrolments']) fs.mkdirSync(join(folder, kind), { recursive: true });
  const temporary = join(folder, '.incoming');
  fs.rmSync(temporary, { recursive: true, force: true });
  fs.mkdirSync(temporary);
  for (const place of ['records', 'enrolments', ...agentsIn(folder).map((agent) => `results/${agent}`)])
    removeTemporaries(join(folder, place));
  const journalFolder = join(folder, '.journal');
  const records = openRecordSpool(folder);
  const now = options.now ?? Date.now;
  const limits: Record<keyof typeof INBOX_LIMITS, number> = { ...INBOX_LIMITS, ...options.limits };

  /** Being flushed into the journal. */
  const coming = new Map<string, { bytes: Uint8Array; done: Promise<unknown> }>();
  const backlog = openBacklog();
  /** With a file that is not flushed yet. */
  let unsettled = new Set<string>();
  /** When the last one came, and when the journal was emptied last, monotonic milliseconds. */
  let cameAt = Number.NEGATIVE_INFINITY;
  let settledAt = performance.now();
  let placing: NodeJS.Timeout | undefined;
  let settling: NodeJS.Timeout | undefined;
  let settled: Promise<void> = Promise.resolve();

  const placed = new Set((['results', 'enrolments'] as const).flatMap((kind) => filesOf(folder, kind)));
  for (const { path, bytes, place, cameAt: came } of readJournal(journalFolder)) {
    if (!PATH.test(path) || options.wentOn?.(bytes) === true || refusedSince(folder, path, came)) continue;
    const own = placed.has(path) ? readIfThere(join(folder, path)) : undefined;
    if (own !== undefined && Buffer.compare(own, bytes) === 0) unsettled.add(path);
    else {
      if (own !== undefined) fs.rmSync(join(folder, path)); // torn: it was not flushed
      backlog.add(path, { place, cameAt: performance.now() - Math.max(0, came === undefined ? 0 : now() - came) });
    }
  }
  const journal = openJournal(journalFolder);
  if (backlog.items() > 0) placeSoon(limits.placeAfterMs);
  settleSoon();

  const quietFor = (ms: number) => performance.now() - cameAt >= ms;

  function placeSoon(ms: number): void {
    placing ??= setTimeout(placeSome, ms).unref();
  }

  function settleSoon(): void {
    settling ??= setTimeout(settleSome, limits.settleAfterMs).unref();
  }

  /** Those that did not go on meanwhile; many when nothing else comes, else a few, so that nobody waits for it. */
  function placeSome(): void {
    placing = undefined;
    const { placeAfterMs, placeAtOnce, placeWhenBusy, quietMs, settleAfterMs } = limits;
    const quiet = quietFor(quietMs);
    const ok = place(quiet ? placeAtOnce : placeWhenBusy, performance.now() - placeAfterMs);
    const [oldest] = backlog.entries();
    if (oldest === undefined) return;
    const due = oldest[1].cameAt + placeAfterMs - performance.now();
    placeSoon(ok ? Math.max(due, quiet ? 1 : quietMs) : settleAfterMs);
  }

  /**
   * Gives envelopes of the journal their own files, the oldest first. What cannot be written now stays in the journal and is
   * tried again. @param cameBefore monotonic milliseconds
   */
  function place(most = Number.POSITIVE_INFINITY, cameBefore = Number.POSITIVE_INFINITY): boolean {
    let count = 0;
    for (const [path, kept] of backlog.entries()) {
      if (count >= most || kept.cameAt > cameBefore) break;
      try {
        placeFile(temporary, join(folder, path), journal.read(kept.place));
      } catch {
        return false;
      }
      backlog.remove(path);
      unsettled.add(path);
      count += 1;
    }
    settleSoon();
    return true;
  }

  /** The journal holds all of it, so flushing the files themselves can wait for a quiet moment, but not for ever. */
  function settleSome(): void {
    settling = undefined;
    const late = performance.now() - settledAt >= limits.settleAtLatestMs || unsettled.size > limits.unsettled;
    if (!late && (backlog.items() > 0 || !quietFor(limits.settleAfterMs))) return settleSoon();
    settled = settled.then(() => empty()).catch(settleSoon); // a disk that fails: tried again
  }

  /** Drops the segments of the journal of which nothing is needed any more: it has gone on, or has its own flushed file. */
  async function empty(signal?: AbortSignal): Promise<void> {
    settledAt = performance.now();
    const segments = (await journal.rotate()).filter((name) => !backlog.needs(name));
    const paths = unsettled;
    unsettled = new Set();
    try {
      await flushFiles(folder, [...paths], signal);
    } catch (cause) {
      for (const path of paths) unsettled.add(path);
      throw cause;
    }
    journal.drop(segments);
  }

  function settle(): Promise<void> {
    const emptied = settled.then(() => {
      place();
      return empty();
    });
    settled = emptied.catch(() => undefined);
    return emptied;
  }

  /** The bytes of an envelope that is here. */
  function here(path: string): Uint8Array | undefined {
    const kept = backlog.get(path);
    return coming.get(path)?.bytes ?? (kept === undefined ? readIfThere(join(folder, path)) : journal.read(kept.place));
  }

  return {
    folder,

    async keep(kind, agent, sequence, hash, bytes) {
      if (!AGENT.test(agent)) throw new TypeError('not an agent id');
      for (const digits of [16, 64]) {
        const path = nameOf(kind, agent, sequence, hash.slice(0, digits));
        const known = here(path);
        if (known === undefined) {
          const done = journal.append({ path, bytes, cameAt: now() });
          coming.set(path, { bytes, done });
          try {
            cameAt = performance.now();
            backlog.add(path, { place: await done, cameAt });
          } finally {
            coming.delete(path);
          }
          // More than there is memory for: each that comes makes room for itself.
          if (backlog.items() > limits.backlog || backlog.bytes() > limits.backlogBytes) place(2);
          placeSoon(limits.placeAfterMs);
          return 'new';
        }
        if (Buffer.compare(known, bytes) === 0) {
          await coming.get(path)?.done; // a duplicate is told only when the first is safe
          return 'duplicate';
        }
      }
      return 'duplicate'; // the whole hash is the same, so are the bytes
    },

    holds: (kind, agent, sequence, hash, bytes) =>
      [16, 64].some((digits) => {
        const known = here(nameOf(kind, agent, sequence, hash.slice(0, digits)));
        return known !== undefined && Buffer.compare(known, bytes) === 0;
      }),

    keepRecord: records.keepRecord,

    items(kind) {
      if (kind === 'records') return records.items(kind);
      const own = [...backlog.entries()].map(([path]) => path).filter((path) => path.startsWith(kind));
      return [...new Set([...filesOf(folder, kind), ...own])].toSorted().map((path) => ({ kind, agent: agentOf(path), path }));
    },

    read: ({ path }) => {
      const kept = backlog.get(path);
      return kept === undefined ? fs.readFileSync(join(folder, path)) : journal.read(kept.place);
    },

    remove(item) {
      unsettled.delete(item.path);
      if (backlog.remove(item.path)) return settleSoon();
      fs.rmSync(join(folder, item.path), { force: true });
      if (item.kind === 'results') removeIfEmpty(dirname(join(folder, item.path)));
    },

    setAside(item, reason) {
      const path = `refused/${item.path}`;
      const file = join(folder, path);
      fs.mkdirSync(dirname(file), { recursive: true });
      fs.writeFileSync(`${file}.reason.txt`, `${reason}\n`);
      const kept = backlog.get(item.path);
      if (kept === undefined) fs.renameSync(join(folder, item.path), file);
      else placeFile(temporary, file, journal.read(kept.place));
      backlog.remove(item.path);
      unsettled.delete(item.path);
      unsettled.add(path);
      settleSoon();
    },

    counts() {
      const files = waitingIn(folder);
      const results = [...backlog.entries()].filter(([path]) => path.startsWith('results')).length;
      return { ...files, results: files.results + results, enrolments: files.enrolments + backlog.items() - results };
    },

    unplaced() {
      const [wall, monotonic] = [now(), performance.now()];
      return [...backlog.entries()].map(([path, kept]) => ({
        path,
        bytes: kept.place.length,
        at: wall - (monotonic - kept.cameAt),
      }));
    },

    unplacedBytes: () => backlog.bytes(),

    place: () => void place(),

    settle,

    async close() {
      clearTimeout(placing);
      for (const until = performance.now() + limits.closePlaceMs; backlog.items() > 0 && performance.now() < until; )
        if (!place(limits.placeWhenBusy)) break;
      const tooLong = AbortSignal.timeout(limits.closeFlushMs);
      const given = new Promise<void>((done) => tooLong.addEventListener('abort', () => done(), { once: true }));
      const emptied = settled.then(() => empty(tooLong)).catch(() => undefined); // the journal keeps what is not flushed
      settled = emptied;
      await Promise.race([emptied, given]);
      clearTimeout(settling);
      await Promise.race([journal.close(), given]);
    },
  };
}

/** The part of a spool that holds what relays say themselves: a command may use it beside a relay that runs. */
export function openRecordSpool(folder: string): Pick<Spool, 'keepRecord' | 'items'> {
  return {
    keepRecord(id, record) {
      if (!/^[0-9a-f]{64}$/.test(id)) throw new TypeError('not the id of a record');
      writeFileAtomic(join(folder, 'records', `${id}.pfr`), record, { mode: 0o640 });
    },
    items: (kind) => (kind === 'records' ? recordsIn(join(folder, kind)) : []),
  };
}

/** Paths of what has a file in an inbox folder, by kind: what would be forwarded, and no other file that came to lie there. */
export function pathsIn(folder: string): { results: string[]; enrolments: string[]; refused: string[] } {
  const refused = join(folder, 'refused');
  const aside = [
    ...filesOf(refused, 'results'),
    ...filesOf(refused, 'enrolments'),
    ...recordsIn(join(refused, 'records')).map(({ path }) => path),
  ];
  return {
    results: filesOf(folder, 'results'),
    enrolments: filesOf(folder, 'enrolments'),
    refused: aside.map((path) => `refused/${path}`),
  };
}

/** Counts them. */
export function waitingIn(folder: string): Waiting {
  const { results, enrolments, refused } = pathsIn(folder);
  return { results: results.length, enrolments: enrolments.length, refused: refused.length };
}

/** Whether an envelope that came at a moment was refused for good by the next hop afterwards. */
function refusedSince(folder: string, path: string, cameAt = 0): boolean {
  const facts = fs.statSync(join(folder, 'refused', path), { throwIfNoEntry: false });
  return facts !== undefined && facts.mtimeMs + INBOX_LIMITS.fileTickMs >= cameAt;
}

function readIfThere(file: string): Buffer | undefined {
  return fs.statSync(file, { throwIfNoEntry: false }) === undefined ? undefined : fs.readFileSync(file);
}

function recordsIn(folder: string): SpoolItem[] {
  return namesIn(folder, /^[0-9a-f]{64}\.pfr$/).map((name) => ({
    kind: 'records',
    agent: name.slice(0, 32),
    path: `records/${name}`,
  }));
}

/** Paths of envelopes that have a file, relative to the inbox folder. */
function filesOf(folder: string, kind: EnvelopeSpoolKind): string[] {
  if (kind === 'enrolments') return envelopesIn(join(folder, kind)).map((name) => `${kind}/${name}`);
  return agentsIn(folder).flatMap((agent) => envelopesIn(join(folder, kind, agent)).map((name) => `${kind}/${agent}/${name}`));
}

/** Agents of which results have files, or had. */
const agentsIn = (folder: string): string[] => namesIn(join(folder, 'results'), AGENT);

const envelopesIn = (folder: string): string[] => namesIn(folder, /^[^.].*\.pfe$/);

function namesIn(folder: string, pattern: RegExp): string[] {
  try {
    return fs
      .readdirSync(folder)
      .filter((name) => pattern.test(name))
      .toSorted();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw cause;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    fs.rmdirSync(folder);
  } catch {
    // more has come in
  }
}
