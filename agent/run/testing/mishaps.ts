// For tests: the fake host with files, capabilities and half-done acts, and mishaps that strike in the middle of what a state
// does. What is half done when the process dies stays half done, as it would on a disk.
import { defineFaults, EXIT } from '#manifests/errors';
import type { Group } from '#manifests/schema';
import type { PackageSystem } from '../../packages/index.ts';
import type { WayBack } from '../../snapshot/index.ts';
import type { Ended } from '../ending.ts';
import { beginRun, type RunEnd, takeUp } from '../engine.ts';
import type { RunBook } from '../runs.ts';
import type { State } from '../states.ts';
import type { Hands } from '../world.ts';
import { type FakeHost, makeFakeHost } from './fake-host.ts';

/** States of a run that every host can come to; those of a whole root have a table of their own (root.test.ts). */
export type RunState = Exclude<State, 'Idle' | 'Sync' | 'Evaluate' | 'Wait' | 'RootSwitch' | 'RootVerify'>;

export const MISHAPS = [
  'kill -9',
  'power cut',
  'failing command',
  'hanging command',
  'disk full',
  'state folder full',
  'network gone',
  'clock forward',
  'clock back',
] as const;
export type Mishap = (typeof MISHAPS)[number];

const HOUR_MS = 3_600_000;

const fault = defineFaults('transfer', { 'test-gone': { exit: EXIT.unreachable, next: 'Only a test says this.' } });
const command = defineFaults('process', { 'test-failed': { exit: EXIT.findings, next: 'Only a test says this.' } });

/** Stands for the end of the process: nothing after it is done. */
class Death extends Error {}

const noSpace = () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
const journalFull = () => Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 });

export interface FragileHost {
  readonly fake: FakeHost;
  /** Path -> content and capabilities, as the package's new and old version have them. */
  readonly files: Map<string, string>;
  /** Way backs that were begun and are neither whole nor gone. */
  readonly halfTaken: Set<string>;
  /** Arranges that it happens once, in the middle of this state. @returns whether it has */
  strike(state: RunState, mishap: Mishap): () => boolean;
  /** Begins a run and starts the agent again after each death, boots the host when it was told to reboot. */
  untilEnded(): Promise<{ ended: Ended; starts: number }>;
}

const OLD = new Map([
  ['/usr/bin/foo', '1.0 cap_net_raw=ep'],
  ['/usr/lib/libfoo.so.1', '1.0'],
  ['/etc/foo.conf', 'as its owner edited it'],
]);
const PATCHED = new Map([
  ['/usr/bin/foo', '2.0 cap_net_raw=ep'],
  ['/usr/lib/libfoo.so.1', '2.0'],
  ['/usr/share/foo/new', '2.0'],
  ['/etc/foo.conf', 'as its owner edited it'],
]);

/** The files of the host before a run and after one that was committed. */
export const FILES = { before: OLD, patched: PATCHED } as const;

