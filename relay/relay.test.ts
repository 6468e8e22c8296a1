// The whole relay as a process: killed at points of a sync and of taking a result, started again; tiers; commands.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { declaredFaults, isFault } from '#manifests/errors';
import { runCommandLine } from '#manifests/platform/cli';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { bareEnvironment } from '#manifests/platform/testing/environment';
import { payloadPath } from '#manifests/repository';
import { httpOrigin } from '#manifests/transfer';
import { envelopeHash, openTrust } from '#manifests/trust';
import { program } from './cli/index.ts';
import { openSpool } from './inbox/index.ts';
import { readJournal } from './inbox/journal.ts';
import { currentGeneration, mirrorLayout, verifyMirror } from './mirror/index.ts';
import { startRelay } from './run.ts';
import { foldersOf, relaySettings } from './settings.ts';
import { makeAgent, makePublisher, sha256, type TestPatch } from './testing/repository.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-relay-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const MAIN = resolve(import.meta.dirname, 'main.ts');
const KILL_AT = resolve(import.meta.dirname, 'testing/kill-at.ts');
let counter = 0;
const fresh = (name: string) => join(root, `${name}-${(counter += 1)}`);
const patch = (id: string, size = 3_000): TestPatch => ({ id: `${id}@1`, as: 'approved', bytes: randomBytes(size) });

interface Place {
  stateDir: string;
  cacheDir: string;
}
const freshPlace = (): Place => ({ stateDir: fresh('state'), cacheDir: fresh('cache') });
const foldersFlags = ({ stateDir, cacheDir }: Place) => ['--state-dir', stateDir, '--cache-dir', cacheDir];

function node(args: string[], env: Record<string, string> = {}) {
  return run(process.execPath, ['--import', KILL_AT, MAIN, ...args], {
    timeoutMs: 60_000,
    env: bareEnvironment({ LC_ALL: 'C.UTF-8', ...env }),
  });
}

/** The command line in this process. */
async function cli(...args: string[]) {
  let out = '';
  let err = '';
  const exit = await runCommandLine(program, args, {
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    errIsTerminal: false,
  });
  return { exit, out, err };
}

test('S33 a sync killed at writes, renames, links and flushes all along its way: old or new, and the next one converges', async () => {
  const publisher = await makePublisher(fresh('publisher'));
  const first = [patch('a'), patch('b')];
  await publisher.publish({ patches: first });
  const base = freshPlace();
  const flags = ['--upstream', publisher.folder, '--upstream-root', publisher.root];
  assert.equal((await cli('sync', ...flags, ...foldersFlags(base))).exit, 0);
  await publisher.publish({ patches: [...first, patch('c'), patch('d', 100_000)] });

  const copyOf = (place: Place): Place => {
    const copy = freshPlace();
    for (const part of ['stateDir', 'cacheDir'] as const)
      fs.cpSync(place[part], copy[part], { recursive: true, verbatimSymlinks: true });
    return copy;
  };
  const counting = copyOf(base);
  const countFile = fresh('count');
  const whole = await node(['sync', ...flags, ...foldersFlags(counting)], { PATCHFERRY_TEST_COUNT: countFile });
  assert.equal(whole.code, 0, whole.stderr);
  const total = Number(fs.readFileSync(countFile, 'utf8'));
  assert.ok(total > 40, `${total} changes to the disk`);

  // Spread over the whole, and each of the last steps, in which the generation is numbered and switched.
  const points = new Set([
    ...Array.from({ length: 12 }, (_, n) => 1 + Math.floor((n * total) / 12)),
    ...Array.from({ length: 10 }, (_, n) => total - n),
  ]);
  const seen = new Set<number>();
  const sweep = async (point: number) => {
    const place = copyOf(base);
    const folders = foldersOf(place);
    const killed = await node(['sync', ...flags, ...foldersFlags(place)], { PATCHFERRY_TEST_KILL_AT: String(point) });
    assert.equal(killed.signal, 'SIGKILL', `${point}: ${killed.stderr}`);
    const generation = currentGeneration(mirrorLayout(folders.mirror));
    assert.ok(generation?.number === 1 || generation?.number === 2, `${point}: a whole generation is served`);
    seen.add(generation.number);
    // What is served is complete: each signed file and each payload it needs.
    const check = await verifyMirror({ ...folders, trust: counting.stateDir + '/trust', now: Date.now });
    assert.deepEqual(check.bad, [], `${point}`);
    const again = await cli('sync', ...flags, ...foldersFlags(place));
    assert.ok(again.exit === 0 || again.exit === 3, `${point}: ${again.err}`);
    assert.equal(currentGeneration(mirrorLayout(folders.mirror))?.versions.timestamp, 2, `${point}`);
    assert.deepEqual((await verifyMirror({ ...folders, now: Date.now })).bad, [], `${point}`);
    const left = fs
      .readdirSync(folders.mirror, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.includes('.tmp-') || name.endsWith('.part'));
    assert.deepEqual(left, [], `${point}: nothing is left over`);
    for (const part of Object.values(place)) fs.rmSync(part, { recursive: true });
  };
  const queue = points.values();
  await Promise.all(
    [0, 1].map(async () => {
      for (const point of queue) await sweep(point);
    }),
  );
  assert.deepEqual(
    [...seen].toSorted((a, b) => a - b),
    [1, 2],
    'points before and after the switch were hit',
  );
});

