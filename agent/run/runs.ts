// Runs in the journal: the open one (there is at most one) with all it needs to go on after a kill, the finished ones, and
// what the host remembers of them.
import type { DatabaseSync } from 'node:sqlite';
import type { BlockedPackage, Lane } from '#manifests/decide';
import type { FixRecord, Group, Hook, InstalledPackage, Inventory, PrecheckRecord, RunBody } from '#manifests/schema';
import type { InstallItem, InstallPlan, SystemFormat } from '../packages/index.ts';
import type { RootPair, WayBack } from '../snapshot/index.ts';
import { fault, RUN_LIMITS } from './limits.ts';
import type { ResultBook, ResultStamp } from './results.ts';
import type { State } from './states.ts';

export type HookRecord = NonNullable<RunBody['hooks']>[number];

export interface RunError {
  readonly code: string;
  readonly message: string;
  readonly where: string | null;
}

/** The host as a run found it: what a rollback has to bring back. */
interface HostBefore {
  /** `name:arch` -> version. */
  readonly packages: Readonly<Record<string, string>>;
  readonly components: Readonly<Record<string, string>>;
  readonly kernels: Inventory['kernels'];
  readonly digest: string;
  readonly boot: string;
}

interface TakenWay {
  readonly kind: WayBack['kind'];
  readonly id: string;
  readonly says: string;
  /** Which of the plans it takes back. */
  readonly formats: readonly SystemFormat[];
}

/** All that a run has to know after a kill. Plain JSON with a version. */
export interface RunData {
  version: 1;
  /** SHA-256 over the patches and packages of the set: how it is remembered. */
  digest: string;
  patches: string[];
  items: InstallItem[];
  /** The signed group the run was begun under. */
  group: Group | null;
  /** SHA-256 of the catalog documents the plans were made from. */
  catalogs: string[];
  /** What an installation may not bring in, not even as a dependency. */
  blocked: BlockedPackage[];
  before: HostBefore;
  plans: InstallPlan[];
  /** Formats whose plan is installed. */
  installed: SystemFormat[];
  /** Formats that were not begun, because no time was left in the window. */
  leftOut: SystemFormat[];
  ways: TakenWay[];
  waySays: string | null;
  health: { name: string; healthy: boolean; says: string }[];
  error: RunError | null;
  /** Whether anything of the host may have been changed. */
  touched: boolean;
  /** Boot id from which a reboot was asked for. */
  rebootFrom: string | null;
  rebooted: boolean;
  rollback: 'none' | 'done' | 'failed';
  /** The earlier run that the owner takes back, or whose reboot is made now: its id. */
  undoes: string | null;
  /** Of the group and the site. Journals of earlier versions have none of these three. */
  hooks?: Hook[];
  hookRecords?: HookRecord[];
  /** By what right it goes in; runs of earlier versions, and reboots that are owed, go by the ordinary windows. */
  lane?: Lane;
  /** What was looked at before the installation, and what was put right. */
  prechecks?: PrecheckRecord[];
  fixes?: FixRecord[];
  /** Services that were restarted. */
  restarted?: string[];
  /** How far the installation of each plan has come, batch by batch; journals of earlier versions have none. */
  batches?: BatchWork[];
  /** The whole root that is put back at the next boot, and how far that has come; journals of earlier versions have none. */
  root?: RootWork;
  /** Patches that failed here in an earlier run: each is tried alone, before the others. */
  suspects?: string[];
  /** Of these, the ones whose pause is not over: not part of this run. */
  resting?: string[];
}

/** Written down before each step. */
export interface RootWork {
  /**
   * `asked` nothing is made yet; `making` a root may be half made; `switched` it is carried over and switched to, as far as the
   * running and the next root say; `back` the same the other way round, because the check failed; `given-up` in place instead.
   */
  phase: 'asked' | 'making' | 'switched' | 'back' | 'given-up';
  /** The way back that becomes the root. */
  readonly kind: WayBack['kind'];
  readonly id: string;
  pair: RootPair | null;
  /** Times it was begun. */
  tries: number;
  /** Why it is switched back or given up. */
  why: string | null;
}

/** A plan in batches of patches. Written down before each batch begins. */
export interface BatchWork {
  readonly format: SystemFormat;
  /** Patches of each batch that is still to come; the first may have begun. */
  queue: string[][];
  done: string[];
  /** Patches that cannot be installed on this host, while others of the set can. */
  failed: { patch: string; code: string; message: string }[];
  /** Patches for which no time was left in the window. */
  leftOut: string[];
  /** A batch failed and the host is being put back; the queue begins again from there. */
  restoring: boolean;
  /** Batches that failed so far. */
  failures: number;
}

