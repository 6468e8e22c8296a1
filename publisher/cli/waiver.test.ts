// Waivers end to end: asked for on a host, collected, signed by two people, published, refused, ended.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { hostWaivers, verifyWaiver } from '#manifests/decide';
import { utcSeconds } from '#manifests/platform/clock';
import type { Result, SignedWaiver, WaiverAnswers, WaiverRequestBody } from '#manifests/schema';
import { decodeDocument } from '#manifests/schema';
import { folderOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { newAgent, sealChain } from '../results/inbox-samples.ts';
import { approveAgent, readRoster, writeRoster } from '../roster/index.ts';
import { POLICY, tryOut } from './try-out.ts';

const DAY = 86_400_000;
const NOW = Math.floor(Date.now() / 1000) * 1000;
const REQUESTS = ['3f2a9c01-0000-4000-8000-000000000001', '77777777-0000-4000-8000-000000000002'] as const;

function request(
  from: Pick<Result, 'agent' | 'boot' | 'sequence' | 'previous' | 'trustedTime' | 'wallTime'>,
  id: string,
): Result {
  const body: WaiverRequestBody = {
    request: id,
    patches: ['own-tool'],
    cves: [],
    from: utcSeconds(NOW - DAY),
    until: utcSeconds(NOW + 10 * DAY),
    response: 'mitigate',
    reason: 'the vendor certifies it next week',
    control: null,
    requestedBy: 'otto',
  };
  return { schema: 'patchferry/result', schemaVersion: 1, ...from, kind: 'waiver-request', body };
}

describe('waivers', () => {
  const lab = tryOut();
  const agent = newAgent();
  const policyFile = join(lab.home, 'policy', 'policy.yaml');
  after(() => lab.remove());

  const people: Record<string, string> = {};
  before(async () => {
    await lab.prepare();
    for (const name of ['anna', 'ben', 'mallory'])
      people[name] = String((await lab.json('key', 'make', name, '--unattended'))['publicKey']);
    const waivers = `waivers: {threshold: 2, maxDays: 30, approvers: [{name: anna, publicKey: "${people['anna']}"}, {name: ben, publicKey: "${people['ben']}"}]}`;
    fs.writeFileSync(policyFile, POLICY.replace('windows: [always]}', `windows: [always], ${waivers}}`));
    const rosterFile = join(lab.home, 'roster.json');
    const entry = {
      id: agent.id,
      title: 'till-1',
      group: 'all',
      labels: {},
      signKey: agent.sign.publicKey,
      boxKey: agent.box.publicKey,
    };
    writeRoster(rosterFile, approveAgent(readRoster(rosterFile), entry, NOW), NOW);
    const collector = readRoster(rosterFile).recipients[0]?.boxKey ?? '';
    for (const { name, bytes } of sealChain(
      agent,
      collector,
      REQUESTS.map((id) => (from) => request(from, id)),
      { sequence: 1, previous: null, at: NOW - 60_000 },
    )) {
      const file = join(lab.home, 'inbox', name);
      fs.mkdirSync(join(file, '..'), { recursive: true });
      fs.writeFileSync(file, bytes);
    }
    assert.equal((await lab.run('collect')).exit, 0);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  async function published<K extends 'waiver' | 'waiver-answers'>(kind: K, path: string) {
    const folder = fs.mkdtempSync(join(tmpdir(), 'pf-waivers-'));
    try {
      const trust = openTrust({ folder, pinnedRoot: fs.readFileSync(lab.root), now: () => Date.now() });
      const origin = folderOrigin(lab.repository);
      await trust.refresh(origin);
      if (!trust.targets().some((one) => one.path === path)) return undefined;
      return decodeDocument(kind, await trust.readTarget(path, origin), path);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }
  const standingOf = async (name: string) => {
    const { waivers } = (await lab.json('waiver', 'list')) as { waivers: { standing: string; waiver: SignedWaiver }[] };
    return waivers.find(({ waiver }) => waiver.name === name)?.standing;
  };

  test('an owner’s request is listed; it counts only once two approvers have signed it, and the host honours that', async () => {
    const listed = await lab.run('waiver', 'list', '--open');
    assert.equal(listed.exit, 1, 'something waits');
    assert.match(listed.out, /requested +3f2a9c01 +own-tool +till-1/);
    const first = await lab.json('waiver', 'approve', '3f2a', '--as', 'anna');
    assert.deepEqual([first['waiver'], first['change']], ['own-tool-3f2a9c01', 'pending']);
    assert.equal((await lab.run('publish')).exit, 3, 'one of two signatures is published nowhere');
    assert.equal(await published('waiver', 'waivers/own-tool-3f2a9c01.json.zst'), undefined);

    const again = await lab.json('waiver', 'approve', 'own-tool-3f2a9c01', '--as', 'anna');
    assert.equal(again['change'], 'pending', 'the same person twice is one person');
    const second = await lab.json('waiver', 'approve', 'own-tool-3f2a9c01', '--as', 'ben');
    assert.deepEqual([second['change'], second['approvers']], ['active', ['anna', 'ben']]);
    assert.equal((await lab.run('publish')).exit, 0);
    const waiver = await published('waiver', 'waivers/own-tool-3f2a9c01.json.zst');
    assert.equal(waiver?.requestedBy, agent.id);
    const approvers = ['anna', 'ben'].map((name) => ({ name, publicKey: people[name] ?? '' }));
    const policy = { approvers, threshold: 2, maxDays: 30 };
    assert.ok(waiver && verifyWaiver(waiver, policy).ok);
    const [held] = hostWaivers([waiver], policy, { agent: agent.id, group: 'all' }, [], NOW, 'UTC');
    assert.equal(held?.standing, 'in-force');
    const { answers } = (await published('waiver-answers', 'answers/waivers.json.zst')) as WaiverAnswers;
    assert.deepEqual(
      answers.map(({ decision, waiver: name }) => [decision, name]),
      [['approved', 'own-tool-3f2a9c01']],
    );
    assert.equal((await lab.run('publish')).exit, 3, 'and nothing changes by publishing again');
    assert.match((await lab.run('waiver', 'list')).out, /^waiver own-tool-3f2a9c01 ends at .*, within 14 days$/m);
    const { notices } = (await lab.json('waiver', 'list')) as { notices: { kind: string }[] };
    assert.deepEqual(
      notices.map(({ kind }) => kind),
      ['ends-in-14-days'],
    );
  });

  test('a rejection reaches the owner with its reason; the request is open no more', async () => {
    assert.equal((await lab.run('waiver', 'reject', '7777')).exit, 2, 'a reason is needed');
    assert.equal((await lab.run('waiver', 'reject', '7777', '--reason', 'certified since')).exit, 0);
    assert.equal((await lab.run('publish')).exit, 0);
    const { answers } = (await published('waiver-answers', 'answers/waivers.json.zst')) as WaiverAnswers;
    assert.deepEqual(answers.find(({ request: id }) => id === REQUESTS[1])?.reason, 'certified since');
    assert.equal((await lab.run('waiver', 'list', '--open')).exit, 0);
    assert.match((await lab.run('waiver', 'list')).out, /rejected +77777777/);
  });

  test('a stranger’s key signs nothing; a text that was changed after it was signed is pending again', async () => {
    const stranger = await lab.run('waiver', 'approve', 'own-tool-3f2a9c01', '--as', 'mallory');
    assert.equal(stranger.exit, 5);
    assert.match(stranger.err, /waiver\.not-approver/);
    const file = join(lab.home, 'waivers', 'own-tool-3f2a9c01.yaml');
    const text = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, text.replace('- own-tool', '- "*"'));
    assert.equal(await standingOf('own-tool-3f2a9c01'), 'pending');
    assert.match((await lab.run('waiver', 'show', 'own-tool-3f2a9c01')).out, /which does not hold/);
    fs.writeFileSync(file, text);
    assert.equal(await standingOf('own-tool-3f2a9c01'), 'active');
  });

  test('a waiver from a file: too long is refused at once; revoked early, it leaves the repository and stays listed', async () => {
    const yaml = (days: number) => `apiVersion: patchferry/v1
kind: Waiver
metadata: {name: tills}
spec:
  patches: [own-tool]
  from: "${utcSeconds(NOW + DAY)}"
  until: "${utcSeconds(NOW + days * DAY)}"
  response: accept
  reason: the tills wait
`;
    const file = join(lab.folder, 'tills.yaml');
    fs.writeFileSync(file, yaml(60));
    const long = await lab.run('waiver', 'add', file);
    assert.equal(long.exit, 2);
    assert.match(long.err, /waiver\.too-long/);
    fs.writeFileSync(file, yaml(20));
    assert.equal((await lab.run('waiver', 'add', file)).exit, 0);
    for (const person of ['anna', 'ben']) assert.equal((await lab.run('waiver', 'approve', 'tills', '--as', person)).exit, 0);
    assert.equal(await standingOf('tills'), 'coming');
    assert.equal((await lab.run('publish')).exit, 0);
    assert.ok(await published('waiver', 'waivers/tills.json.zst'));
    assert.equal((await lab.run('waiver', 'revoke', 'tills', '--reason', 'exploited since')).exit, 0);
    assert.equal((await lab.run('publish')).exit, 0);
    assert.equal(await published('waiver', 'waivers/tills.json.zst'), undefined);
    assert.match((await lab.run('waiver', 'list')).out, /revoked +tills/);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
  });
});