/** Starts `run` as a process and waits until it serves. */
async function startProcess(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ child: ChildProcess; url: string; ended: Promise<void> }> {
  const child = spawn(
    process.execPath,
    ['--import', KILL_AT, MAIN, 'run', '--listen', '127.0.0.1:0', '--log-level', 'silent', ...args],
    {
      env: bareEnvironment(env),
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  closing.push(() => child.kill('SIGKILL'));
  const ended = new Promise<void>((done) => child.once('close', () => done()));
  const url = await new Promise<string>((found, failed) => {
    let text = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const match = /serving at (\S+)/.exec(text);
      if (match?.[1] !== undefined) found(match[1]);
    });
    child.once('close', () => failed(new Error(text)));
  });
  return { child, url, ended };
}

const envelopesIn = (folder: string) =>
  fs.existsSync(folder)
    ? fs
        .readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.pfe'))
        .toSorted()
    : [];

test('S33 the relay killed between the write and the answer: what was answered is there, what was not is sent again, one of each', async () => {
  const publisher = await makePublisher(fresh('publisher'));
  const agent = makeAgent(publisher.collector);
  await publisher.publish({ patches: [], agents: [agent] });
  const place = freshPlace();
  const flags = ['--upstream', publisher.folder, '--upstream-root', publisher.root, ...foldersFlags(place)];
  assert.equal((await cli('sync', ...flags)).exit, 0);
  const held = Array.from({ length: 90 }, (_, n) => agent.result(n + 1));
  const answered = new Set<string>();
  const kills = { starting: 0, taking: 0 };
  // Without upstream the process changes the disk only for what it takes in, so a number is a point of that.
  for (const killAt of [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 0]) {
    const relay = await startProcess(foldersFlags(place), { PATCHFERRY_TEST_KILL_AT: String(killAt) }).catch(() => undefined);
    if (relay === undefined) {
      kills.starting += 1;
      continue;
    }
    const origin = httpOrigin(relay.url);
    try {
      for (const bytes of held) {
        const { status } = await origin.post('inbox/results', bytes);
        assert.ok(status === 200 || status === 201);
        if (answered.has(envelopeHash(bytes))) assert.equal(status, 200, 'what was answered is known');
        answered.add(envelopeHash(bytes));
      }
    } catch (error) {
      assert.ok(isFault(error, 'transfer.cut', 'transfer.unreachable'), String(error));
      kills.taking += 1;
    }
    await origin.close();
    relay.child.kill('SIGKILL');
    await relay.ended;
    const inbox = join(place.stateDir, 'inbox');
    const here = new Set([
      ...envelopesIn(inbox).map((name) => envelopeHash(fs.readFileSync(join(inbox, name)))),
      ...[...readJournal(join(inbox, '.journal'))].map(({ bytes }) => envelopeHash(bytes)),
    ]);
    for (const hash of answered) assert.ok(here.has(hash), 'nothing that was answered is lost');
  }
  assert.ok(kills.taking >= 8, JSON.stringify(kills));
  const inbox = join(place.stateDir, 'inbox');
  await openSpool(inbox).close();
  assert.deepEqual(
    envelopesIn(inbox).map((name) => envelopeHash(fs.readFileSync(join(inbox, name)))),
    held.map(envelopeHash),
  );
});