export interface RunRow {
  readonly id: string;
  readonly started: string;
  readonly state: State;
  /** Times it was taken up again. */
  readonly resumed: number;
  /** Times it died in the state it is in. */
  readonly deaths: number;
  readonly data: RunData;
  readonly finished: string | null;
  readonly outcome: RunBody['outcome'] | null;
  readonly body: RunBody | null;
}

export interface RunStep {
  readonly state: string;
  readonly at: string;
  readonly says: string;
}

/** What the host remembers once a run has ended. Written together with its end. */
export interface RunMemory {
  readonly installed?: { readonly patches: readonly string[]; readonly boot: string; readonly rebootNeeded: boolean };
  readonly failed?: { readonly patches: readonly string[]; readonly at: number; readonly code: string };
  readonly rolledBack?: readonly { readonly digest: string; readonly patches: readonly string[]; readonly at: number }[];
}

export interface RunBook {
  /** The run that has not ended, if any. */
  open(): RunRow | undefined;
  get(id: string): RunRow | undefined;
  /** Newest first. */
  history(limit: number): RunRow[];
  steps(id: string): RunStep[];
  begin(id: string, started: string, trail: readonly RunStep[], state: State, data: RunData): void;
  /** On disk before the state's act: leaves the state before with what it came to, enters this one. */
  enter(id: string, state: State, at: string, leavingSays: string, data: RunData): void;
  /** Notes that the run is taken up again; gives how often it has died in its state. */
  takeUp(id: string): number;
  save(id: string, data: RunData): void;
  /** The end of the run, its result and what is remembered of it: all or nothing. @returns the result's sequence */
  finish(id: string, says: string, body: (steps: RunStep[]) => RunBody, memory: RunMemory, stamp: ResultStamp): number;
  memory(): {
    installedByUs: { patch: string; boot: string; rebootNeeded: boolean }[];
    failed: { patch: string; at: number; code: string }[];
    rolledBack: { patches: string[]; digest: string; at: number }[];
  };
  /** The owner wants it tried again: forgets failures and rolled-back sets. */
  forget(): void;
  /** Lets go of boots that are over: what was installed then has been started with. */
  forgetOtherBoots(boot: string): void;
}

interface Shared {
  readonly atomically: <T>(act: () => T) => T;
  readonly results: ResultBook;
}

