// A publisher and a closed site in folders, for tests of the sneakernet: nothing but a "stick" (a folder with blanks and other
// letters in its name) goes between them. Own software as patches; the agent is the real program.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { runCommandLine } from '#manifests/platform/cli';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { type TryOut, tryOut } from '../../publisher/cli/try-out.ts';
import { program } from '../../relay/cli/index.ts';
import { type RunningRelay, startRelay } from '../../relay/run.ts';
import { foldersOf, relaySettings } from '../../relay/settings.ts';
import { until } from '../fleet/index.ts';

interface Ended {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export interface ClosedRelay {
  readonly site: string;
  readonly card: string;
  readonly folders: ReturnType<typeof foldersOf>;
  run(...words: string[]): Promise<Ended>;
  start(more?: Record<string, unknown>): Promise<RunningRelay>;
}

export interface ClosedSite {
  readonly folder: string;
  readonly publisher: TryOut;
  readonly stick: string;
  /** As `publisher.run`, and fails unless it ends as told. */
  publish(accept: number, ...words: string[]): Promise<Ended>;
  relay(site: string, ...flags: string[]): Promise<ClosedRelay>;
  /** Runs the agent of this name; its state is a folder. */
  agent(name: string, ...words: string[]): Promise<Ended>;
  component(name: string): string | null;
  remove(): void;
}

const AGENT = resolve(import.meta.dirname, '../../agent/main.ts');

/** @param folder where everything lies; a folder in the temporary one when absent */
export async function closedSite(folderOfAll?: string): Promise<ClosedSite> {
  const publisher = tryOut(folderOfAll === undefined ? {} : { folder: folderOfAll });
  const { folder } = publisher;
  await publisher.prepare();
  const stick = join(folder, 'blauer Stick – ü 3');
  fs.mkdirSync(stick);

  return {
    folder,
    publisher,
    stick,
    async publish(accept, ...words) {
      const ended = await publisher.run(...words);
      if (ended.exit !== accept) throw new Error(`${words.join(' ')} ended with ${ended.exit}: ${ended.err}${ended.out}`);
      return ended;
    },
    async relay(site, ...flags) {
      const place = { stateDir: join(folder, site, 'state'), cacheDir: join(folder, site, 'cache') };
      const fixed = [
        '--state-dir',
        place.stateDir,
        '--cache-dir',
        place.cacheDir,
        '--site',
        site,
        '--upstream-root',
        publisher.root,
      ];
      const call: ClosedRelay['run'] = async (...words) => {
        let out = '';
        let err = '';
        const streams = {
          out: (text: string) => void (out += text),
          err: (text: string) => void (err += text),
          errIsTerminal: false,
        };
        return { exit: await runCommandLine(program, [...words, ...fixed, ...flags], streams), out, err };
      };
      const key = await call('courier', 'key');
      if (key.exit !== 0) throw new Error(key.err);
      return {
        site,
        card: key.out.trim(),
        folders: foldersOf(place),
        run: call,
        start: (more = {}) =>
          startRelay(relaySettings.parse({ ...place, site, upstreamRoot: publisher.root, listen: '127.0.0.1:0', ...more }), {
            log: silentLog,
          }),
      };
    },
    async agent(name, ...words) {
      const home = join(folder, `agent ${name}`);
      fs.mkdirSync(home, { recursive: true });
      const config = join(home, 'agent.yaml');
      const settings = {
        stateDir: join(home, 'state'),
        cacheDir: join(home, 'cache'),
        archiveRoot: join(home, 'components'),
        rootFile: publisher.root,
      };
      fs.writeFileSync(config, JSON.stringify(settings));
      const { code, stdout, stderr } = await run(process.execPath, [AGENT, ...words, '--config', config], {
        timeoutMs: 60_000,
      });
      return { exit: code ?? -1, out: stdout, err: stderr };
    },
    component(name) {
      const root = join(folder, `agent ${name}`, 'components');
      const found = fs.existsSync(root) ? fs.readdirSync(root, { recursive: true, encoding: 'utf8' }) : [];
      const tool = found.find((path) => /current.*tool$/.test(path) && fs.statSync(join(root, path)).isFile());
      return tool === undefined ? null : fs.readFileSync(join(root, tool), 'utf8');
    },
    remove: () => publisher.remove(),
  };
}

/** Publisher with one known two-way site and a prepared stick. */
export async function knownSite(world: ClosedSite, ...flags: string[]): Promise<{ world: ClosedSite; relay: ClosedRelay }> {
  await world.publish(0, 'publish', '--payloads', 'none');
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card, ...flags);
  await world.publish(0, 'bundle', 'stick', world.stick, '--label', 'blue stick 3');
  return { world, relay };
}

/** Every file below a folder. */
export const filesOf = (folder: string) =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

/** A settings file for a relay. */
export function configWith(world: ClosedSite, settings: Record<string, unknown>): string {
  const file = join(world.folder, 'relay.yaml');
  fs.writeFileSync(file, JSON.stringify(settings)); // JSON is YAML
  return file;
}

/**
 * Until everything that was handed in at a relay, and at least so much, has a file of its own: what came a moment ago is only in the
 * relay's journal and goes onto the next stick.
 */
export async function handedIn(relay: ClosedRelay, least: number): Promise<void> {
  await until('envelopes to get their files', 60, async () => {
    const { waiting } = JSON.parse((await relay.run('status', '--json')).out) as {
      waiting: Record<'results' | 'enrolments', number>;
    };
    const files = filesOf(relay.folders.inbox).filter((file) => /(results|enrolments).*\.pfe$/.test(file)).length;
    return files >= least && files === waiting.results + waiting.enrolments ? true : undefined;
  });
}
