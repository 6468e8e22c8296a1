import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { assert as check, property, uint8Array } from 'fast-check';
import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { encodePlain, type Inventory, type Result } from '#manifests/schema';
import { agentIdOf, generateBoxKey, generateSigningKey, type SigningKeyPair, sealEnvelope } from '#manifests/trust';
import { type TryOut, tryOut } from '../cli/try-out.ts';
import { activationSecrets, base32, findAgentId, formatCode, invite, readActivations, readRoster } from './index.ts';

const START = Date.parse('2026-03-01T12:00:00Z');
const DAY_MS = 86_400_000;

test('base32 is that of RFC 4648, section 10, without padding', () => {
  const vectors = { '': '', f: 'MY', fo: 'MZXQ', foo: 'MZXW6', foob: 'MZXW6YQ', fooba: 'MZXW6YTB', foobar: 'MZXW6YTBOI' };
  for (const [plain, text] of Object.entries(vectors)) assert.equal(base32(Buffer.from(plain)), text);
});

test('a code is 40 characters in groups of four: id first, then the secret', () => {
  check(
    property(uint8Array({ minLength: 5, maxLength: 5 }), uint8Array({ minLength: 20, maxLength: 20 }), (id, secret) => {
      const code = formatCode(base32(id), secret);
      assert.match(code, /^(?:[A-Z2-7]{4}-){9}[A-Z2-7]{4}$/);
      assert.equal(code.replaceAll('-', ''), base32(id) + base32(secret));
    }),
  );
});

test('codes end, and are forgotten a month later; a damaged file is not read as an empty one', () => {
  const lab = tryOut();
  try {
    const file = join(lab.folder, 'activations.json');
    const request = { group: 'all', title: '', labels: {}, days: 7, maxUses: 1 };
    const { entry } = invite(file, { ...request, now: START });
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.equal(entry.expires, '2026-03-08T12:00:00Z');
    const found = activationSecrets(file)(entry.id);
    assert.equal(found?.expiresAt, Date.parse(entry.expires));
    assert.equal(Buffer.from(found.secret).toString('hex'), entry.secret);
    assert.equal(activationSecrets(file)('AAAAAAAA'), undefined);
    invite(file, { ...request, now: START + 38 * DAY_MS });
    assert.equal(readActivations(file).length, 1, 'the first one is forgotten');
    fs.writeFileSync(file, '{}');
    assert.throws(
      () => invite(file, { ...request, now: START }),
      (error) => isFault(error, 'activation.damaged'),
    );
    assert.equal(fs.readFileSync(file, 'utf8'), '{}');
  } finally {
    lab.remove();
  }
});

test('an agent is named by the first digits of its id, when they are enough', () => {
  assert.equal(findAgentId(['3f9a', '3f00'], '3F9', 'here'), '3f9a');
  assert.throws(
    () => findAgentId(['3f9a', '3f00'], '3f', 'here'),
    (error) => isFault(error, 'roster.ambiguous-agent'),
  );
  for (const start of ['4', '']) {
    assert.throws(
      () => findAgentId(start === '' ? ['3f9a'] : ['3f9a', '3f00'], start, 'here'),
      (error) => isFault(error, 'roster.unknown-agent'),
    );
  }
});

/** What an agent sends: a sealed enrolment in the inbox folder. */
function enrol(lab: TryOut, title: string, code: string, now: number, secretOf = code): SigningKeyPair {
  const signKey = generateSigningKey();
  const boxKey = generateBoxKey();
  const plain = code.replaceAll('-', '');
  const proofSecret = fromBase32(secretOf.replaceAll('-', '').slice(8));
  const inventory: Inventory = {
    schema: 'patchferry/inventory',
    schemaVersion: 1,
    takenAt: utcSeconds(now),
    hostname: title,
    product: 'debian-12',
    arch: 'amd64',
    bootId: 'boot-1',
    kernels: { running: '6.1.0', installed: ['6.1.0'] },
    zone: 'UTC',
    labels: {},
    facts: {},
    packages: [],
    components: {},
    freeBytes: {},
  };
  const agent = agentIdOf(signKey.publicKey);
  const result: Result = {
    schema: 'patchferry/result',
    schemaVersion: 1,
    agent,
    boot: 'boot-1',
    sequence: 0,
    previous: null,
    trustedTime: utcSeconds(now),
    wallTime: utcSeconds(now),
    kind: 'enrol',
    body: {
      title,
      signKey: signKey.publicKey,
      boxKey: boxKey.publicKey,
      activationId: plain.slice(0, 8),
      activationProof: createHmac('sha256', proofSecret)
        .update(`patchferry-enrol-1\n${signKey.publicKey}\n${boxKey.publicKey}`)
        .digest('hex'),
      inventory,
    },
  };
  const [recipient] = readRoster(join(lab.home, 'roster.json')).recipients;
  const bytes = sealEnvelope({
    body: encodePlain('result', result),
    kind: 'enrolment',
    agent,
    sequence: 0,
    signKey,
    recipients: [recipient?.boxKey ?? ''],
  });
  fs.writeFileSync(join(lab.home, 'inbox', 'enrolments', `${agent}-${'0'.repeat(16)}.pfe`), bytes);
  return signKey;
}

