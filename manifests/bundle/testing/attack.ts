// The frame of attack tests: a fresh stage for each, and "refused with this code, and nothing placed" as one step.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach } from 'node:test';
import { type Accept, type ImportOptions, incompleteFault } from '../import.ts';
import { makeStage, type Stage } from './stage.ts';

/** What a test attacks: the stage, and the index of the bundle on its stick. */
export interface Attack {
  stage: Stage;
  index: string;
}
export const attack = {} as Attack;

/** Registers the frame in the test file that calls it. */
export function setTheStage(): void {
  before(() => {
    attack.stage = makeStage();
  });
  after(() => attack.stage.end());
  beforeEach(fresh);
}

export function fresh(): void {
  for (const path of [attack.stage.stick, attack.stage.staging]) {
    fs.rmSync(path, { recursive: true, force: true });
    fs.mkdirSync(path);
  }
}
export const folder = () => attack.index.replace(/\.json$/, '');
export const exportFolder = async () => {
  attack.index = (await attack.stage.fill(await attack.stage.draft())).index;
};
export const exportAs = async (format: 'tar' | '7z') => {
  attack.index = (await attack.stage.pack(await attack.stage.draft(), format)).index;
};

/** Everything around the staging folder, and what in it is visible to a reader. */
function visible(): string[] {
  const outside = fs.readdirSync(attack.stage.folder, { recursive: true, withFileTypes: true });
  return outside
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.startsWith(attack.stage.staging) || /\/tree(?:\.part)?(?:\/|$)/.test(path))
    .toSorted();
}

/** The import ends with this code, and nothing was placed anywhere. */
export async function refused(code: string, more: Partial<ImportOptions> = {}, accept: Partial<Accept> = {}): Promise<void> {
  const was = visible();
  const exit = code === 'bundle.no-medium' ? 2 : code === 'bundle.current' ? 3 : 5;
  await assert.rejects(
    attack.stage.take(attack.index, more, accept),
    (error: Error & { code: string; exit: number; next: string }) => {
      assert.equal(error.code, code, error.message);
      assert.equal(error.exit, exit);
      assert.ok(error.next.length > 10);
      return true;
    },
  );
  assert.deepEqual(visible(), was, 'nothing was placed');
}

/** Damage leaves the good chunks collected, and nothing visible; the command ends with the code of the damage. */
export async function damaged(code: string): Promise<void> {
  const outcome = await attack.stage.take(attack.index);
  assert.equal(outcome.kind, 'partial');
  if (outcome.kind !== 'partial') return;
  assert.ok(
    outcome.problems.some((problem) => problem.code === code),
    JSON.stringify(outcome.problems),
  );
  const error = incompleteFault(outcome) as Error & { code: string; exit: number };
  assert.equal(error.code, code);
  assert.equal(error.exit, 5);
  assert.equal(fs.existsSync(join(attack.stage.staging, outcome.index.id, 'tree')), false);
}

/** Names that no entry may have, by row. */
export const NAMES: ReadonlyArray<{ row: string; paths: string[] }> = [
  { row: 'absolute path', paths: ['/etc/passwd'] },
  { row: 'parent path', paths: ['payloads/../../x'] },
  { row: 'parent path alone', paths: ['..'] },
  { row: 'path of the drive', paths: ['C:/x'] },
  { row: 'backslash', paths: ['a\\..\\x'] },
  { row: 'NTFS stream', paths: ['a.json:evil'] },
  { row: 'trailing dot', paths: ['a./b'] },
  { row: 'trailing blank', paths: ['a '] },
  { row: 'control character', paths: ['a\u0007b'] },
  { row: 'new line', paths: ['a\nb'] },
  { row: 'bytes that reorder text', paths: ['a\u202egnp.exe'] },
  { row: 'reserved Windows name', paths: ['x/AUX'] },
  { row: 'reserved Windows name with extension', paths: ['com1.txt'] },
  { row: 'twins by letter case', paths: ['a/Readme', 'a/README'] },
  { row: 'twins by Unicode form (NFKC)', paths: ['a/\ufb01le', 'a/file'] },
  { row: 'the same name twice', paths: ['a', 'a'] },
  { row: 'a file where a folder is', paths: ['a', 'a/b'] },
  { row: 'empty part', paths: ['a//b'] },
  { row: 'hidden file', paths: ['.bashrc'] },
  { row: 'short name of Windows', paths: ['PROGRA~1'] },
  { row: 'too long', paths: ['a'.repeat(500)] },
  { row: 'too deep', paths: ['a/'.repeat(20) + 'b'] },
];
