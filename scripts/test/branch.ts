// A publisher, relays and hosts in folders, for tests of what lies between them: real programs over real connections of loopback,
// own software as patches.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { runCommandLine } from '#manifests/platform/cli';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { type TryOut, tryOut } from '../../publisher/cli/try-out.ts';
import { program } from '../../relay/cli/index.ts';
import { type RunningRelay, startRelay } from '../../relay/run.ts';
import { settingsOf } from '../../relay/settings.ts';

export interface Ended {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export interface BranchRelay {
  readonly folder: string;
  /** Its settings as a file. */
  readonly config: string;
  /** Runs a command beside it. */
  run(...words: string[]): Promise<Ended>;
  start(): Promise<RunningRelay>;
}

export interface BranchHost {
  readonly folder: string;
  readonly agent: (...words: string[]) => Promise<Ended>;
  /** Settings beyond the folders of its own; those before are forgotten. */
  settings(more: Readonly<Record<string, unknown>>): void;
  /** Sends a request for enrolment; settings are kept. */
  enrol(relay: string, ...invitation: string[]): Promise<Ended>;
  /** The component in use. */
  tool(): string | null;
}

export interface Branch {
  readonly folder: string;
  readonly publisher: TryOut;
  /** The publisher's inbox folder, for `inboxForward`. */
  readonly inbox: string;
  /** A command of the publisher that has to succeed (or find nothing to do). */
  must(...words: string[]): Promise<Ended>;
  relay(name: string, settings: Readonly<Record<string, unknown>>): BranchRelay;
  host(name: string): BranchHost;
  /** Collects what is in the publisher's inbox, approves whoever asks, and publishes. */
  approve(): Promise<void>;
  /** A new release of own software, published. */
  release(version: string, content?: Uint8Array): Promise<void>;
  /** Ends relays that run and removes everything. */
  close(): Promise<void>;
}

const AGENT = resolve(import.meta.dirname, '../../agent/main.ts');

/** A prepared publisher with one release published. */
export async function openBranch(): Promise<Branch> {
  const publisher = tryOut();
  const { folder } = publisher;
  const closing: (() => Promise<unknown>)[] = [];
  const inbox = join(publisher.home, 'inbox');
  const must: Branch['must'] = async (...words) => {
    const { exit, out, err } = await publisher.run(...words);
    if (exit !== 0 && exit !== 3) throw new Error(`${words.join(' ')} ended with ${exit}: ${err}${out}`);
    return { exit, out, err };
  };
  await publisher.prepare();
  fs.mkdirSync(inbox, { recursive: true });
  await must('publish', '--payloads', 'approved');
  return {
    folder,
    publisher,
    inbox,
    must,
    relay(name, settings) {
      const own = join(folder, name);
      fs.mkdirSync(own);
      const config = join(own, 'relay.yaml');
      const places = { stateDir: join(own, 'state'), cacheDir: join(own, 'cache') };
      const base = { upstreamRoot: publisher.root, listen: '127.0.0.1:0', syncEvery: 10_080, logLevel: 'silent' };
      fs.writeFileSync(config, JSON.stringify({ ...base, ...places, ...settings })); // JSON is YAML
      return {
        folder: own,
        config,
        async run(...words) {
          const ended = { out: '', err: '' };
          const streams = {
            out: (text: string) => void (ended.out += text),
            err: (text: string) => void (ended.err += text),
            errIsTerminal: false,
          };
          return { exit: await runCommandLine(program, [...words, '--config', config], streams), ...ended };
        },
        async start() {
          const settingsNow = settingsOf({ options: { config } });
          const running = await startRelay(settingsNow, { log: silentLog });
          closing.push(() => running.stop());
          return running;
        },
      };
    },
    host(name) {
      const own = join(folder, name);
      fs.mkdirSync(own);
      const config = join(own, 'agent.yaml');
      const places = { stateDir: 'state', cacheDir: 'cache', archiveRoot: 'components' };
      const base = Object.fromEntries(Object.entries(places).map(([key, path]) => [key, join(own, path)]));
      const settings: BranchHost['settings'] = (more) =>
        fs.writeFileSync(config, JSON.stringify({ ...base, rootFile: publisher.root, logLevel: 'silent', ...more }));
      settings({});
      const agent: BranchHost['agent'] = async (...words) => {
        const { code, stdout, stderr } = await run(process.execPath, [AGENT, ...words, '--config', config], {
          timeoutMs: 60_000,
        });
        return { exit: code ?? -1, out: stdout, err: stderr };
      };
      return {
        folder: own,
        agent,
        settings,
        async enrol(relay, ...invitation) {
          const words = ['agent', 'invite', '--group', 'all', '--title', name, ...invitation];
          const { code } = (await publisher.json(...words)) as { code: string };
          return agent('enroll', '--code', code, '--relay', relay, '--root', publisher.root);
        },
        tool() {
          const root = join(own, 'components');
          const found = fs.existsSync(root) ? fs.readdirSync(root, { recursive: true, encoding: 'utf8' }) : [];
          const tool = found.find((path) => /current\/.*tool$/.test(path) && fs.statSync(join(root, path)).isFile());
          return tool === undefined ? null : fs.readFileSync(join(root, tool), 'latin1');
        },
      };
    },
    async approve() {
      await must('collect');
      await must('agent', 'approve', '--all-valid');
      await must('publish', '--payloads', 'approved');
    },
    async release(version, content) {
      await publisher.addRelease(version, content);
      await must('source', 'sync');
      await must('publish', '--payloads', 'approved');
    },
    async close() {
      for (const close of closing.toReversed()) await close();
      publisher.remove();
    },
  };
}
