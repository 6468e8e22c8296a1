// Two relays behind one name, request by request in turn (nginx): enrolment, polls, a payload that goes on at the other one, results at
// either, duplicates known where they meet; one that lags behind; one that is gone.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort } from '#manifests/platform/testing/free-port';
import { payloadPath } from '#manifests/repository';
import { httpOrigin } from '#manifests/transfer';
import type { RunningRelay } from '../../relay/run.ts';
import { until } from '../fleet/index.ts';
import { type Branch, type BranchHost, type BranchRelay, openBranch } from './branch.ts';
import { hasNginx, openNginx } from './web-server.ts';

const skip = (await hasNginx()) ? false : 'nginx is not installed here';
const PAYLOAD = 3_000_000;

describe('two relays behind one name', { skip }, () => {
  let branch: Branch;
  let host: BranchHost;
  let above: RunningRelay;
  let pair: [BranchRelay, BranchRelay];
  let running: [RunningRelay, RunningRelay];
  let name: string;
  let log: string;
  let stopNginx: () => Promise<unknown>;
  /** What went where since the last look: `127.0.0.1:8480 GET /metadata/… 200 1234`. */
  const asked = () => {
    const rows = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n').filter(Boolean) : [];
    fs.writeFileSync(log, '');
    return rows.map((row) => {
      const [relay = '', method = '', path = '', status = '', bytes = ''] = row.split(' ');
      return { relay, method, path, status: Number(status), bytes: Number(bytes) };
    });
  };
  const syncAll = async () => {
    for (const relay of [above, ...running]) await relay.sync();
  };
  /** Envelopes that lie at a relay. */
  const spooled = ({ folder }: BranchRelay, kind: 'results' | 'enrolments') =>
    fs
      .readdirSync(join(folder, 'state/inbox', kind), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.pfe'))
      .map((file) => join(folder, 'state/inbox', kind, file));
  /** So many of them, once each has its own file. */
  const settled = (kind: 'results' | 'enrolments', least: number) =>
    until(`${least} ${kind}`, 30, () => (pair.flatMap((relay) => spooled(relay, kind)).length >= least ? true : undefined));

  before(async () => {
    branch = await openBranch();
    const hq = branch.relay('hq', { upstream: [branch.publisher.repository], inboxForward: [branch.inbox] });
    above = await hq.start();
    await above.sync();
    // The pair brings nothing on by itself in the test: `inboxForward` is reached when the test says so.
    const settings = { upstream: [above.url], payloads: 'all' };
    pair = [branch.relay('a', settings), branch.relay('b', settings)];
    running = [await pair[0].start(), await pair[1].start()];
    await syncAll();
    const port = await freePort();
    const [a, b] = running.map(({ url }) => new URL(url).host);
    const block = `log_format who '$upstream_addr $request_method $uri $status $body_bytes_sent';
upstream pair { server ${a}; server ${b}; }
server { listen 127.0.0.1:${port}; access_log ${join(branch.folder, 'who.log')} who; client_max_body_size 17m;
  location / { proxy_pass http://pair; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_next_upstream error; } }`;
    const nginx = await openNginx(join(branch.folder, 'nginx'), block, port);
    stopNginx = nginx.stop;
    log = join(branch.folder, 'who.log');
    name = `http://127.0.0.1:${port}`;
    host = branch.host('scale-07');
  });
  after(async () => {
    await stopNginx();
    await branch.close();
  });

  test('every file has the same validators at both, so that conditions and If-Range hold across them', async () => {
    const mirror = join(pair[0].folder, 'cache/mirror/current/');
    const files = ['metadata', 'targets', 'payloads/sha256'].flatMap((part) =>
      fs
        .readdirSync(join(mirror, part), { recursive: true, encoding: 'utf8' })
        .map((file) => `${part}/${file}`)
        .filter((file) => fs.statSync(join(mirror, file)).isFile()),
    );
    assert.ok(files.length > 10);
    for (const file of files) {
      const [one, two] = await Promise.all(running.map(({ url }) => fetch(`${url}/${file}`, { method: 'HEAD' })));
      assert.equal(one?.status, 200, file);
      for (const header of ['etag', 'last-modified', 'content-length', 'cache-control'])
        assert.equal(one.headers.get(header), two?.headers.get(header) ?? null, `${file}: ${header}`);
      assert.ok(one.headers.get('etag') !== null);
    }
  });

  test('a host enrols, installs and polls over the name, and both relays answer it; a poll with nothing new is one request', async () => {
    const enrolled = await host.enrol(name);
    assert.equal(enrolled.exit, 0, enrolled.out + enrolled.err);
    await settled('enrolments', 1);
    const requests = pair.flatMap((relay) => spooled(relay, 'enrolments'));
    assert.equal(requests.length, 1);
    const [request = ''] = requests;
    assert.equal(
      (await fetch(`${above.url}/inbox/enrolments`, { method: 'POST', body: fs.readFileSync(request) })).status,
      201,
    );
    await above.forward();
    await branch.approve();
    await syncAll();
    asked();
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /1\.0\.0/);
    assert.equal(new Set(asked().map(({ relay }) => relay)).size, 2, 'both were asked');
    for (let polls = 0; polls < 2; polls += 1) {
      await host.agent('once');
      const gets = asked().filter(({ method }) => method === 'GET');
      assert.deepEqual(
        gets.map(({ path, status, bytes }) => [path, status, bytes]),
        [['/metadata/timestamp.json', 304, 0]],
      );
    }
  });

  test('S23 a payload that is cut goes on at the other relay in mid-file', async () => {
    await branch.release('2.0.0', randomBytes(PAYLOAD));
    await syncAll();
    const store = join(branch.publisher.repository, 'payloads/sha256');
    const large = fs
      .readdirSync(store, { recursive: true, encoding: 'utf8' })
      .map((file) => join(store, file))
      .filter((file) => fs.statSync(file).size >= PAYLOAD)
      .map((file) => ({ sha256: file.slice(-64), size: fs.statSync(file).size }))[0];
    assert.ok(large !== undefined);
    const origin = httpOrigin(name);
    asked();
    const stop = new AbortController();
    let first = 0;
    const onFirst = (bytes: number) => {
      first += bytes;
      stop.abort(new Error('cut'));
    };
    const to = join(branch.folder, 'got');
    const path = payloadPath(large.sha256);
    await assert.rejects(origin.download(path, large, to, { signal: stop.signal, onBytes: onFirst }), /cut/);
    let rest = 0;
    await origin.download(path, large, to, { onBytes: (bytes) => (rest += bytes) });
    assert.equal(first + rest, large.size, 'no byte twice');
    const rows = asked();
    assert.deepEqual(
      rows.map(({ status }) => status),
      [200, 206],
    );
    assert.notEqual(rows[0]?.relay, rows[1]?.relay, 'the other one gave the rest');
    await origin.close();
  });

  test('S25 results go to either; what comes twice is known at one of them, and where both meet', async () => {
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    const { outbox } = JSON.parse((await host.agent('status', '--json')).out) as { outbox: { lastSequence: number } };
    await settled('results', outbox.lastSequence);
    const results = pair.map((relay) => spooled(relay, 'results'));
    assert.ok(
      results.every((files) => files.length > 0),
      results.map((files) => files.length).join(' and '),
    );
    const all = results.flat().map((file) => fs.readFileSync(file));
    for (const [index, bytes] of all.entries()) {
      const post = async (url: string) => (await fetch(`${url}/inbox/results`, { method: 'POST', body: bytes })).status;
      const [here, there] = index < (results[0]?.length ?? 0) ? running : [running[1], running[0]];
      assert.equal(await post(here.url), 200, 'known at the relay that has it');
      assert.equal(await post(there.url), 201, 'new to the other one');
    }
    await settled('results', all.length * 2);
    const statuses: number[] = [];
    for (const relay of pair)
      for (const file of spooled(relay, 'results')) {
        const answer = await fetch(`${above.url}/inbox/results`, { method: 'POST', body: fs.readFileSync(file) });
        statuses.push(answer.status);
      }
    const counts = [200, 201].map((status) => statuses.filter((each) => each === status).length);
    assert.deepEqual(counts, [all.length, all.length], 'each new once, each known once');
    await above.forward();
    const collected = (await branch.publisher.json('collect')) as {
      stored: number;
      chains: { gaps: unknown[]; forks: unknown[] }[];
    };
    assert.equal(collected.stored, all.length);
    assert.ok(collected.chains.every(({ gaps, forks }) => gaps.length === 0 && forks.length === 0));
  });

  test('one of the two lags behind: the host never goes back, and gets the new release', async () => {
    await branch.release('3.0.0');
    await above.sync();
    await running[0].sync();
    const ends: number[] = [];
    const version = async () => {
      const { versions } = JSON.parse((await host.agent('status', '--json')).out) as { versions: { timestamp: number } };
      return versions.timestamp;
    };
    let before = await version();
    for (let tries = 0; tries < 3; tries += 1) {
      const ran = await host.agent('once');
      ends.push(ran.exit);
      assert.ok([0, 3].includes(ran.exit), `${ends.join(' ')}: ${ran.out}${ran.err}`);
      const after = await version();
      assert.ok(after >= before, 'trusted versions only grow');
      before = after;
    }
    assert.match(host.tool() ?? '', /3\.0\.0/, 'before the other one is in step');
    const { relayUse } = JSON.parse((await host.agent('status', '--json')).out) as {
      relayUse: { relays: { restsUntil: string | null }[] };
    };
    assert.deepEqual(
      relayUse.relays.map(({ restsUntil }) => restsUntil),
      [null],
      'the name does not rest',
    );
    await running[1].sync();
    const ran = await host.agent('once');
    assert.ok([0, 3].includes(ran.exit), `${ends.join(' ')}: ${ran.out}${ran.err}`);
    assert.match(host.tool() ?? '', /3\.0\.0/);
  });

  test('one of the two is gone for good: the name still serves, and nothing is missed', async () => {
    await running[1].stop();
    await branch.release('4.0.0');
    await syncAll();
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /4\.0\.0/);
  });
});
