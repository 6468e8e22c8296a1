// Halts and recalls on a host: the whole agent, as a process, against a real signed repository.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { utcSeconds } from '#manifests/platform/clock';
import { canonicalJson, type SignedHalt, type SignedRecall } from '#manifests/schema';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll } from './testing/publisher.ts';

const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };
const HALT: SignedHalt = {
  schema: 'patchferry/halt',
  schemaVersion: 1,
  name: 'freeze',
  signedAt: utcSeconds(Date.now() - 1_000),
  scope: {},
  patches: [],
  stops: ['install'],
  reason: 'the cranes are moving',
  until: null,
};
const RECALL: SignedRecall = {
  schema: 'patchferry/recall',
  schemaVersion: 1,
  name: 'tool-two',
  signedAt: HALT.signedAt,
  patches: ['tool@2.0.0'],
  action: 'never-install',
  scope: {},
  reason: 'it eats data',
  replaceWith: null,
  withinDays: null,
};

describe('halts and recalls', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({ releases: [ONE] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
  });
  after(() => host.remove());

  test('a halt: nothing is installed, the reason is told; lifted, the host goes on', async () => {
    await host.publish({ releases: [ONE, TWO], stops: [HALT] });
    const halted = await host.agent(['once']);
    assert.equal(halted.code, 4, halted.out + halted.err);
    assert.match(halted.out, /halt freeze stops it until it is withdrawn: the cranes are moving/);
    assert.equal(host.tool(), 'one');
    const byHand = await host.agent(['apply']);
    assert.notEqual(byHand.code, 0, 'not by hand either');
    assert.equal(host.tool(), 'one');
    const explained = await host.agent(['explain', 'tool@2.0.0']);
    assert.match(explained.out, /the cranes are moving/);
    assert.match((await host.agent(['plan'])).out, /the cranes are moving/);
  });

  test('a halt for other hosts, or one that has ended, stops nothing here', async () => {
    const elsewhere: SignedHalt = { ...HALT, name: 'elsewhere', scope: { groups: ['other'] } };
    const ended: SignedHalt = { ...HALT, name: 'ended', until: utcSeconds(Date.now() - 500_000) };
    await host.publish({ releases: [ONE, TWO], stops: [elsewhere, ended] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'two');
  });

  test('a recall of what is installed: RECALLED_INSTALLED, in the result too', async () => {
    await host.publish({ releases: [ONE, TWO], stops: [RECALL] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 1, ran.out + ran.err);
    const scans = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'scan' ? [result.body] : [],
    );
    const finding = scans.at(-1)?.findings.find(({ patch }) => patch === 'tool@2.0.0');
    assert.equal(finding?.state, 'RECALLED_INSTALLED', canonicalJson(finding));
    assert.match(finding.reasons.join(), /it eats data/);
  });

  test('the halts role cannot change hosts: a recall of it that rolls back is refused, what held goes on holding', async () => {
    await host.publish({ releases: [ONE, TWO], stops: [{ ...RECALL, action: 'rollback' }] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 5, ran.out + ran.err);
    assert.match(ran.out, /recall\.beyond-halts/);
    assert.equal(host.tool(), 'two');
  });
});

test('past hard expiry a host still knows its halts and recalls', async () => {
  const host = await makeHost();
  try {
    await host.enrol();
    await host.publish({ releases: [ONE] });
    assert.equal((await host.agent(['once'])).code, 0);
    const expires = Date.now() + 15_000; // long enough for a slow machine to publish and poll once
    await host.publish({
      releases: [ONE],
      stops: [HALT, { ...RECALL, patches: ['tool@1.0.0'] }],
      expires,
    });
    const fresh = await host.agent(['once']);
    assert.match(fresh.out, /./);
    while (Date.now() <= expires) await new Promise((resolve) => void setTimeout(resolve, expires - Date.now() + 50));
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 5, ran.out + ran.err);
    assert.match(ran.out, /expired/);
    const explained = await host.agent(['explain', 'tool@1.0.0']);
    assert.match(explained.out, /RECALLED_INSTALLED/);
    assert.match(explained.out, /it eats data/);
  } finally {
    await host.remove();
  }
});