test("two tiers: an agent refreshes and downloads from the far relay, its result arrives in the publisher's inbox folder, once", async () => {
  const publisher = await makePublisher(fresh('publisher'));
  const agent = makeAgent(publisher.collector);
  const payload = patch('a', 700_000);
  await publisher.publish({ patches: [payload], agents: [agent] });
  const home = fresh('inbox');
  fs.mkdirSync(home);
  const settings = (over: object) =>
    relaySettings.parse({ listen: '127.0.0.1:0', upstreamRoot: publisher.root, ...freshPlace(), ...over });
  const near = await startRelay(settings({ upstream: [publisher.folder], inboxForward: [home] }), { log: silentLog });
  closing.push(() => near.stop());
  await near.sync();
  const far = await startRelay(settings({ upstream: [near.url], inboxForward: ['http://127.0.0.1:1', near.url] }), {
    log: silentLog,
  });
  closing.push(() => far.stop());
  await far.sync();

  const origin = httpOrigin(far.url);
  closing.push(() => origin.close());
  const trust = openTrust({ folder: fresh('agent'), pinnedRoot: fs.readFileSync(publisher.root), now: Date.now });
  assert.equal((await trust.refresh(origin)).changed, true);
  assert.ok((await trust.readTarget('catalogs/test-1.json.zst', origin)).length > 0);
  const file = fresh('payload');
  await origin.download(
    payloadPath(sha256(payload.bytes)),
    { sha256: sha256(payload.bytes), size: payload.bytes.length },
    file,
  );
  assert.deepEqual(fs.readFileSync(file), payload.bytes);
  assert.equal((await trust.refresh(origin)).changed, false);

  const results = [1, 2, 3].map((sequence) => agent.result(sequence));
  const stranger = makeAgent(publisher.collector);
  for (const bytes of results) assert.equal((await origin.post('inbox/results', bytes)).status, 201);
  assert.equal((await origin.post('inbox/results', stranger.result(1))).status, 403);
  assert.equal((await origin.post('inbox/enrolments', stranger.enrolment())).status, 201);
  await far.forward();
  await near.forward();
  while (envelopesIn(home).length < 4) {
    await far.forward();
    await near.forward();
  }
  assert.deepEqual(
    envelopesIn(join(home, 'results')).map((name) => envelopeHash(fs.readFileSync(join(home, 'results', name)))),
    results.map(envelopeHash),
  );
  for (const bytes of results) assert.equal((await origin.post('inbox/results', bytes)).status, 200, 'a replay is known');
});

test('S21 an agent whose refresh is overtaken by a switch, at each of its requests: the old state or the new one, never an error', async () => {
  const publisher = await makePublisher(fresh('publisher'));
  await publisher.publish({ patches: [patch('a')] });
  const relay = await startRelay(
    relaySettings.parse({ listen: '127.0.0.1:0', upstream: [publisher.folder], upstreamRoot: publisher.root, ...freshPlace() }),
    { log: silentLog, limits: { generationMs: 0 } },
  );
  closing.push(() => relay.stop());
  await relay.sync();
  const origin = httpOrigin(relay.url);
  closing.push(() => origin.close());
  for (let overtakenAt = 1; overtakenAt <= 9; overtakenAt += 1) {
    let requests = 0;
    const overtaken = {
      fetchSmall: async (...args: Parameters<typeof origin.fetchSmall>) => {
        const answer = await origin.fetchSmall(...args);
        requests += 1;
        if (requests === overtakenAt) {
          await publisher.publish({ patches: [patch(`p${overtakenAt}`)] });
          assert.equal((await relay.sync())?.changed, true);
        }
        return answer;
      },
    };
    const trust = openTrust({ folder: fresh('agent'), pinnedRoot: fs.readFileSync(publisher.root), now: Date.now });
    await trust.refresh(overtaken);
    for (const { path } of trust.targets()) assert.ok((await trust.readTarget(path, overtaken)).length > 0);
    assert.ok(requests >= overtakenAt, 'it was overtaken');
  }
});

