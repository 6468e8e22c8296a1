// Two relay processes of a site without upstream, with hosts that report to one or the other: failures count together, a kill
// forgets none, and one that was down learns what it missed.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { freePort } from '#manifests/platform/testing/free-port';
import { decodePlain, type SiteHalt } from '#manifests/schema';
import { openRecord } from '#manifests/trust';
import { foldersOf } from '../settings.ts';
import { fusedPolicy, runResult } from '../testing/fused.ts';
import { makeAgent, makePublisher, type TestAgent } from '../testing/repository.ts';
import { readFuseFile } from './fuse-file.ts';
import { relayKeys } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-two-relays-'));
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
  fs.rmSync(root, { recursive: true, force: true });
});
const MAIN = resolve(import.meta.dirname, '../main.ts');
const SITE = 'ward-7';
const NAMES = ['a', 'b'] as const;
type Name = (typeof NAMES)[number];

async function until<T>(what: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    const found = await what();
    if (found !== undefined) return found;
    assert.ok(tries < 1_500, 'it never came');
    await new Promise((done) => void setTimeout(done, 20));
  }
}

test('9.8 S26 two relay processes of one site: one failure at each is two of the site; over a kill, and with one of them down', async () => {
  const publisher = await makePublisher(join(root, 'publisher'));
  const agents = Array.from({ length: 8 }, () => makeAgent(publisher.collector));
  const folders = (name: Name) => ({ stateDir: join(root, name, 'state'), cacheDir: join(root, name, 'cache') });
  const keys = { a: await relayKeys(foldersOf(folders('a')), SITE), b: await relayKeys(foldersOf(folders('b')), SITE) };
  const cards = NAMES.map((name) => ({ signKey: keys[name].sign.publicKey, boxKey: keys[name].box?.publicKey ?? '' }));
  await publisher.publish({
    patches: [],
    agents,
    sites: Object.fromEntries(agents.map(({ id }) => [id, SITE])),
    policy: fusedPolicy({ site: SITE, relays: cards, at: Date.now() }),
  });
  const ports = { a: await freePort(), b: await freePort() };
  const url = (name: Name) => `http://127.0.0.1:${ports[name]}`;
  const args = (name: Name) => {
    const { stateDir, cacheDir } = folders(name);
    const file = join(root, `${name}.yaml`);
    const lines = { site: SITE, siblings: `[${url(name === 'a' ? 'b' : 'a')}]`, stateDir, cacheDir, logLevel: 'error' };
    fs.writeFileSync(
      file,
      Object.entries(lines)
        .map(([key, value]) => `${key}: ${value}\n`)
        .join(''),
    );
    return ['--config', file];
  };
  const start = (words: string[]) => {
    const child = spawn(process.execPath, [MAIN, ...words], {
      stdio: 'ignore',
      env: { LC_ALL: 'C.UTF-8' },
    });
    children.add(child);
    const ended = new Promise<number | null>((done) => void child.once('exit', (exit) => done(exit)));
    return { child, ended };
  };
  const running = new Map<Name, ReturnType<typeof start>>();
  const up = async (name: Name) => {
    running.set(name, start(['run', '--listen', `127.0.0.1:${ports[name]}`, ...args(name)]));
    await until(async () => ((await fetch(`${url(name)}/healthz`).catch(() => undefined))?.status === 200 ? true : undefined));
  };
  const kill = async (name: Name) => {
    running.get(name)?.child.kill('SIGKILL');
    await running.get(name)?.ended;
  };
  const tell = async (name: Name, agent: TestAgent | undefined, outcome: 'committed' | 'rolled-back', sequence = 1) => {
    assert.ok(agent !== undefined);
    const sealed = runResult(agent, sequence, outcome, Date.now(), [
      publisher.collector.publicKey,
      ...cards.map(({ boxKey }) => boxKey),
    ]);
    const post = () => fetch(`${url(name)}/inbox/results`, { method: 'POST', body: Uint8Array.from(sealed) });
    assert.equal((await post().catch(post)).status, 201);
  };
  const halts = async (name: Name): Promise<SiteHalt[]> => {
    const response = await fetch(`${url(name)}/site-halts/${SITE}.json`);
    if (response.status === 404) return [];
    const { records } = (await response.json()) as { records: string[] };
    return records.map((record) => decodePlain('site-halt', openRecord(Buffer.from(record)).body, 'a halt'));
  };
  const counted = (name: Name) => readFuseFile(foldersOf(folders(name)).fuse);

  for (const name of NAMES) {
    const first = start(['sync', '--upstream', publisher.folder, '--upstream-root', publisher.root, ...args(name)]);
    assert.equal(await first.ended, 0);
  }
  fs.rmSync(publisher.folder, { recursive: true });
  await up('a');
  await up('b');
  for (const agent of agents.slice(0, 4)) await tell('a', agent, 'committed');
  await tell('a', agents[4], 'rolled-back');
  await until(() => (counted('a').reports.length === 5 ? true : undefined));
  await kill('a');

  // The one that is left knows nothing of that failure until the other is back, if it was never asked before.
  await tell('b', agents[0], 'committed', 2);
  await up('a');
  let told = 0;
  await until(async () => {
    // Each result that comes has it ask the other, unless that one rests after the failure before.
    if (Date.now() - told > 1_000) await tell('b', agents[0], 'committed', (told = Date.now()));
    return counted('b').reports.filter(({ from }) => from === 'sibling').length === 5 ? true : undefined;
  });
  assert.deepEqual([await halts('a'), await halts('b')], [[], []], 'one failure is allowed');
  await kill('a');

  // The second failure comes to the other relay while the first is down: together they trip it there, and it is told afterwards.
  await tell('b', agents[5], 'rolled-back');
  const [halt] = await until(async () => ((await halts('b')).length > 0 ? halts('b') : undefined));
  assert.match(halt?.reason ?? '', /2 of 6 hosts failed within 24 hours/);
  assert.deepEqual(new Set(halt?.fuse?.failed), new Set([agents[4]?.id, agents[5]?.id]));
  await up('a');
  assert.equal((await until(async () => ((await halts('a')).length > 0 ? halts('a') : undefined))).length, 1);
  for (const name of NAMES) {
    running.get(name)?.child.kill('SIGTERM');
    assert.equal(await running.get(name)?.ended, 0);
  }
});