export function runBook(database: DatabaseSync, { atomically, results }: Shared): RunBook {
  const columns = 'SELECT id, started, state, resumed, deaths, data, finished, outcome, body FROM runs';
  const openRun = database.prepare(`${columns} WHERE finished IS NULL`);
  const oneRun = database.prepare(`${columns} WHERE id = ?`);
  const recent = database.prepare(`${columns} ORDER BY rowid DESC LIMIT ?`);
  const insert = database.prepare('INSERT INTO runs (id, started, state, data) VALUES (?, ?, ?, ?)');
  const update = database.prepare(
    'UPDATE runs SET state = ?, data = ?, deaths = CASE WHEN state = ? THEN deaths ELSE 0 END WHERE id = ?',
  );
  const saveData = database.prepare('UPDATE runs SET data = ? WHERE id = ?');
  const died = database.prepare('UPDATE runs SET resumed = resumed + 1, deaths = deaths + 1 WHERE id = ?');
  const end = database.prepare('UPDATE runs SET finished = ?, outcome = ?, body = ? WHERE id = ?');
  const stepsOf = database.prepare('SELECT state, at, says FROM steps WHERE run = ? ORDER BY n');
  const addStep = database.prepare(
    'INSERT INTO steps (run, n, state, at, says) VALUES (?, (SELECT coalesce(max(n), 0) + 1 FROM steps WHERE run = ?), ?, ?, ?)',
  );
  const sayStep = database.prepare('UPDATE steps SET says = ? WHERE run = ? AND n = (SELECT max(n) FROM steps WHERE run = ?)');
  const oldRuns = database.prepare(
    `DELETE FROM runs WHERE finished IS NOT NULL AND rowid NOT IN (SELECT rowid FROM runs ORDER BY rowid DESC LIMIT ?)
     AND id NOT IN (SELECT run FROM ways WHERE gone IS NULL)`,
  );
  const putInstalled = database.prepare('INSERT OR REPLACE INTO installed (patch, boot, reboot) VALUES (?, ?, ?)');
  const putFailed = database.prepare('INSERT OR REPLACE INTO failed (patch, at, code) VALUES (?, ?, ?)');
  const dropFailed = database.prepare('DELETE FROM failed WHERE patch = ?');
  const putRolledBack = database.prepare('INSERT OR REPLACE INTO rolled_back (digest, patches, at) VALUES (?, ?, ?)');

  const steps = (id: string) => stepsOf.all(id) as unknown as RunStep[];
  return {
    open: () => readRow(openRun.get()),
    get: (id) => readRow(oneRun.get(id)),
    history: (limit) => recent.all(limit).flatMap((row) => readRow(row) ?? []),
    steps,
    begin: (id, started, trail, state, data) =>
      atomically(() => {
        insert.run(id, started, state, JSON.stringify(data));
        for (const step of trail) addStep.run(id, id, step.state, step.at, oneLine(step.says));
        addStep.run(id, id, state, started, '');
      }),
    enter: (id, state, at, leavingSays, data) =>
      atomically(() => {
        sayStep.run(oneLine(leavingSays), id, id);
        update.run(state, JSON.stringify(data), state, id);
        addStep.run(id, id, state, at, '');
      }),
    takeUp(id) {
      died.run(id);
      return readRow(oneRun.get(id))?.deaths ?? 0;
    },
    save: (id, data) => void saveData.run(JSON.stringify(data), id),
    finish: (id, says, body, memory, stamp) =>
      atomically(() => {
        sayStep.run(oneLine(says), id, id);
        const written = body(steps(id));
        for (const patch of memory.installed?.patches ?? []) {
          putInstalled.run(patch, memory.installed?.boot ?? '', memory.installed?.rebootNeeded === true ? 1 : 0);
          dropFailed.run(patch);
        }
        for (const patch of memory.failed?.patches ?? [])
          putFailed.run(patch, memory.failed?.at ?? 0, memory.failed?.code ?? '');
        for (const { digest, patches, at } of memory.rolledBack ?? []) putRolledBack.run(digest, JSON.stringify(patches), at);
        end.run(written.finished, written.outcome, JSON.stringify(written), id);
        oldRuns.run(RUN_LIMITS.keptRuns);
        return results.append('run', written, stamp);
      }),
    memory: () => ({
      installedByUs: (
        database.prepare('SELECT patch, boot, reboot FROM installed ORDER BY patch').all() as unknown as {
          patch: string;
          boot: string;
          reboot: number;
        }[]
      ).map(({ patch, boot, reboot }) => ({ patch, boot, rebootNeeded: reboot === 1 })),
      failed: database.prepare('SELECT patch, at, code FROM failed ORDER BY patch').all() as unknown as {
        patch: string;
        at: number;
        code: string;
      }[],
      rolledBack: (
        database.prepare('SELECT digest, patches, at FROM rolled_back ORDER BY digest').all() as unknown as {
          digest: string;
          patches: string;
          at: number;
        }[]
      ).map((row) => ({ digest: row.digest, at: row.at, patches: JSON.parse(row.patches) as string[] })),
    }),
    forget: () =>
      atomically(() => {
        database.exec('DELETE FROM failed; DELETE FROM rolled_back');
      }),
    forgetOtherBoots: (boot) => void database.prepare('DELETE FROM installed WHERE boot <> ?').run(boot),
  };
}

function readRow(row: unknown): RunRow | undefined {
  if (row === undefined) return undefined;
  const raw = row as Omit<RunRow, 'data' | 'body'> & { data: string; body: string | null };
  const data = JSON.parse(raw.data) as RunData;
  if (data.version !== 1) throw fault('newer-journal', `run ${raw.id} was written by a newer patchferry`, { where: raw.id });
  return { ...raw, data, body: raw.body === null ? null : (JSON.parse(raw.body) as RunBody) };
}

/** A step's remark fits the result's schema: one line, bounded, no control characters. */
export function oneLine(text: string, limit = 480): string {
  const clean = text
    .toWellFormed()
    .replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .trim();
  return clean.length > limit ? `${clean.slice(0, limit - 1)}…` : clean;
}

/** As `oneLine`, but newlines and tabs stay. */
export function cleanText(text: string, limit: number = RUN_LIMITS.message): string {
  const clean = text
    .toWellFormed()
    .replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]+/g, ' ')
    .trim();
  return clean.length > limit ? `…${clean.slice(clean.length - limit + 1).toWellFormed()}` : clean;
}

/** Installed packages by `name:arch`. */
export function versionsOf(packages: readonly InstalledPackage[]): Record<string, string> {
  return Object.fromEntries(packages.map(({ name, arch, version }) => [`${name}:${arch}`, version]));
}
