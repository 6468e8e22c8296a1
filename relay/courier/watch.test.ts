// What a user of the relay's machine can put into a watched drop folder: nothing of it is followed, waited for, or believed.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { foldersOf, relaySettings } from '../settings.ts';
import { relayKeys } from '../site/index.ts';
import { makePublisher } from '../testing/repository.ts';
import { watchDropFolder } from './index.ts';

const LOOK_MS = 20_000;

test('S43 a local user and the drop folder: links to what only the relay may read, pipes, sparse giants, forged bundles: no effect', async (t) => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'pf-drop-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const publisher = await makePublisher(join(folder, 'publisher'));
  const drop = join(folder, 'drop');
  fs.mkdirSync(drop);
  fs.chmodSync(drop, 0o1777);
  const settings = relaySettings.parse({
    stateDir: join(folder, 'state'),
    cacheDir: join(folder, 'cache'),
    site: 'ward-7',
    upstreamRoot: publisher.root,
    dropFolder: drop,
  });
  await relayKeys(foldersOf(settings), 'ward-7');
  const names = () =>
    fs.readdirSync(settings.stateDir, { recursive: true, encoding: 'utf8' }).filter((name) => /key/.test(name));
  const keys = () =>
    names().map((name) => [
      name,
      fs.statSync(join(settings.stateDir, name)).isFile() ? fs.readFileSync(join(settings.stateDir, name), 'hex') : '',
    ]);
  const before = keys();
  assert.ok(
    before.some(([, content]) => content !== ''),
    'the relay has keys',
  );
  const secret = join(settings.stateDir, names().find((name) => name.endsWith('.key')) ?? '');

  const put = (name: string) => join(drop, name);
  fs.symlinkSync(secret, put('ward-7-000001-content.pfb.json'));
  fs.symlinkSync(settings.stateDir, put('ward-7-000001-content.pfb'));
  assert.equal((await run('mkfifo', [put('ward-7-000002-content.pfb.json')], { timeoutMs: 5_000 })).code, 0);
  fs.writeFileSync(put('ward-7-000003-content.pfb.json'), '{"signed":{"schema":"patchferry/bundle"},"signatures":[]}');
  fs.mkdirSync(put('ward-7-000003-content.pfb'));
  fs.symlinkSync('/proc/kcore', join(put('ward-7-000003-content.pfb'), 'p0001.pfp'));
  fs.writeFileSync(put('ward-7-000004-content.pfb.json'), '');
  fs.truncateSync(put('ward-7-000004-content.pfb.json'), 64 * 1024 ** 3);
  fs.symlinkSync(drop, put('ward-7-000005-content.pfb'));

  const said: string[] = [];
  const note = (fields: unknown, text?: string) => void said.push(`${JSON.stringify(fields)} ${text ?? ''}`);
  const log = { ...silentLog, error: note, warn: note, info: note } as typeof silentLog;
  const watcher = watchDropFolder(settings, { log, signal: AbortSignal.timeout(LOOK_MS), settleMs: 0 });
  const began = performance.now();
  for (let look = 0; look < 3; look += 1) await watcher.look();
  assert.ok(performance.now() - began < LOOK_MS, 'it waits for nobody');
  assert.deepEqual(keys(), before, 'what is the relay’s own is where it was');
  assert.ok(!fs.existsSync(join(settings.cacheDir, 'mirror/current')), 'nothing is served of it');
  assert.ok(
    said.some((line) => /ward-7-00000\d/.test(line)),
    `it is told: ${said.join('\n')}`,
  );
  const plain = (await run('find', [drop, '-type', 'f', '-size', '-1M'], { timeoutMs: 5_000 })).stdout.trim().split('\n');
  const [, own = ''] = before.find(([, content]) => content !== '') ?? [];
  for (const file of plain.filter((path) => path !== '')) assert.ok(!fs.readFileSync(file, 'hex').includes(own), file);
});
