// A publisher's home for demos and tests: unattended keys, the vendor's real security repository, a small policy.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { create } from 'tar';
import type { DebianMirrors } from '../hosts/index.ts';
import { command, report, until } from './components.ts';

export interface PolicyChoices {
  /** Health checks of the group: program and arguments. */
  readonly health?: ReadonlyArray<{ readonly name: string; readonly command: readonly string[] }>;
  /** More lines under the baseline's `spec`, as YAML. */
  readonly baseline?: string;
  readonly windowOpen?: boolean;
  /** More fields of the group's `spec`. */
  readonly group?: Readonly<Record<string, unknown>>;
  /** Only patches of these source packages. */
  readonly only?: readonly string[];
  /** Products of own software: every patch of them is approved. */
  readonly own?: readonly string[];
}

export class FleetPublisher {
  readonly home: string;
  readonly root: string;

  constructor(folder: string) {
    this.home = join(folder, 'publisher');
    this.root = join(folder, 'root.json');
  }

  get repository(): string {
    return join(this.home, 'repository');
  }

  get inbox(): string {
    return join(this.home, 'inbox');
  }

  run(args: readonly string[], accept?: readonly number[]) {
    return command('publisher', [...args, '--home', this.home], accept);
  }

  ask<T>(args: readonly string[], accept?: readonly number[]): Promise<T> {
    return report<T>('publisher', [...args, '--home', this.home], accept);
  }

  async init(): Promise<void> {
    await this.run(['init', '--unattended']);
    await this.run(['key', 'export', '--output', this.root]);
  }

  /** Adds and syncs the vendor's security repository, its signature checked against the vendor's keyring. */
  async addDebianSecurity(mirrors: DebianMirrors, release = 'bookworm', product = 'debian-12'): Promise<string> {
    const args = [
      '--product',
      product,
      '--url',
      mirrors.security,
      '--suite',
      `${release}-security`,
      '--keyring',
      mirrors.keyring,
    ];
    await this.run(['source', 'add', `${product}-security`, ...args]);
    return (await this.run(['source', 'sync'])).stdout;
  }

  /** Adds and syncs an RPM repository, its metadata's signature checked against the vendor's key. */
  async addRpm(repository: string, keyring: string, product: string): Promise<string> {
    const args = ['--kind', 'rpm', '--product', product, '--url', repository, '--keyring', keyring];
    await this.run(['source', 'add', product, ...args]);
    return (await this.run(['source', 'sync'])).stdout;
  }

  /** A version of own software: its files, and more of its description (`services`). The first one makes the source; syncs. */
  async addRelease(
    product: string,
    version: string,
    files: Readonly<Record<string, string>>,
    spec: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const folder = join(this.home, '..', product);
    const first = !fs.existsSync(folder);
    const place = join(folder, version);
    const tree = join(place, 'tree');
    for (const [name, text] of Object.entries(files)) {
      fs.mkdirSync(join(tree, name, '..'), { recursive: true });
      fs.writeFileSync(join(tree, name), text);
    }
    await create({ gzip: true, cwd: tree, file: join(place, `${product}.tar.gz`), portable: true }, Object.keys(files));
    const patch = {
      apiVersion: 'patchferry/v1',
      kind: 'Patch',
      metadata: { name: product },
      spec: {
        version,
        title: `${product} ${version}`,
        classification: 'security',
        severity: 'high',
        packages: [{ file: `${product}.tar.gz` }],
        ...spec,
      },
    };
    fs.writeFileSync(join(place, 'patch.yaml'), JSON.stringify(patch)); // JSON is YAML
    if (first) await this.run(['source', 'add', product, '--kind', 'folder', '--product', product, '--url', folder]);
    await this.run(['source', 'sync', product]);
  }

  /** One group `demo`: every security patch at once, inside a window that is open now (or never opens today). */
  writePolicy(product: string, choices: PolicyChoices = {}): void {
    const health = (choices.health ?? []).map(({ name, command: line }) => ({ name, command: line, timeoutSeconds: 60 }));
    const more = Object.entries({ health, ...choices.group })
      .map(([field, value]) => `  ${field}: ${JSON.stringify(value)}\n`)
      .join('');
    const own = (choices.own ?? []).map(
      (name) => `apiVersion: patchferry/v1
kind: Baseline
metadata: { name: all-${name} }
spec:
  product: ${name}
  rules:
    - name: every-patch
      filters: { name: ["*"] }
      approve: { afterDays: 0 }
      complianceLevel: high
      nonSecurity: true
---
`,
    );
    const baselines = ['everything', ...(choices.own ?? []).map((name) => `all-${name}`)];
    const day = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][(new Date().getUTCDay() + 3) % 7];
    const text = `${own.join('')}apiVersion: patchferry/v1
kind: Baseline
metadata: { name: everything }
spec:
  product: ${product}
  rules:
    - name: every-patch
      filters: { name: ${JSON.stringify(choices.only ?? ['*'])} }
      approve: { afterDays: 0 }
      complianceLevel: high
      nonSecurity: true
${choices.baseline ?? ''}---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: { name: now }
spec:
  days: ${choices.windowOpen === false ? `[${day}]` : 'daily'}
  start: "00:00"
  durationMinutes: ${choices.windowOpen === false ? 30 : 1440}
  zone: UTC
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: { name: demo }
spec:
  baselines: ${JSON.stringify(baselines)}
  windows: [now]
  pollMinutes: 1
${more}`;
    fs.writeFileSync(join(this.home, 'policy', 'demo.yaml'), text);
  }

  publish(payloads: 'none' | 'wanted' | 'approved' = 'wanted') {
    return this.run(['publish', '--payloads', payloads]);
  }

  /** A new activation code for the group `demo`. */
  async invite(title: string): Promise<string> {
    return (await this.ask<{ code: string }>(['agent', 'invite', '--group', 'demo', '--title', title])).code;
  }

  collect(accept: readonly number[] = [0, 1, 3]) {
    return this.run(['collect'], accept);
  }

  /** Collects until at least `results` results or enrolments have come since the call. */
  async arrived(results = 1): Promise<void> {
    let stored = 0;
    await until('results to arrive', 120, async () => {
      const report = await this.ask<{ stored: number; enrolments: unknown[] }>(['collect'], [0, 1, 3]);
      stored += report.stored + report.enrolments.length;
      return stored >= results ? true : undefined;
    });
  }

  approveAll() {
    return this.run(['agent', 'approve', '--all-valid'], [0, 1, 3]);
  }
}
