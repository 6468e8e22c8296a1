// For tests: a host in a folder: its own agent.yaml, state, cache and components, driven through the real command line.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { run } from '#manifests/platform/process';
import type { RosterAgent } from '#manifests/schema';
import { readKeys } from '../../outbox/index.ts';
import { type Journal, openJournal } from '../../run/index.ts';
import { readLife, writeLife } from '../alive.ts';
import { anyCode, makePublisher, memberOf, type Publication, type TestPublisher } from './publisher.ts';
import { startRelay, type TestRelay } from './relay.ts';

const MAIN = resolve(import.meta.dirname, '../../main.ts');

interface Ran {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

export interface TestHost {
  readonly folder: string;
  readonly stateDir: string;
  readonly archiveRoot: string;
  readonly publisher: TestPublisher;
  readonly relay: TestRelay;
  /** Runs the agent's command line in a process of its own. */
  agent(args: readonly string[], env?: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Ran>;
  /** Enrols and is approved; the publication then always has this host as member. */
  enrol(as?: Partial<RosterAgent>): Promise<void>;
  publish(publication: Partial<Publication>): Promise<void>;
  /** Who is approved. */
  members(): readonly RosterAgent[];
  /** Content of the component in use; null when there is none. */
  tool(): string | null;
  journal(): Journal;
  /** Settings beyond the defaults, as YAML lines. */
  settings(lines: readonly string[]): void;
  remove(): Promise<void>;
}

/** A publisher, a relay and one host that is not enrolled yet. */
export async function makeHost(): Promise<TestHost> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-agent-'));
  const publisher = await makePublisher(join(folder, 'publisher'));
  const relay = await startRelay(publisher.repository);
  const stateDir = join(folder, 'state');
  const archiveRoot = join(folder, 'components');
  const config = join(folder, 'agent.yaml');
  let members: Publication['members'] = [];
  const settings = (lines: readonly string[]) =>
    fs.writeFileSync(
      config,
      [
        `stateDir: ${stateDir}`,
        `cacheDir: ${join(folder, 'cache')}`,
        `archiveRoot: ${archiveRoot}`,
        'logLevel: silent',
        'testing: { failPoints: true }',
        ...lines,
        '',
      ].join('\n'),
    );
  settings([]);
  const agent: TestHost['agent'] = async (args, env = {}, signal) => {
    const base = Object.fromEntries(
      Object.entries(process.env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
    const result = await run(process.execPath, [MAIN, ...args, '--config', config], {
      timeoutMs: 60_000,
      env: { ...base, ...env },
      signal,
    });
    return { code: result.code, signal: result.signal, out: result.stdout, err: result.stderr };
  };
  const publish: TestHost['publish'] = (publication) => publisher.publish({ releases: [], members, ...publication });
  return {
    folder,
    stateDir,
    archiveRoot,
    publisher,
    relay,
    agent,
    publish,
    async enrol(as = {}) {
      await publish({});
      const ran = await agent(['enroll', '--code', anyCode(), '--relay', relay.url, '--root', publisher.rootFile]);
      if (ran.code !== 0) throw new Error(`${ran.code} ${ran.out}${ran.err}`);
      const keys = await readKeys(join(stateDir, 'keys'));
      if (keys === undefined) throw new Error('no keys');
      members = [{ ...memberOf({ id: keys.id, signKey: keys.sign.publicKey, boxKey: keys.box.publicKey }), ...as }];
    },
    members: () => members,
    tool() {
      const file = join(archiveRoot, 'tool', 'current', 'tool');
      return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : null;
    },
    journal: () => openJournal(join(stateDir, 'journal.sqlite'), { now: Date.now() }),
    settings,
    async remove() {
      await relay.close();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Makes the journal look as a machine finds it that was suspended for so many milliseconds since its last cycle. */
export function sleptFor(journal: Journal, ms: number): void {
  const life = readLife(journal.meta('alive'), undefined);
  if (life === undefined) throw new Error('this host has had no cycle yet');
  journal.setMeta('alive', writeLife({ ...life, at: life.at - ms, wall: life.wall - ms }));
}
