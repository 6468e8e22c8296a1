// What a person writes wrongly into relay.yaml: each is told by the line, the setting and what it should be.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '#manifests/errors';
import { silentLog } from '#manifests/platform/log';
import { syncMirror } from './mirror/index.ts';
import { settingsOf } from './settings.ts';
import { makePublisher } from './testing/repository.ts';

const root = fs.mkdtempSync(join(tmpdir(), 'pf-settings-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));

const WRONG: ReadonlyArray<readonly [string, RegExp]> = [
  [
    'upstream: [relay-a.example:8480]',
    /:1:12: upstream\.0: write http:\/\/ or https:\/\/ before an address, \.\/ before a folder/,
  ],
  ['upstream: ["[2001:db8::1]:8480/base"]', /upstream\.0: write http/],
  ['upstream: [http://one.example, "ftp://x/y"]', /upstream\.1: must be an http:\/\/ or https:\/\/ address, or a folder/],
  ['inboxForward: [relay-a.example:8480/]', /inboxForward\.0: write http/],
  ['siblings: [not an address]', /siblings\.0: must be an http:\/\/ or https:\/\/ address/],
  ['siblings: [/srv/relay]', /siblings\.0: must be/],
  ['proxy: { url: "http://user:secret@proxy:3128" }', /proxy\.url: give user and passwordFile beside it/],
  ['proxy: { url: "proxy:3128" }', /proxy\.url: give the proxy as http:\/\/host:port/],
  ['upstrem: []', /:1:1: upstrem: unknown field \(did you mean "upstream"\?\)/],
  ['line: { zone: Europe/Berln }', /line\.zone: is no time zone/],
];

const read = (text: string) => {
  const config = join(root, 'relay.yaml');
  fs.writeFileSync(config, `${text}\n`);
  return settingsOf({ options: { config } });
};

test('values that cannot be meant are refused by name, and never with what is secret in them', () => {
  for (const [text, says] of WRONG) {
    try {
      read(text);
      assert.fail(text);
    } catch (error) {
      assert.ok(isFault(error, 'settings.invalid'), `${text}: ${String(error)}`);
      assert.match(error.message, says);
      assert.ok(!error.message.includes('secret'));
    }
  }
  const fine = [
    'http://a.example',
    'HTTPS://a:1/b',
    '/srv/x:8480',
    './a:80',
    'hq/repository',
    'file:///srv/x',
    'C:\\hq',
    '//nas/hq',
  ];
  assert.deepEqual(read(JSON.stringify({ upstream: fine, inboxForward: fine, siblings: fine.slice(0, 2) })).upstream, fine);
});

test('a root that is a folder, gone, cut or something else is named with its path', async () => {
  const publisher = await makePublisher(join(root, 'publisher'));
  await publisher.publish({ patches: [] });
  const cut = join(root, 'cut.json');
  fs.writeFileSync(cut, fs.readFileSync(publisher.root).subarray(0, -10));
  const text = fs.readFileSync(publisher.root, 'utf8');
  const changed = join(root, 'changed.json');
  fs.writeFileSync(
    changed,
    text.replace(/"expires":\s*"2/, (found) => `${found.slice(0, -1)}3`),
  );
  assert.notEqual(fs.readFileSync(changed, 'utf8'), text);
  const sync = (pinnedRoot: string) =>
    syncMirror({
      mirror: join(root, 'mirror'),
      trust: join(root, 'trust'),
      lock: join(root, 'lock'),
      origins: [{ name: 'none' } as never],
      pinnedRoot,
      payloads: 'approved',
      clock: { now: Date.now, monotonic: () => performance.now() },
      log: silentLog,
    });
  for (const [path, code] of [
    [root, 'files.unreadable'],
    [join(root, 'none'), 'mirror.no-root'],
    [cut, 'mirror.bad-root'],
    [changed, 'mirror.bad-root'],
  ] as const)
    await assert.rejects(sync(path), (error) => isFault(error, code) && error.message.includes(path), path);
});
