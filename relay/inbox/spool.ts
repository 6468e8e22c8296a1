// The spool: envelopes as files, in the layout that collectors read. An envelope is flushed with others into the journal before
// it is answered, gets its own file a moment later, and leaves the journal when that file is flushed too.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import { run } from '#manifests/platform/process';
import { openJournal, readJournal } from './journal.ts';
import { INBOX_LIMITS } from './limits.ts';

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
  /** Flushes the envelopes' own files and empties the journal. Happens by itself; for the end of the process and for tests. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

export interface SpoolOptions {
  /** Whether an envelope went on already, so that a journal that a kill left does not bring it back. */
  readonly wentOn?: ((agent: string, bytes: Uint8Array) => boolean) | undefined;
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
  const journalFolder = join(folder, '.journal');
  const own = openRecordSpool(folder);

  /** Being flushed into the journal; in the journal, without a file of their own; with a file that is not flushed yet. */
  const coming = new Map<string, { bytes: Uint8Array; done: Promise<void> }>();
  const unplaced = new Map<string, Uint8Array>();
  let unsettled = new Set<string>();
  let unplacedBytes = 0;
  /** When the last one came, monotonic milliseconds. */
  let cameAt = Number.NEGATIVE_INFINITY;
  let placing: NodeJS.Timeout | undefined;
  let settling: NodeJS.Timeout | undefined;

  for (const { path, bytes } of readJournal(journalFolder)) {
    if (PATH.test(path) && options.wentOn?.(agentOf(path), bytes) !== true) add(path, bytes);
  }
  const journal = openJournal(journalFolder);

  function add(path: string, bytes: Uint8Array): void {
    unplaced.set(path, bytes);
    unplacedBytes += bytes.length;
    if (unplacedBytes > INBOX_LIMITS.unplacedBytes) place(INBOX_LIMITS.placeAtOnce * 2);
    cameAt = performance.now();
    placing ??= setTimeout(placeSome, INBOX_LIMITS.placeAfterMs).unref();
  }

  const quietFor = (ms: number) => performance.now() - cameAt >= ms;

  /** While nothing else comes, and a few at a time, so that nobody waits for it. */
  function placeSome(): void {
    placing = undefined;
    const ok = !quietFor(INBOX_LIMITS.placeAfterMs) || place(INBOX_LIMITS.placeAtOnce);
    if (unplaced.size === 0) return;
    const wait = quietFor(INBOX_LIMITS.placeAfterMs) ? 1 : INBOX_LIMITS.placeAfterMs;
    placing = setTimeout(placeSome, ok ? wait : INBOX_LIMITS.settleAfterMs).unref();
  }

  /** The journal holds all of it, so flushing the files themselves can wait for a quiet moment, but not for ever. */
  function settleSome(): void {
    settling = undefined;
    if (quietFor(INBOX_LIMITS.settleAfterMs) || unsettled.size > INBOX_LIMITS.unsettled) void settle().catch(() => undefined);
    else settling = setTimeout(settleSome, INBOX_LIMITS.settleAfterMs).unref();
  }

  /** Gives envelopes of the journal their own files. What cannot be written now stays in the journal and is tried again. */
  function place(most = Number.POSITIVE_INFINITY): boolean {
    let count = 0;
    for (const [path, bytes] of unplaced) {
      if (count >= most) break;
      try {
        placeFile(temporary, join(folder, path), bytes);
      } catch {
        return false;
      }
      unplaced.delete(path);
      unplacedBytes -= bytes.length;
      unsettled.add(path);
      count += 1;
    }
    if (count > 0 && unplaced.size === 0) {
      settling ??= setTimeout(settleSome, INBOX_LIMITS.settleAfterMs).unref();
    }
    return true;
  }

  async function settle(): Promise<void> {
    clearTimeout(settling);
    settling = undefined;
    const segments = await journal.rotate();
    place();
    if (unplaced.size > 0) return; // they may be in these segments
    const paths = unsettled;
    unsettled = new Set();
    try {
      await flushFiles(folder, [...paths]);
    } catch (cause) {
      for (const path of paths) unsettled.add(path);
      throw cause;
    }
    journal.drop(segments);
  }

  const here = (path: string): Uint8Array | undefined =>
    coming.get(path)?.bytes ?? unplaced.get(path) ?? readIfThere(join(folder, path));

  return {
    folder,

    async keep(kind, agent, sequence, hash, bytes) {
      if (!AGENT.test(agent)) throw new TypeError('not an agent id');
      for (const digits of [16, 64]) {
        const path = nameOf(kind, agent, sequence, hash.slice(0, digits));
        const known = here(path);
        if (known === undefined) {
          const done = journal.append({ path, bytes });
          coming.set(path, { bytes, done });
          try {
            await done;
            add(path, bytes);
          } finally {
            coming.delete(path);
          }
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

    keepRecord: own.keepRecord,

    items(kind) {
      if (kind === 'records') return own.items(kind);
      place();
      const root = join(folder, kind);
      if (kind === 'enrolments') {
        return envelopesIn(root).map((name) => ({ kind, agent: name.slice(0, 32), path: `enrolments/${name}` }));
      }
      return fs
        .readdirSync(root)
        .filter((agent) => AGENT.test(agent))
        .toSorted()
        .flatMap((agent) => envelopesIn(join(root, agent)).map((name) => ({ kind, agent, path: `results/${agent}/${name}` })));
    },

    read: (item) => fs.readFileSync(join(folder, item.path)),

    remove(item) {
      unsettled.delete(item.path);
      fs.rmSync(join(folder, item.path), { force: true });
      if (item.kind === 'results') removeIfEmpty(dirname(join(folder, item.path)));
    },

    setAside(item, reason) {
      const place = join(folder, 'refused', item.path);
      fs.mkdirSync(dirname(place), { recursive: true });
      fs.writeFileSync(`${place}.reason.txt`, `${reason}\n`);
      fs.renameSync(join(folder, item.path), place);
      unsettled.delete(item.path);
    },

    counts() {
      place();
      return waitingIn(folder);
    },

    settle,

    async close() {
      await settle();
      clearTimeout(placing);
      clearTimeout(settling);
      await journal.close();
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

/** Counts what is in an inbox folder, without touching it. */
export function waitingIn(folder: string): Waiting {
  const count = (part: string) =>
    fs.existsSync(join(folder, part))
      ? fs.readdirSync(join(folder, part), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pfe')).length
      : 0;
  return { results: count('results'), enrolments: count('enrolments'), refused: count('refused') };
}

const temporaryIn = (folder: string) => join(folder, `.tmp-${randomBytes(9).toString('hex')}`);

/** Writes a file under a temporary name and gives it its own; flushed later. */
function placeFile(temporaryFolder: string, file: string, bytes: Uint8Array): void {
  const temporary = temporaryIn(temporaryFolder);
  try {
    fs.writeFileSync(temporary, bytes, { flag: 'wx', mode: 0o640 });
    try {
      fs.renameSync(temporary, file);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      fs.mkdirSync(dirname(file), { recursive: true });
      fs.renameSync(temporary, file);
    }
  } catch (cause) {
    fs.rmSync(temporary, { force: true });
    throw cause;
  }
}

/** Flushes files and the folders they lie in; those that are gone need none. Many at once are one call to the system. */
async function flushFiles(root: string, paths: readonly string[]): Promise<void> {
  if (paths.length > INBOX_LIMITS.flushOneByOne && process.platform === 'linux') {
    const all = await run('sync', ['-f', root], { timeoutMs: INBOX_LIMITS.flushMs }).catch(() => undefined);
    if (all?.code === 0) return;
  }
  const folders = new Set<string>();
  for (const path of paths) {
    try {
      const handle = await fs.promises.open(join(root, path), 'r');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause; // it went on meanwhile
      continue;
    }
    for (let up = dirname(path); up !== '.'; up = dirname(up)) folders.add(up);
    folders.add('');
  }
  for (const path of folders) await flushFolder(join(root, path));
}

/**
 * Writes bytes under a temporary name, flushes them, gives them their name and flushes every folder that got a new entry.
 * Asynchronous, so that a disk that flushes slowly does not hold up other requests.
 */
export async function placeDurably(temporaryFolder: string, file: string, bytes: Uint8Array, root: string): Promise<void> {
  const temporary = temporaryIn(temporaryFolder);
  try {
    const handle = await fs.promises.open(temporary, 'wx', 0o640);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const parent = dirname(file);
    const made = await fs.promises.mkdir(parent, { recursive: true });
    await fs.promises.rename(temporary, file);
    await flushFolder(parent);
    if (made !== undefined) for (let up = parent; up.length > root.length; up = dirname(up)) await flushFolder(dirname(up));
  } catch (cause) {
    await fs.promises.rm(temporary, { force: true });
    throw cause;
  }
}

async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return; // NTFS journals the rename itself
  let handle: fs.promises.FileHandle;
  try {
    handle = await fs.promises.open(folder, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return; // emptied and removed meanwhile
    throw cause;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
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
