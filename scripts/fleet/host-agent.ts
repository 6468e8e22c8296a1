// The agent on a test host: the standalone binary, its settings, enrolment, and the service that systemd runs.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { TestHost } from '../hosts/index.ts';

const BINARY = '/usr/local/bin/patchferry-agent';
const CONFIG = '/etc/patchferry/agent.yaml';

export class HostAgent {
  readonly host: TestHost;

  constructor(host: TestHost) {
    this.host = host;
  }

  /** Puts binary, pinned root and settings on the host. */
  install(binary: string, root: string, relays: readonly string[], settings: Readonly<Record<string, unknown>> = {}): void {
    this.host.install(binary, BINARY);
    this.host.install(root, '/etc/patchferry/root.json', 0o644);
    const all = { relays, rootFile: '/etc/patchferry/root.json', ...settings };
    fs.writeFileSync(join(this.host.root, CONFIG), JSON.stringify(all)); // JSON is YAML
  }

  run(args: readonly string[], timeoutMs = 600_000) {
    return this.host.exec([BINARY, ...args], { timeoutMs });
  }

  /** One cycle that ends by kill -9 at a place of its journal (needs `testing.failPoints`). */
  async killedAt(place: string, args: readonly string[] = ['once', '--retry']): Promise<void> {
    const result = await this.host.exec(['env', `PATCHFERRY_FAILPOINT=${place}`, BINARY, ...args], { timeoutMs: 600_000 });
    if (result.signal !== 'SIGKILL' && result.code !== 137)
      throw new Error(`${place} was not reached: ${result.code}\n${result.stdout}${result.stderr}`);
  }

  async must(args: readonly string[], accept: readonly number[] = [0]): Promise<string> {
    const result = await this.run(args);
    if (!accept.includes(result.code ?? -1)) {
      throw new Error(
        `agent ${args.join(' ')} on ${this.host.name} ended with ${result.code ?? result.signal}:\n${result.stdout}${result.stderr}`,
      );
    }
    return result.stdout;
  }

  async ask<T>(args: readonly string[], accept: readonly number[] = [0, 1, 3, 4]): Promise<T> {
    return JSON.parse(await this.must([...args, '--json'], accept)) as T;
  }

  enroll(code: string, relay: string, title: string): Promise<string> {
    return this.must(
      ['enroll', '--code', code, '--relay', relay, '--root', '/etc/patchferry/root.json', '--title', title],
      [0, 4],
    );
  }

  /** Versions of all installed packages by the host's own dpkg: `name:arch` to version. */
  async packages(): Promise<Map<string, string>> {
    const said = await this.host.must([
      'dpkg-query',
      '-W',
      '-f',
      '${binary:Package}:${Architecture} ${Version} ${db:Status-Status}\n',
    ]);
    const rows = said.split('\n').map((row) => row.split(' '));
    return new Map(
      rows
        .filter((row) => row[2] === 'installed')
        .map(([name = '', version = '']) => [name.replace(/:(\w+):\w+$/, ':$1'), version]),
    );
  }
}
