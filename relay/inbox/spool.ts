// The spool: envelopes as files, in the layout that collectors read. A file has its name only when it is wholly on disk.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';

export type SpoolKind = 'results' | 'enrolments';

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
  /** Writes an envelope durably; `duplicate` when exactly these bytes are here. A fork gets a name of its own. */
  keep(kind: SpoolKind, agent: string, sequence: number, hash: string, bytes: Uint8Array): Promise<'new' | 'duplicate'>;
  /** Items of one kind; those of one agent in order of sequence. */
  items(kind: SpoolKind): SpoolItem[];
  read(item: SpoolItem): Uint8Array;
  /** The item has arrived at the next hop. */
  remove(item: SpoolItem): void;
  /** Puts an item that no next hop will ever take aside, with the reason. */
  setAside(item: SpoolItem, reason: string): void;
  counts(): Waiting;
}

const AGENT = /^[0-9a-f]{32}$/;

/** `results/<agent>/<sequence>-<hash>.pfe`, `enrolments/<agent>-<hash>.pfe`; hash digits as many as needed to be unique. */
function nameOf(kind: SpoolKind, agent: string, sequence: number, hashPart: string): string {
  return kind === 'results'
    ? `results/${agent}/${String(sequence).padStart(12, '0')}-${hashPart}.pfe`
    : `enrolments/${agent}-${hashPart}.pfe`;
}

/** Opens (and makes) the spool in `folder`; left-overs of writes that a kill ended are removed. */
export function openSpool(folder: string): Spool {
  for (const kind of ['results', 'enrolments']) fs.mkdirSync(join(folder, kind), { recursive: true });
  const temporary = join(folder, '.incoming');
  fs.rmSync(temporary, { recursive: true, force: true });
  fs.mkdirSync(temporary);

  return {
    folder,

    async keep(kind, agent, sequence, hash, bytes) {
      if (!AGENT.test(agent)) throw new TypeError('not an agent id');
      for (const digits of [16, 64]) {
        const file = join(folder, nameOf(kind, agent, sequence, hash.slice(0, digits)));
        const here = await readIfThere(file);
        if (here === undefined) {
          await placeDurably(temporary, file, bytes, folder);
          return 'new';
        }
        if (here.equals(bytes)) return 'duplicate';
      }
      return 'duplicate'; // the whole hash is the same, so are the bytes
    },

    items(kind) {
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
      fs.rmSync(join(folder, item.path), { force: true });
      if (item.kind === 'results') removeIfEmpty(dirname(join(folder, item.path)));
    },

    setAside(item, reason) {
      const place = join(folder, 'refused', item.path);
      fs.mkdirSync(dirname(place), { recursive: true });
      fs.writeFileSync(`${place}.reason.txt`, `${reason}\n`);
      fs.renameSync(join(folder, item.path), place);
    },

    counts: () => waitingIn(folder),
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

/**
 * Writes bytes under a temporary name, flushes them, gives them their name and flushes every folder that got a new entry.
 * Asynchronous, so that a disk that flushes slowly does not hold up other requests.
 */
export async function placeDurably(temporaryFolder: string, file: string, bytes: Uint8Array, root: string): Promise<void> {
  const temporary = join(temporaryFolder, `.tmp-${randomBytes(9).toString('hex')}`);
  try {
    const handle = await fs.promises.open(temporary, 'wx', 0o640);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const parent = dirname(file);
    for (let tries = 1; ; tries += 1) {
      const made = await fs.promises.mkdir(parent, { recursive: true });
      try {
        await fs.promises.rename(temporary, file);
      } catch (cause) {
        // An emptied folder may be removed between the two steps by the forwarder.
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && tries < 5) continue;
        throw cause;
      }
      await flushFolder(parent);
      if (made !== undefined) for (let up = parent; up.length > root.length; up = dirname(up)) await flushFolder(dirname(up));
      return;
    }
  } catch (cause) {
    await fs.promises.rm(temporary, { force: true });
    throw cause;
  }
}

async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return; // NTFS journals the rename itself
  const handle = await fs.promises.open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await fs.promises.readFile(file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}

function envelopesIn(folder: string): string[] {
  try {
    return fs
      .readdirSync(folder)
      .filter((name) => name.endsWith('.pfe') && !name.startsWith('.'))
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
