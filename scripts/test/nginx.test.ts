// Real agents and a real nginx: in front of a relay with the configuration that the relay prints, and as plain hosting of the
// publisher's repository, beside a relay that takes the results.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { freePort } from '#manifests/platform/testing/free-port';
import { makeHost, type TestHost } from '../../agent/service/testing/host.ts';
import { startRelay } from '../../relay/run.ts';
import { nginxConfig } from '../../relay/serve/index.ts';
import { foldersOf, relaySettings } from '../../relay/settings.ts';
import { until } from '../fleet/index.ts';
import { hasNginx, openNginx } from './web-server.ts';

const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

const skip = (await hasNginx()) ? false : 'nginx is not installed here';

const startNginx = async (folder: string, block: string, port: number): Promise<string> => {
  const { log, stop } = await openNginx(folder, block, port);
  closing.push(stop);
  return log;
};

/** A real relay in this process, fed from the host's publisher, and the folder that results end in. */
async function relayOf(host: TestHost) {
  const inbox = join(host.folder, 'inbox');
  fs.mkdirSync(inbox);
  const place = { stateDir: join(host.folder, 'relay-state'), cacheDir: join(host.folder, 'relay-cache') };
  const settings = relaySettings.parse({
    ...place,
    listen: '127.0.0.1:0',
    upstream: [host.publisher.repository],
    upstreamRoot: host.publisher.rootFile,
    inboxForward: [inbox],
  });
  const relay = await startRelay(settings, { log: silentLog });
  closing.push(() => relay.stop());
  await relay.sync();
  const results = () =>
    fs.existsSync(join(inbox, 'results'))
      ? fs.readdirSync(join(inbox, 'results'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pfe'))
      : [];
  return { relay, results, mirror: foldersOf(place).mirror };
}

const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };

test('an agent behind nginx with the printed configuration: one 304 a poll, installs, its results arrive', {
  skip,
}, async () => {
  const host = await makeHost();
  closing.push(() => host.remove());
  await host.enrol();
  await host.publish({ releases: [ONE] });
  const { relay, results, mirror } = await relayOf(host);
  const port = await freePort();
  const block = nginxConfig({ mirror, front: `127.0.0.1:${port}`, relay: new URL(relay.url).host });
  const log = await startNginx(join(host.folder, 'nginx'), block, port);
  host.settings([`relays: ["http://127.0.0.1:${port}"]`]);

  const first = await host.agent(['once']);
  assert.equal(first.code, 0, first.out + first.err);
  assert.equal(host.tool(), 'one');
  await until('results', 30, () => (results().length > 0 ? true : undefined));

  fs.truncateSync(log);
  const second = await host.agent(['once']);
  assert.equal(second.code, 3, second.out + second.err);
  const asked = await until('the log', 10, () => {
    const rows = fs.readFileSync(log, 'utf8').trim().split('\n');
    return rows[0] === '' ? undefined : rows;
  });
  assert.equal(asked.length, 1, asked.join('\n'));
  assert.match(asked[0] ?? '', /"GET \/metadata\/timestamp\.json HTTP\/1\.1" 304/);

  await host.publish({ releases: [ONE, TWO] });
  await relay.sync();
  await until('the next generation', 30, async () => {
    const ran = await host.agent(['once']);
    assert.ok([0, 3].includes(ran.code ?? -1), ran.out + ran.err);
    return host.tool() === 'two' ? true : undefined;
  });
});

test('an agent reads plain static hosting and posts to a relay: the hosting is not asked twice to take results', {
  skip,
}, async () => {
  const host = await makeHost();
  closing.push(() => host.remove());
  await host.enrol();
  await host.publish({ releases: [ONE] });
  const { relay, results } = await relayOf(host);
  const port = await freePort();
  const block = `server { listen 127.0.0.1:${port}; root ${host.publisher.repository}; default_type application/octet-stream; }`;
  const log = await startNginx(join(host.folder, 'nginx'), block, port);
  host.settings([`relays: ["http://127.0.0.1:${port}", "${relay.url}"]`]);
  {
    using journal = host.journal();
    journal.setMeta('relays', null); // the relay of the enrolment is not kept
  }
  for (const [release, number] of [
    [ONE, 1],
    [TWO, 2],
  ] as const) {
    if (number > 1) await host.publish({ releases: [ONE, TWO] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), release.content);
    const status = await host.agent(['status']);
    assert.match(status.out, new RegExp(`relay +http://127\\.0\\.0\\.1:${port}: used last`));
    assert.match(status.out, /takes no results/);
  }
  await until('results', 30, () => (results().length >= 4 ? true : undefined));
  const rows = fs.readFileSync(log, 'utf8').split('\n');
  assert.equal(rows.filter((row) => row.includes('"POST /inbox/results')).length, 1);
  assert.ok(rows.some((row) => /"GET \/payloads\/sha256\/.* 200 /.test(row)));
});