test('SIGTERM ends gracefully with exit 0, and a second relay on the same state is refused while one runs', async () => {
  const place = freshPlace();
  const { child, url, ended } = await startProcess(foldersFlags(place));
  const second = await cli('run', '--listen', '127.0.0.1:0', ...foldersFlags(place));
  assert.equal(second.exit, 4);
  assert.match(second.err, /lock\.held/);
  assert.equal((await fetch(`${url}/healthz`)).status, 503, 'nothing mirrored yet');
  child.kill('SIGTERM');
  await ended;
  assert.equal(child.exitCode, 0);
});

test('commands: sync, status, verify and gc with their exit codes and reports', async () => {
  const publisher = await makePublisher(fresh('publisher'));
  await publisher.publish({ patches: [patch('a')] });
  const place = freshPlace();
  const config = fresh('relay.yaml');
  fs.writeFileSync(
    config,
    `upstream: [${publisher.folder}]\nupstreamRoot: ${publisher.root}\nstateDir: ${place.stateDir}\ncacheDir: ${place.cacheDir}\n`,
  );
  assert.equal((await cli('status', '--config', config)).exit, 1);
  assert.equal((await cli('verify', '--config', config)).exit, 1);
  assert.equal((await cli('sync', '--config', config)).exit, 0);
  const again = await cli('sync', '--config', config, '--json');
  assert.equal(again.exit, 3);
  assert.equal((JSON.parse(again.out) as { changed: boolean }).changed, false);
  const status = await cli('status', '--config', config, '--json');
  assert.equal(status.exit, 0, status.out);
  assert.deepEqual((JSON.parse(status.out) as { generation: { products: string[] } }).generation.products, ['test-1']);
  assert.equal((await cli('verify', '--config', config)).exit, 0);
  assert.equal((await cli('gc', '--config', config)).exit, 3);
  const payloads = join(place.cacheDir, 'mirror/payloads/sha256');
  const [some] = fs.readdirSync(payloads, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('/'));
  fs.rmSync(join(payloads, some ?? ''));
  assert.equal((await cli('verify', '--config', config)).exit, 5);
  assert.equal((await cli('sync', '--config', config)).exit, 0);
  fs.appendFileSync(config, 'upstrem: []\n');
  const wrong = await cli('status', '--config', config);
  assert.equal(wrong.exit, 2);
  assert.match(wrong.err, /:5:1: upstrem: unknown field \(did you mean "upstream"\?\)/);
  assert.equal(
    (await cli('sync', '--upstream', join(root, 'none'), ...foldersFlags(freshPlace()), '--upstream-root', publisher.root))
      .exit,
    8,
  );
  assert.equal((await cli('sync', '--upstream', publisher.folder, ...foldersFlags(freshPlace()))).exit, 2, 'no pinned root');
  assert.equal((await cli('sync', ...foldersFlags(freshPlace()))).exit, 2, 'no upstream');
});

test('the README names every setting, command and error code of the relay', async () => {
  await import('./inbox/index.ts');
  const text = fs.readFileSync(resolve(import.meta.dirname, 'README.md'), 'utf8');
  const codes = declaredFaults().filter(({ code }) => /^(?:mirror|inbox|serve|transfer)\./.test(code));
  assert.ok(codes.length > 20);
  for (const { code } of codes) assert.ok(text.includes(`\`${code}\``), code);
  for (const setting of Object.keys(relaySettings.shape)) assert.ok(text.includes(`\`${setting}\``), setting);
  for (const { name } of program.commands) assert.ok(text.includes(`\`${name}`), name);
});
