// One identity, two histories: a machine that was cloned with its state, and one that was put back to an image. The ack of the
// publisher tells it; the machine reports it and does what the group says.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Group } from '#manifests/schema';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll } from './testing/publisher.ts';

describe('trap 13: the ack is of another history', () => {
  let host: TestHost;
  let number = 0;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({});
    await host.agent(['once']);
  });
  after(() => host.remove());

  const image = (name: string) => join(host.folder, `image-${name}`);
  const keep = (name: string) => fs.cpSync(host.stateDir, image(name), { recursive: true });
  const become = (name: string) => {
    fs.rmSync(host.stateDir, { recursive: true });
    fs.cpSync(image(name), host.stateDir, { recursive: true });
  };
  const told = () => openAll(host.relay.results, host.publisher);
  const last = () => told().at(-1) ?? assert.fail('nothing was told');
  const offer = async (group: Partial<Group>, ack?: ReturnType<typeof last>) => {
    number += 1;
    const content = `content ${number}`;
    const acks = ack === undefined ? [] : [{ agent: ack.result.agent, sequence: ack.result.sequence, hash: ack.hash }];
    await host.publish({ releases: [{ version: `${number}.0.0`, content }], group, acks });
    return content;
  };
  /** What came to the relay during an act, in order of arrival. */
  const arriving = async (act: () => Promise<unknown>) => {
    const before = new Set(told().map(({ hash }) => hash));
    await act();
    return told().filter(({ hash }) => !before.has(hash));
  };
  const codes = (results: ReturnType<typeof told>) =>
    results.flatMap(({ result }) => (result.kind === 'alert' ? [result.body.code] : []));

  /** The machine is cloned; both tell under the same numbers; the publisher has acknowledged what the first one told. */
  async function cloned(group: Partial<Group>) {
    await offer(group);
    await host.agent(['once']);
    keep('second');
    await offer(group);
    const first = await arriving(() => host.agent(['once']));
    keep('first');
    become('second');
    const second = await arriving(() => host.agent(['once']));
    const twins = first.filter(({ result }) => second.some((each) => each.result.sequence === result.sequence));
    assert.deepEqual(codes([...first, ...second]), [], 'no machine can see that by itself');
    const acked = twins.at(-1) ?? assert.fail('there are not two results with one number');
    const content = await offer(group, acked);
    return { acked, content };
  }

  test('report: an alert with both, a whole scan, numbers that go on after the ack; it installs as before', async () => {
    const { acked, content } = await cloned({});
    let ran = { code: null as number | null, out: '', err: '' };
    const news = await arriving(async () => {
      ran = await host.agent(['once']);
    });
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.match(ran.out, /another machine reports under the same identity; it goes on as policy says/);
    assert.equal(host.tool(), content);
    assert.deepEqual(codes(news), ['outbox.fork']);
    const [alert] = news;
    assert.ok(alert?.result.kind === 'alert' && alert.result.sequence === acked.result.sequence + 1);
    assert.equal(alert.result.previous, acked.hash, 'it stands on what the publisher has');
    assert.match(alert.result.body.message, new RegExp(`result ${acked.result.sequence} is not the one of this machine`));
    assert.ok(news.some(({ result }) => result.kind === 'scan' && result.body.inventory !== null));
    assert.deepEqual(codes(await arriving(() => host.agent(['once']))), [], 'told once');
    become('first');
    assert.deepEqual(
      codes(await arriving(() => host.agent(['once']))),
      [],
      'the one whose word was acknowledged has nothing to say',
    );
  });

  test('stop: nothing is installed on the machine whose word it is not, until a person says that it is the one', async () => {
    const { content } = await cloned({ clones: 'stop' });
    const before = host.tool();
    for (let poll = 0; poll < 2; poll += 1) {
      const ran = await host.agent(['once']);
      assert.equal(ran.code, 4, ran.out + ran.err);
      assert.match(ran.out, /nothing is installed until a person has looked/);
      assert.equal(host.tool(), before);
    }
    assert.ok(codes(told()).includes('outbox.fork'));
    const settled = await host.agent(['once', '--retry']);
    assert.equal(settled.code, 0, settled.out + settled.err);
    assert.equal(host.tool(), content);
  });

  test('re-enrol: the hardware is as ever, so it stays what it is, and says so', async () => {
    const keys = fs.readFileSync(join(host.stateDir, 'keys/sign.key'), 'utf8');
    const { content } = await cloned({ clones: 're-enrol' });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.match(ran.out, /another machine reports under the same identity; it goes on as policy says/);
    assert.equal(fs.readFileSync(join(host.stateDir, 'keys/sign.key'), 'utf8'), keys);
    assert.equal(host.tool(), content);
  });

  test('put back to an image, the ack ahead of its own number: it says so, scans at once, and no number is used twice', async () => {
    keep('image');
    await offer({});
    await host.agent(['once']);
    const ahead = last();
    become('image');
    fs.rmSync(host.archiveRoot, { recursive: true });
    const content = await offer({}, ahead);
    let out = '';
    const news = await arriving(async () => {
      ({ out } = await host.agent(['once']));
    });
    assert.match(out, /this machine was put back to an older state; its results go on after the ack/);
    assert.deepEqual(codes(news), ['outbox.reverted']);
    assert.deepEqual(
      news.map(({ result }) => result.sequence),
      news.map((_, index) => ahead.result.sequence + 1 + index),
    );
    assert.equal(news[0]?.result.previous, ahead.hash);
    assert.ok(news.some(({ result }) => result.kind === 'scan' && result.body.inventory !== null));
    assert.equal(host.tool(), content, 'what it lost with the image is installed again');
  });
});
