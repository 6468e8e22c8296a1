// The single files that standalone binaries carry: each starts, and what loads late (the ticking of `relay run`) is in it too.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as vm from 'node:vm';
import { run } from '#manifests/platform/process';
import { closedSite } from '../test/closed-site.ts';
import { bundle, COMPONENTS, copySevenZip, programAndCache } from './binaries.ts';

/** The user id that every system keeps for nobody. */
const NOBODY = '65534';
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

for (const component of COMPONENTS) {
  test(`what a binary of ${component} carries: a program of one byte a character, and a cache that V8 takes`, async () => {
    const { program, cache } = await programAndCache(component, folder, process.execPath);
    const cachedData = fs.readFileSync(cache);
    const source = fs.readFileSync(program, 'latin1');
    const script = new vm.Script(source, { cachedData, importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER });
    assert.equal(script.cachedDataRejected, false);
    const cold = new vm.Script(source).createCachedData();
    assert.ok(cachedData.length > cold.length * 1.2, 'it has the functions that ran');
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

test('a courier at a closed site needs no root: the relay of an ordinary user imports and answers a stick', {
  skip: process.getuid?.() === 0 ? false : 'needs root, to become somebody else',
}, async (t) => {
  const world = await closedSite();
  t.after(() => world.remove());
  await world.publish(0, 'publish', '--payloads', 'all');
  const place = join(folder, 'user');
  fs.mkdirSync(place);
  const program = join(place, 'patchferry-relay');
  fs.copyFileSync(process.execPath, program);
  const file = await bundle('relay', place);
  const root = join(place, 'root.json');
  fs.copyFileSync(world.publisher.root, root);
  const home = join(place, 'state of the ward');
  fs.mkdirSync(home);
  // As desktops mount a stick for whoever sits there: all of it is that user's, and its name has blanks and other letters.
  const stick = join(place, 'Stick für Süd 3');
  fs.mkdirSync(stick);
  const give = async () => void (await run('chown', ['-R', `${NOBODY}:${NOBODY}`, home, stick], { timeoutMs: 60_000 }));
  for (const open of [folder, place]) fs.chmodSync(open, 0o755);
  const relay = async (...words: string[]) => {
    await give();
    const user = ['--reuid', NOBODY, '--regid', NOBODY, '--clear-groups', program, file];
    const places = ['--state-dir', join(home, 'state'), '--cache-dir', join(home, 'cache'), '--site', 'ward-7'];
    return run('setpriv', [...user, ...words, ...places, '--upstream-root', root], { timeoutMs: 60_000, cwd: place });
  };
  const card = await relay('courier', 'key');
  assert.equal(card.code, 0, card.stderr);
  await world.publish(0, 'bundle', 'site', 'add', card.stdout.trim());
  await world.publish(0, 'bundle', 'stick', stick, '--label', 'blue', '--site', 'ward-7');
  await world.publish(0, 'bundle', 'exchange', stick);
  const visit = await relay('import', stick);
  assert.equal(visit.code, 0, visit.stdout + visit.stderr);
  assert.match(visit.stdout, /imported: ward-7-000001-content/);
  assert.equal(fs.statSync(join(stick, 'RECEIPT.txt')).uid, Number(NOBODY));
  assert.match((await world.publish(0, 'bundle', 'exchange', stick)).out, /ward-7 has bundle 1/);
});

test('a standalone publisher packs 7z with the 7zz beside it; without any 7-Zip it says what to do', async (t) => {
  const world = await closedSite();
  t.after(() => world.remove());
  await world.publish(0, 'publish', '--payloads', 'all');
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  // A folder of its own with the program in it, as a standalone binary is: nothing of npm is near.
  const place = join(folder, 'standalone');
  fs.mkdirSync(place);
  const program = join(place, 'patchferry-publisher');
  fs.copyFileSync(process.execPath, program);
  const file = await bundle('publisher', place);
  const out = join(world.folder, 'out');
  const words = ['bundle', 'export', 'ward-7', out, '--folder', '--container', '7z', '--home', world.publisher.home];
  const call = () => run(program, [file, ...words], { timeoutMs: 60_000, cwd: place, env: { PATH: '', HOME: place } });
  const without = await call();
  assert.equal(without.code, 2, without.stderr);
  assert.match(without.stderr, /no 7-Zip program was found: not beside .*standalone/);
  assert.match(without.stderr, /Put the file 7zz of the build beside the program[\s\S]*bundle\.no-7zip/);
  const [seven = ''] = copySevenZip(place);
  assert.ok(fs.statSync(seven).mode & 0o100);
  const packed = await call();
  assert.equal(packed.code, 0, packed.stderr);
  assert.ok(fs.readdirSync(out).some((name) => name.endsWith('.7z')));
  assert.equal((await relay.run('import', '--folder', out)).exit, 0);
});