function fromBase32(text: string): Buffer {
  const bits = Array.from(text)
    .map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'))
    .join('');
  return Buffer.from(bits.match(/.{8}/g)?.map((byte) => Number.parseInt(byte, 2)) ?? []);
}

describe('from an invitation to the roster', () => {
  let now = START;
  let lab: TryOut;
  let code: string;
  before(async () => {
    lab = tryOut({ clock: { now: () => now, monotonic: () => now } });
    await lab.prepare();
  });
  after(() => lab.remove());

  test('a code is for a group that exists, and is shown once', async () => {
    const wrong = await lab.run('agent', 'invite', '--group', 'al');
    assert.equal(wrong.exit, 2);
    assert.match(wrong.err, /there is no group "al" in the policy \(did you mean "all"\?\)/);
    const made = await lab.json(
      'agent',
      'invite',
      '--group',
      'all',
      '--title',
      'web',
      '--uses',
      '2',
      '--label',
      'site=harbour',
    );
    code = String(made['code']);
    const stored = fs.readFileSync(join(lab.home, 'activations.json'), 'utf8');
    assert.equal(stored.includes(code), false);
  });

  test('--all-valid takes who knows the secret, as often as the code has uses; others wait with the reason', async () => {
    const good = ['web-01', 'web-02', 'web-03'].map((title) => agentIdOf(enrol(lab, title, code, now).publicKey));
    const liar = agentIdOf(enrol(lab, 'liar', code, now, `${'A'.repeat(8)}${'B'.repeat(32)}`).publicKey);
    const stranger = agentIdOf(enrol(lab, 'stranger', 'C'.repeat(40), now).publicKey);
    const collected = await lab.run('collect');
    assert.equal(collected.exit, 0, collected.out + collected.err);
    assert.equal(((await lab.json('agent', 'list'))['pending'] as unknown[]).length, 5);

    const report = await lab.json('agent', 'approve', '--all-valid');
    const approved = (report['approved'] as { agent: string }[]).map(({ agent }) => agent);
    assert.equal(approved.length, 2);
    assert.ok(approved.every((id) => good.includes(id)));
    const reasons = new Map((report['skipped'] as { agent: string; says: string }[]).map(({ agent, says }) => [agent, says]));
    assert.match(reasons.get(liar) ?? '', /does not know the secret/);
    assert.match(reasons.get(stranger) ?? '', /not one of ours/);
    assert.match([...reasons].find(([id]) => good.includes(id))?.[1] ?? '', /no use left/);
    const roster = readRoster(join(lab.home, 'roster.json'));
    assert.deepEqual(
      roster.agents.map(({ labels }) => labels),
      [{ site: 'harbour' }, { site: 'harbour' }],
    );

    const one = await lab.run('agent', 'approve', liar.slice(0, 10), '--group', 'all');
    assert.equal(one.exit, 5, 'not on the code alone');
    assert.match(one.err, /agent-roster\.unproven/);
    assert.equal((await lab.run('agent', 'approve', liar, '--group', 'all', '--unproven')).exit, 0, 'on the word of a person');
    assert.equal(readRoster(join(lab.home, 'roster.json')).agents.length, 3);
    assert.equal((await lab.run('agent', 'revoke', stranger)).exit, 0, 'a waiting one is turned away');
    assert.equal(((await lab.json('agent', 'list'))['pending'] as unknown[]).length, 1);
  });

  test('a code that has ended proves nothing any more', async () => {
    const late = String((await lab.json('agent', 'invite', '--group', 'all', '--days', '1'))['code']);
    now += 2 * DAY_MS;
    const agent = agentIdOf(enrol(lab, 'late', late, now).publicKey);
    await lab.run('collect');
    const report = await lab.json('agent', 'approve', '--all-valid');
    assert.match(
      (report['skipped'] as { agent: string; says: string }[]).find((one) => one.agent === agent)?.says ?? '',
      /had ended/,
    );
  });

  test('publish tells the fleet; a revoked agent stays revoked; a group that left the policy is refused', async () => {
    assert.equal((await lab.run('publish')).exit, 0);
    const [first] = readRoster(join(lab.home, 'roster.json')).agents;
    assert.ok(first);
    assert.equal((await lab.run('agent', 'revoke', first.id)).exit, 0);
    assert.equal((await lab.run('agent', 'revoke', first.id)).exit, 3, 'nothing left to do');
    const report = await lab.json('publish');
    const changed = (report['documents'] as { path: string; state: string }[]).filter(({ state }) => state !== 'same');
    assert.deepEqual(
      changed.map(({ path }) => path),
      ['roster/roster.json.zst'],
    );
    assert.equal(readRoster(join(lab.home, 'roster.json')).agents.find(({ id }) => id === first.id)?.status, 'revoked');

    const file = join(lab.home, 'policy', 'policy.yaml');
    fs.writeFileSync(
      file,
      fs
        .readFileSync(file, 'utf8')
        .replace('metadata: {name: all}\nspec: {baselines', 'metadata: {name: alle}\nspec: {baselines'),
    );
    const refused = await lab.run('publish');
    assert.equal(refused.exit, 2);
    assert.match(refused.err, /is in group "all", which the policy does not have \(did you mean "alle"\?\)/);
  });
});
