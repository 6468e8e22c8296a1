// Row P3: a bundle exported and imported, everything verified, beside `tar` and `7zz a -mx0` with `sha256sum` on the same files.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importBundle, type SourceEntry, writeBundle } from '#manifests/bundle';
import { runOrThrow } from '#manifests/platform/process';
import { generateSigningKey, memorySigner } from '#manifests/trust';
import { sevenZipProgram } from '../../manifests/bundle/seven.ts';

export const name = 'bundle';

/** Of a patch repository: many small files and some large ones, at three sizes; MiB. */
const SIZES = [32, 128, 384] as const;
const ROUNDS = 3;
const TARGET = 0.8;
const AT = Date.parse('2026-06-01T00:00:00Z');
const LIMIT = { timeoutMs: 600_000 };
const KINDS = ['folder', 'tar', '7z'] as const;

type Row = Record<string, string | number>;
type Times = Record<string, number[]>;

export async function bench(): Promise<{ name: string; rows: Row[] }> {
  const rows: Row[] = [];
  for (const megabytes of SIZES) {
    const home = fs.mkdtempSync(join(tmpdir(), 'patchferry-bench-'));
    try {
      rows.push(...(await measure(home, megabytes)));
    } finally {
      fs.rmSync(home, { recursive: true, force: true });
    }
  }
  return { name, rows };
}

/** Files as payloads are: 80 % of the bytes in files of 4 MiB and more, the rest in small ones. */
function makeFiles(folder: string, megabytes: number): SourceEntry[] {
  const entries: SourceEntry[] = [];
  const add = (bytes: Buffer) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const path = `payloads/sha256/${sha256.slice(0, 2)}/${sha256}`;
    const file = join(folder, path);
    fs.mkdirSync(join(file, '..'), { recursive: true });
    fs.writeFileSync(file, bytes);
    entries.push({ path, file, sha256 });
  };
  const block = Buffer.alloc(16 * 1024 * 1024);
  for (let at = 0; at < block.length; at += 32) createHash('sha256').update(String(at)).digest().copy(block, at);
  const total = megabytes * 1024 * 1024;
  let left = total;
  for (let number = 0; left > 0; number++) {
    const size = Math.min(
      left,
      left > total * 0.2 ? 4 * 1024 * 1024 + ((number * 7_919) % 8) * 1024 * 1024 : 40_000 + number * 13,
    );
    const bytes = Buffer.from(block.subarray(0, size));
    bytes.writeUInt32BE(number, 0);
    add(bytes);
    left -= size;
  }
  return entries;
}

async function measure(home: string, megabytes: number): Promise<Row[]> {
  const files = join(home, 'files');
  const entries = makeFiles(files, megabytes);
  const pair = generateSigningKey();
  const signer = memorySigner(pair);
  const about = { kind: 'content' as const, site: 'bench', sequence: 1, from: 'bench', madeAt: AT, expires: AT + 1e9 };
  const accept = { keys: [pair.publicKey], kind: 'content' as const, site: 'bench', lastSequence: 0, now: AT };
  const times: Times = {};
  const time = async (label: string, work: () => Promise<unknown>) => {
    await runOrThrow('sync', ['-f', home], LIMIT);
    const started = performance.now();
    await work();
    (times[label] ??= []).push(performance.now() - started);
  };
  /** Both sides end when their bytes are on disk. */
  const shell = async (cwd: string, ...commands: [string, ...string[]][]) => {
    for (const [command, ...args] of [...commands, ['sync', '-f', cwd] as [string, ...string[]]]) {
      await runOrThrow(command, args, { ...LIMIT, cwd });
    }
  };
  const clear = (...paths: string[]) => {
    for (const path of paths) {
      fs.rmSync(join(home, path), { recursive: true, force: true });
      fs.mkdirSync(join(home, path));
    }
  };
  const listing = join(home, 'SHA256SUMS');
  fs.writeFileSync(listing, entries.map((entry) => ('file' in entry ? `${entry.sha256}  ${entry.path}\n` : '')).join(''));

  for (let round = 0; round < ROUNDS; round++) {
    for (const peer of ['tar', '7z'] as const) {
      clear('peer', 'out');
      const archive = join(home, 'peer', `x.${peer}`);
      const make: [string, ...string[]] =
        peer === 'tar' ? ['tar', '-cf', archive, '.'] : [sevenZipProgram(), 'a', '-mx0', '-bd', archive, '.'];
      const take: [string, ...string[]] =
        peer === 'tar'
          ? ['tar', '-xf', archive, '-C', join(home, 'out')]
          : [sevenZipProgram(), 'x', '-bd', `-o${join(home, 'out')}`, archive];
      await time(`${peer} export`, () => shell(files, make, ['sha256sum', archive]));
      await time(`${peer} import`, () => shell(join(home, 'out'), ['sha256sum', archive], take));
      // The same promise as ours: not only the archive but every file is what it must be.
      await time(`${peer} check`, () => shell(join(home, 'out'), ['sha256sum', '-c', '--quiet', listing]));
    }
    for (const container of KINDS) {
      clear('work', 'stick', 'staging');
      const common = { work: join(home, 'work'), place: join(home, 'stick'), entries, about, signer, medium: 'none' as const };
      let index = '';
      await time(`ours ${container} export`, async () => {
        index = (await writeBundle({ ...common, container })).index ?? '';
      });
      let tree = '';
      await time(`ours ${container} import`, async () => {
        const outcome = await importBundle({ index, staging: join(home, 'staging'), accept, medium: 'none' });
        tree = outcome.kind === 'complete' ? outcome.tree : '';
      });
      // Both sides gave the same answer.
      if (round === 0) await runOrThrow('sha256sum', ['-c', '--quiet', listing], { ...LIMIT, cwd: tree });
    }
  }
  const median = (label: string) => (times[label] ?? []).toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? Number.NaN;
  const round = (value: number) => Number(value.toFixed(2));
  return KINDS.map((container) => {
    const row: Row = { MiB: megabytes, files: entries.length, container };
    for (const act of ['export', 'import'] as const) {
      const ours = median(`ours ${container} ${act}`);
      const tar = median(`tar ${act}`);
      const seven = median(`7z ${act}`);
      const ratio = Math.min(tar, seven) / ours;
      row[`${act} ms`] = Math.round(ours);
      row[`tar ${act}`] = Math.round(tar);
      row[`7z ${act}`] = Math.round(seven);
      row[`${act} ratio`] = round(ratio);
      row[`${act} met`] = String(ratio >= TARGET);
    }
    row['tar every file'] = round((median('tar import') + median('tar check')) / median(`ours ${container} import`));
    return row;
  });
}
