// For tests: a fake host with two roots, each with packages and a journal of its own, a boot that takes the one that is next, and
// deaths at any fail point after which nothing more is written.
import * as fs from 'node:fs';
import type { Group } from '#manifests/schema';
import type { RootPair, WholeRoot } from '../../snapshot/index.ts';
import { type RunEnd, takeUp } from '../engine.ts';
import { openJournal } from '../journal.ts';
import { type FakeHost, makeFakeHost, START } from './fake-host.ts';

/** Stands for the end of the process. */
class Death extends Error {}

type Name = 'old' | 'new';

export interface FakeRoots {
  readonly fake: FakeHost;
  runs: Name;
  next: Name;
  /** The boot loader takes the old one whatever it is told. */
  deaf: boolean;
  /** Why the whole root is not possible. */
  obstacle: string | null;
  /** Roots that were removed. */
  readonly gone: string[];
  boot(): void;
  /** Dies at this point, once. */
  dieAt(point: string): void;
  /** Does it and starts the agent again after each death, by a new boot where that is told; boots whenever the run waits for that. */
  untilEnded(begin: () => Promise<RunEnd>, after: 'kill -9' | 'power cut'): Promise<{ end: RunEnd; starts: number }>;
}

export function makeFakeRoots(file: string, group: Partial<Group> = {}): FakeRoots {
  const fake = makeFakeHost(`${file}.old`, group);
  const before = new Map(fake.packages);
  const packages: Record<Name, Map<string, string>> = { old: new Map(), new: new Map(before) };
  const pair: RootPair = { method: 'default', from: { id: 'old', name: '/@' }, to: { id: 'new', name: '/@next' } };
  const journalOf = (name: Name) => `${file}.${name}`;
  const open = () => Object.assign(fake.world, { journal: openJournal(journalOf(roots.runs), { now: START }) });
  const replace = (map: Map<string, string>, by: ReadonlyMap<string, string>) => {
    map.clear();
    for (const [key, value] of by) map.set(key, value);
  };
  const wholeRoot: WholeRoot = {
    assess: async () => ({ possible: roots.obstacle === null, says: roots.obstacle ?? 'at the next boot' }),
    async make() {
      packages.new = new Map(before);
      return pair;
    },
    async carry() {
      const to = roots.runs === 'old' ? 'new' : 'old';
      for (const suffix of ['', '-wal', '-shm']) fs.rmSync(journalOf(to) + suffix, { force: true });
      for (const suffix of ['', '-wal'])
        if (fs.existsSync(journalOf(roots.runs) + suffix))
          fs.copyFileSync(journalOf(roots.runs) + suffix, journalOf(to) + suffix);
    },
    async switchTo(_pair, to) {
      roots.next = to === 'to' ? 'new' : 'old';
    },
    look: async () => ({ runs: roots.runs, next: roots.next }),
    async discard(_run, id) {
      roots.gone.push(id ?? 'unfinished');
    },
  };
  const [way] = fake.world.hands.ways;
  if (way !== undefined) Object.assign(way, { wholeRoot });
  let dead = false;
  const roots: FakeRoots = {
    fake,
    runs: 'old',
    next: 'old',
    deaf: false,
    obstacle: null,
    gone: [],
    boot() {
      fake.world.journal.close();
      packages[roots.runs] = new Map(fake.packages);
      if (!roots.deaf) roots.runs = roots.next;
      replace(fake.packages, packages[roots.runs]);
      fake.boot += 1;
      open();
    },
    dieAt(point) {
      fake.failPoint = (name) => {
        if (name !== point || dead) return;
        dead = true;
        fake.world.journal.close(); // whatever the dying process still tries, the disk no longer hears of it
        throw new Death();
      };
    },
    async untilEnded(begin, after) {
      let act: () => Promise<RunEnd | undefined> = begin;
      for (let starts = 1; starts < 30; starts += 1) {
        let end: RunEnd | undefined;
        try {
          end = await act();
        } catch (error) {
          if (!dead) throw error;
        }
        if (end?.kind === 'ended') return { end, starts };
        if (dead && after === 'kill -9') open();
        else roots.boot();
        if (dead) fake.failPoint = () => undefined;
        dead = false;
        act = () => takeUp(fake.world);
      }
      throw new Error('the run never ends');
    },
  };
  return roots;
}
