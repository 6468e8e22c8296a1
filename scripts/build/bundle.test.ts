// The single files that standalone binaries carry: each starts, and what loads late (the ticking of `relay run`) is in it too.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { run } from '#manifests/platform/process';
import { bundle, COMPONENTS } from './binaries.ts';

const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-bundle-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

for (const component of COMPONENTS) {
  test(`the bundle of ${component} starts`, async () => {
    const file = await bundle(component, folder);
    const help = await run(process.execPath, [file, '--help'], { timeoutMs: 60_000, cwd: folder });
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, new RegExp(`Usage: (?:patchferry-)?${component}`));
  });
}

test('the bundle of relay serves and ends on SIGTERM', async () => {
  const file = await bundle('relay', folder);
  const stop = new AbortController();
  const places = ['--state-dir', join(folder, 'state'), '--cache-dir', join(folder, 'cache')];
  const onOutput = (text: string) => {
    if (text.includes('serving at')) stop.abort();
  };
  const ended = await run(process.execPath, [file, 'run', '--listen', '127.0.0.1:0', ...places], {
    timeoutMs: 60_000,
    cwd: folder,
    signal: stop.signal,
    onOutput,
  });
  assert.equal(ended.code, 0, ended.stderr);
});