export function makeFragileHost(journalFile: string, group: Partial<Group> = {}): FragileHost {
  const fake = makeFakeHost(journalFile, group);
  const files = new Map(OLD);
  const halfTaken = new Set<string>();
  const copies = new Map<string, Map<string, string>>();
  let half = false;
  let state: RunState | undefined;
  let wall = 0;
  let gone = false;
  let full = false;
  let pending: { state: RunState; mishap: Mishap } | undefined;

  let die: (death: Death) => void = () => undefined;
  const act: Readonly<Record<Mishap, () => void>> = {
    'kill -9': () => {
      throw new Death();
    },
    'power cut': () => {
      fake.boot += 1;
      throw new Death();
    },
    'failing command': () => {
      throw command('test-failed', 'dpkg ended with 2');
    },
    'hanging command': () => {
      throw command('test-failed', 'dpkg did not end within 3600000 ms');
    },
    'disk full': () => {
      throw noSpace();
    },
    'state folder full': () => {
      full = true;
    },
    'network gone': () => {
      gone = true;
      if (state === 'Stage') throw fault('test-gone', 'no relay answers');
    },
    'clock forward': () => {
      fake.now += 26 * HOUR_MS;
    },
    'clock back': () => {
      wall -= 26 * HOUR_MS;
    },
  };
  const middle = () => {
    if (pending === undefined || pending.state !== state) return;
    const { mishap } = pending;
    pending = undefined;
    act[mishap]();
  };
  /** The same inside a command of the host: a dead process does not see its own death, it just never goes on. */
  const inside = async () => {
    try {
      middle();
    } catch (error) {
      if (!(error instanceof Death)) throw error;
      die(error);
      await new Promise(() => undefined);
    }
  };
  fake.failPoint = (name) => {
    const [place = '', when] = name.split('.');
    if (when === 'entered') state = place as RunState;
    // the end of a run has no command of its own: its middle is the moment before the transaction
    if (name === 'result.before') middle();
  };

  const { hands, journal } = fake.world;
  const { deb } = hands.systems;
  const [way] = hands.ways;
  if (way === undefined) throw new TypeError('the fake host has a way back');
  const replace = (from: ReadonlyMap<string, string>) => {
    files.clear();
    for (const [path, content] of from) files.set(path, content);
  };
  // as they were: the fake's own methods, called on copies of what they belong to
  const [system, ways, own] = [{ ...deb }, { ...way }, { ...hands }];
  Object.assign(deb, {
    plan: wrap((...args: Parameters<PackageSystem['plan']>) => system.plan(...args), inside),
    precheck: wrap((...args: Parameters<PackageSystem['precheck']>) => system.precheck(...args), inside),
    install: wrap(
      (...args: Parameters<PackageSystem['install']>) => system.install(...args),
      () => {
        // unpacked, not configured: capabilities are not set yet
        half = true;
        fake.packages.set('foo:amd64', '2.0');
        files.set('/usr/bin/foo', '2.0');
        files.set('/usr/share/foo/new', '2.0');
        return inside();
      },
      () => {
        half = false;
        replace(PATCHED);
      },
    ),
    repair: async () => {
      half = false;
      return { ok: true, says: 'configured' };
    },
    audit: async () => (half ? ['foo is half configured'] : []),
  });
  Object.assign(way, {
    take: wrap(
      (...args: Parameters<WayBack['take']>) => ways.take(...args),
      () => {
        halfTaken.add('taking');
        return inside();
      },
      () => {
        halfTaken.clear();
        copies.set('kept', new Map(files));
      },
    ),
    restore: wrap(
      (...args: Parameters<WayBack['restore']>) => ways.restore(...args),
      () => {
        files.delete('/usr/share/foo/new');
        files.set('/usr/bin/foo', '1.0');
        return inside();
      },
      () => {
        half = false;
        replace(copies.get('kept') ?? new Map());
      },
    ),
    discard: wrap(
      (...args: Parameters<WayBack['discard']>) => ways.discard(...args),
      async () => halfTaken.clear(),
    ),
  });
  Object.assign(hands, {
    checkHealth: wrap(
      (...args: Parameters<Hands['checkHealth']>) => own.checkHealth(...args),
      async () => {
        if (state === 'Verify') await inside();
      },
    ),
    reboot: wrap((...args: Parameters<Hands['reboot']>) => own.reboot(...args), inside),
  });
  const runs: RunBook = { ...journal.runs };
  const room = () => {
    if (full) throw journalFull();
  };
  const guarded: Partial<RunBook> = {
    enter: (...args) => (room(), runs.enter(...args)),
    save: (...args) => (room(), runs.save(...args)),
    takeUp: (...args) => (room(), runs.takeUp(...args)),
    finish: (...args) => (room(), runs.finish(...args)),
  };
  Object.assign(journal.runs, guarded);
  Object.assign(fake.world, {
    clock: { now: () => fake.now + wall, monotonic: () => fake.now },
    fetchPayloads: async () => {
      if (gone) throw fault('test-gone', 'no relay answers');
    },
  });

  return {
    fake,
    files,
    halfTaken,
    strike(where, mishap) {
      pending = { state: where, mishap };
      return () => pending === undefined;
    },
    async untilEnded() {
      const inventory = fake.inventory();
      const request = { evaluation: fake.evaluation(), inventory, group: fake.group, catalogs: [], trail: [] };
      for (let starts = 1; starts < 12; starts += 1) {
        if (starts === 3) full = false; // the first start after it finds the disk still full
        let end: RunEnd | undefined;
        try {
          const death = new Promise<never>((_resolve, reject) => {
            die = reject;
          });
          const work = starts === 1 ? beginRun(request, fake.world) : takeUp(fake.world);
          end = await Promise.race([work, death]);
        } catch {
          continue; // the process is gone; the next one takes the run up
        }
        if (end?.kind === 'ended') return { ended: end, starts };
        if (end?.kind === 'rebooting') fake.boot += 1;
        if (fake.acts.includes('reboot') && fake.faults.health === 'ok') fake.rebootEvidence = [];
      }
      throw new Error('the run never ends');
    },
  };
}

/** The same act with something done before it, and after it when it succeeded. */
function wrap<Args extends unknown[], Result>(
  inner: (...args: Args) => Promise<Result>,
  before: () => Promise<unknown>,
  after: () => void = () => undefined,
): (...args: Args) => Promise<Result> {
  return async (...args) => {
    await before();
    const result = await inner(...args);
    after();
    return result;
  };
}
