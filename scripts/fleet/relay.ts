// A relay for demos and tests: takes from a publisher's folder (or another relay), serves on one address, forwards results.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Launched } from '#manifests/platform/process';
import { Holdings, nameOf } from '../hosts/holdings.ts';
import { isDebianRoot } from '../setup/debian.ts';
import { command, service, until } from './components.ts';

export interface RelayPlan {
  readonly folder: string;
  /** Address of ours that the hosts reach. */
  readonly host: string;
  readonly upstream: string;
  readonly upstreamRoot: string;
  readonly inboxForward: string;
}

export class FleetRelay {
  readonly url: string;
  readonly folder: string;
  readonly log: string;
  readonly #config: string;
  #running: Launched | undefined;
  /** So that a relay does not outlive a test that is killed. */
  #holdings: Holdings | undefined;

  constructor(plan: RelayPlan, port: number) {
    this.folder = plan.folder;
    fs.mkdirSync(plan.folder, { recursive: true });
    this.url = `http://${plan.host}:${port}`;
    this.log = join(plan.folder, 'relay.log');
    this.#config = join(plan.folder, 'relay.yaml');
    const settings = {
      listen: `${plan.host}:${port}`,
      upstream: [plan.upstream],
      upstreamRoot: plan.upstreamRoot,
      inboxForward: [plan.inboxForward],
      stateDir: join(plan.folder, 'state'),
      cacheDir: join(plan.folder, 'cache'),
      syncEvery: 60,
    };
    fs.writeFileSync(this.#config, JSON.stringify(settings)); // JSON is YAML
  }

  /** Takes what is new from upstream now. */
  sync() {
    return command('relay', ['sync', '--config', this.#config]);
  }

  /** Starts serving and waits until it answers. */
  async start(): Promise<void> {
    if (isDebianRoot()) this.#holdings ??= await Holdings.open();
    this.#running = await service('relay', ['run', '--config', this.#config], this.log);
    this.#holdings?.add('machines', nameOf(this.#running.pid));
    await until('the relay to answer', 60, async () => {
      const answer = await fetch(`${this.url}/healthz`).catch(() => undefined);
      return answer?.ok ? true : undefined;
    });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#running?.kill(signal);
    await this.#running?.ended;
    this.#running = undefined;
    await this.#holdings?.close();
    this.#holdings = undefined;
  }
}
