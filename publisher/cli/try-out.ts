// A publisher in a temporary folder for tests: its commands run as people type them, with own software as the vendor.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from 'tar';
import { runCommandLine } from '#manifests/platform/cli';
import { type Clock, systemClock } from '#manifests/platform/clock';
import { publisherProgram } from './index.ts';

export const POLICY = `apiVersion: patchferry/v1
kind: Baseline
metadata: {name: own-software}
spec:
  product: own-tool
  rules: [{name: all, approve: {afterDays: 0}}]
---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: {name: always}
spec: {days: daily, start: "00:00", durationMinutes: 1440, zone: UTC}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: all}
spec: {baselines: [own-software], windows: [always]}
`;

export interface TryOut {
  readonly folder: string;
  readonly home: string;
  readonly repository: string;
  readonly root: string;
  /** Where own software lies; `addRelease` puts a release there. */
  readonly vendor: string;
  /** Runs one command; adds `--home`. */
  run(...words: string[]): Promise<{ exit: number; out: string; err: string }>;
  /** As `run` with `--json`: the document. */
  json(...words: string[]): Promise<Record<string, unknown>>;
  /** @param content of the one file inside; a script that names the version unless given */
  addRelease(version: string, content?: Uint8Array): Promise<void>;
  /** init, source add, source sync, policy: everything before the first publish. */
  prepare(): Promise<void>;
  remove(): void;
}

export function tryOut(options: { clock?: Clock; folder?: string } = {}): TryOut {
  const folder = options.folder ?? fs.mkdtempSync(join(tmpdir(), 'patchferry-publisher-'));
  const home = join(folder, 'home');
  const vendor = join(folder, 'vendor');
  fs.mkdirSync(vendor, { recursive: true });
  const tools = { clock: options.clock ?? systemClock, env: {} };
  const run: TryOut['run'] = async (...words) => {
    let out = '';
    let err = '';
    const streams = {
      out: (text: string) => void (out += text),
      err: (text: string) => void (err += text),
      errIsTerminal: false,
    };
    const exit = await runCommandLine(publisherProgram(tools), [...words, '--home', home], streams);
    return { exit, out, err };
  };
  const must = async (...words: string[]) => {
    const ended = await run(...words);
    if (ended.exit !== 0) throw new Error(`${words.join(' ')} ended with ${ended.exit}: ${ended.err}${ended.out}`);
  };
  const self: TryOut = {
    folder,
    home,
    vendor,
    repository: join(home, 'repository'),
    root: join(home, 'root.json'),
    run,
    json: async (...words) => JSON.parse((await run(...words, '--json')).out) as Record<string, unknown>,
    async addRelease(version, content) {
      const place = join(vendor, version);
      fs.mkdirSync(join(place, 'bin'), { recursive: true });
      fs.writeFileSync(join(place, 'bin', 'tool'), content ?? `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
      await create({ gzip: true, cwd: place, file: join(place, 'tool.tar.gz'), portable: true }, ['bin']);
      const text = `apiVersion: patchferry/v1
kind: Patch
metadata: {name: own-tool}
spec:
  version: "${version}"
  title: Release ${version}
  classification: security
  severity: high
  packages: [{file: tool.tar.gz}]
`;
      fs.writeFileSync(join(place, 'patch.yaml'), text);
    },
    async prepare() {
      await must('init', '--unattended');
      await self.addRelease('1.0.0');
      await must('source', 'add', 'own', '--kind', 'folder', '--product', 'own-tool', '--url', vendor);
      await must('source', 'sync');
      fs.writeFileSync(join(home, 'policy', 'policy.yaml'), POLICY);
    },
    remove: () => fs.rmSync(folder, { recursive: true, force: true }),
  };
  return self;
}
