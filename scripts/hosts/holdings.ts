// What labs and test networks hold of this machine beyond their own process: noted before it is made, one file a holder. The next
// one that opens clears what holders left behind that were killed. Everything it clears has a name that chance gave it, or a
// process id together with the start time that belongs to it.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import type { Lock } from '#manifests/platform/lock';
import { run } from '#manifests/platform/process';
import { waitForTurn } from '../setup/turns.ts';

const COMMAND_MS = 60_000;
/** How long what was killed may take to be gone. */
const GONE_MS = 20_000;

/** In the order in which they are given back. */
const KINDS = ['machines', 'namespaces', 'links', 'mounts', 'folders'] as const;
/** Machines are processes (`nameOf`) that run a whole host or a service; the rest are names and paths. */
export type Held = (typeof KINDS)[number];

export const REGISTER = '/run/patchferry-labs';

/** How long one may wait for another that clears up or makes a network. */
const TURN_MS = 600_000;

/** Held while a free address range is looked for and taken: of two labs at once each finds one of its own. */
export const networkTurn = (): Promise<Lock> => waitForTurn(join(REGISTER, '.network.lock'), 'making a network', TURN_MS);

export class Holdings {
  readonly #file: string;
  readonly #held = new Map<Held, Set<string>>(KINDS.map((kind) => [kind, new Set<string>()]));

  private constructor(file: string) {
    this.#file = file;
  }

  /** A register of our own, after what dead holders left is cleared. */
  static async open(register = REGISTER): Promise<Holdings> {
    fs.mkdirSync(register, { recursive: true });
    await clearAbandoned(register);
    const holdings = new Holdings(join(register, `${randomBytes(4).toString('hex')}.json`));
    holdings.#write();
    return holdings;
  }

  /** Notes something; to be called before it is made. */
  add(kind: Held, name: string): void {
    this.#held.get(kind)?.add(name);
    this.#write();
  }

  /** It was given back. */
  drop(kind: Held, name: string): void {
    this.#held.get(kind)?.delete(name);
    this.#write();
  }

  /** Gives back what is still held, and the note. Never throws; may be called twice. */
  async close(): Promise<void> {
    const given = await giveBack(Object.fromEntries([...this.#held].map(([kind, names]) => [kind, [...names]])));
    for (const names of this.#held.values()) names.clear();
    if (given) fs.rmSync(this.#file, { force: true });
  }

  #write(): void {
    const held = Object.fromEntries([...this.#held].map(([kind, names]) => [kind, [...names]]));
    writeFileAtomic(this.#file, `${JSON.stringify({ holder: nameOf(process.pid), ...held })}\n`);
  }
}

type Note = Partial<Record<Held, readonly string[]>>;

/** Process id and start time (clock ticks since boot): no later process has both. Of one that is gone only the id. */
export function nameOf(pid: number): string {
  return `${pid} ${startOf(pid) ?? ''}`;
}

/** proc(5), /proc/pid/stat, field 22; the name of the program, field 2, may hold blanks and brackets. A zombie is gone. */
function startOf(pid: number): string | undefined {
  try {
    const fields = fs
      .readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** The process id of a name, while that process is there. */
function alive(name: string): number | undefined {
  const [pid = '', start = ''] = name.split(' ');
  return start !== '' && startOf(Number(pid)) === start ? Number(pid) : undefined;
}

/** While it is held nothing is cleared by anybody. */
export const clearingTurn = (register = REGISTER): Promise<Lock> =>
  waitForTurn(join(register, '.clearing.lock'), 'clearing up after labs', TURN_MS);

async function clearAbandoned(register: string): Promise<void> {
  const turn = await clearingTurn(register);
  try {
    await clear(register);
  } finally {
    turn.release();
  }
}

async function clear(register: string): Promise<void> {
  const abandoned = fs
    .readdirSync(register)
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) => {
      const file = join(register, name);
      try {
        return [{ file, note: JSON.parse(fs.readFileSync(file, 'utf8')) as Note & { readonly holder: string } }];
      } catch {
        return []; // its holder has just given everything back
      }
    })
    .filter(({ note }) => alive(note.holder) === undefined);
  // One process may have left several notes, with a mount of one in a folder of the other: all of a kind go before the next kind.
  const all = KINDS.map((kind) => [kind, abandoned.flatMap(({ note }) => note[kind] ?? [])] as const);
  if (await giveBack(Object.fromEntries(all))) for (const { file } of abandoned) fs.rmSync(file, { force: true });
}

/** @returns whether everything is gone; a folder that something still keeps busy is not, and left to the next one */
async function giveBack(note: Note): Promise<boolean> {
  const { machines = [], namespaces = [], links = [], mounts = [], folders = [] } = note;
  for (const name of machines) await stopMachine(name);
  for (const name of namespaces) {
    if (!fs.existsSync(`/run/netns/${name}`)) continue;
    const { stdout } = await run('ip', ['netns', 'pids', name], { timeoutMs: COMMAND_MS });
    await end(stdout.split('\n').flatMap((pid) => (pid === '' ? [] : [nameOf(Number(pid))])));
    await run('ip', ['netns', 'delete', name], { timeoutMs: COMMAND_MS });
  }
  for (const name of links)
    if (fs.existsSync(`/sys/class/net/${name}`)) await run('ip', ['link', 'delete', name], { timeoutMs: COMMAND_MS });
  for (const path of mounts) await unmount(path);
  let gone = true;
  for (const path of folders) {
    try {
      fs.rmSync(path, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      gone = false;
    }
  }
  return gone;
}

/** Ends nspawn and the host's PID 1, with which the kernel ends all else in the host; waits until both are gone. */
export async function stopMachine(name: string): Promise<void> {
  const pid = alive(name);
  if (pid === undefined) return;
  const init = childOf(pid);
  await end([...(init === undefined ? [] : [nameOf(init)]), name]);
}

/** First child of a process: of nspawn, the host's PID 1. */
export function childOf(pid: number): number | undefined {
  try {
    const first = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0];
    return first === undefined || first === '' ? undefined : Number(first);
  } catch {
    return undefined;
  }
}

async function end(names: readonly string[]): Promise<void> {
  for (const name of names) {
    try {
      const pid = alive(name);
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    } catch {
      // gone just now
    }
  }
  const until = performance.now() + GONE_MS;
  while (names.some((name) => alive(name) !== undefined) && performance.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

async function unmount(path: string): Promise<void> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (!fs.readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} `)) return;
    const last = attempt === 9;
    await run('umount', last ? ['--lazy', path] : [path], { timeoutMs: COMMAND_MS });
    if (!last) await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
