// Collecting real envelopes: chain, gap, fork, duplicate, tampered, oversized, revoked, enrolments (security rows S25, S26).
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isFault } from '#manifests/errors';
import { ENVELOPE_LIMITS, generateBoxKey } from '#manifests/trust';
import { collect } from './collect.ts';
import { openFleet } from './fleet.ts';
import { CODE, deliver, newAgent, optionsFor, rosterFor, sealChain, sealEnrolment, sealResult } from './inbox-samples.ts';
import { readPending } from './pending.ts';
import { alert, DAY_MS, finding, NOW, run, scan, source } from './samples.ts';
import { readAcks } from './store.ts';

const top = fs.mkdtempSync(join(tmpdir(), 'patchferry-collect-'));
after(() => fs.rmSync(top, { recursive: true, force: true }));
let folders = 0;
const freshFolder = () => join(top, String((folders += 1)));
const publisher = generateBoxKey();
const agent = newAgent();
const roster = rosterFor([{ agent }], publisher.publicKey);
const MAKERS = [
  (from: ReturnType<typeof source>) => scan(from, [finding('openssl@3', 'MISSING')]),
  (from: ReturnType<typeof source>) => run(from),
  (from: ReturnType<typeof source>) => scan(from, [finding('openssl@3', 'INSTALLED')]),
  (from: ReturnType<typeof source>) => alert(from),
];

function filesIn(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
}

describe('collect', () => {
  test('a chain is stored, acked to its end, and its files go; the same files again are duplicates', async () => {
    const folder = freshFolder();
    const options = optionsFor(folder, roster, publisher);
    const enrolment = sealEnrolment(agent, publisher.publicKey);
    const chain = sealChain(agent, publisher.publicKey, MAKERS, { sequence: 1, previous: enrolment.hash });
    deliver(options.inboxFolder, chain);
    const report = await collect(options);
    assert.equal(report.stored, 4);
    assert.deepEqual([report.refused, report.left, report.chains], [[], [], []]);
    assert.equal(report.alerts[0]?.code, 'agent.reverted');
    assert.deepEqual(filesIn(options.inboxFolder), []);
    assert.deepEqual(readAcks(options.storeFile), [{ agent: agent.id, sequence: 4, hash: chain[3]?.hash }]);

    deliver(options.inboxFolder, chain.slice(1));
    const again = await collect(options);
    assert.deepEqual([again.stored, again.duplicates], [0, 3]);
    assert.deepEqual(filesIn(options.inboxFolder), []);
  });

  test('nothing in the inbox is nothing to do; an inbox that is not there is an error', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    await assert.rejects(collect(options), (error) => isFault(error, 'results.inbox-missing'));
    fs.mkdirSync(options.inboxFolder, { recursive: true });
    assert.equal((await collect(options)).files, 0);
  });

  test('S26 a result that is late fills its gap; until then the ack stays before it', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    const chain = sealChain(agent, publisher.publicKey, MAKERS);
    deliver(
      options.inboxFolder,
      chain.filter((_, index) => index !== 1),
    );
    const report = await collect(options);
    assert.deepEqual(report.chains, [{ agent: agent.id, watermark: 1, highest: 4, gaps: [{ from: 2, to: 2 }], forks: [] }]);
    assert.equal(readAcks(options.storeFile)[0]?.sequence, 1);
    deliver(options.inboxFolder, chain.slice(1, 2));
    assert.deepEqual((await collect(options)).chains, []);
    assert.equal(readAcks(options.storeFile)[0]?.sequence, 4);
  });

  test('trap 13: a cloned machine is seen, both of its results are kept', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    const chain = sealChain(agent, publisher.publicKey, MAKERS);
    const clone = sealChain(agent, publisher.publicKey, MAKERS.slice(0, 2), {
      sequence: 3,
      previous: chain[1]?.hash ?? null,
      at: NOW - DAY_MS + 120_000,
    });
    deliver(options.inboxFolder, [...chain, ...clone]);
    const report = await collect(options);
    assert.equal(report.stored, 6);
    const hashes = [String(chain[2]?.hash), String(clone[0]?.hash)].toSorted();
    assert.deepEqual(report.chains[0]?.forks, [{ sequence: 3, kind: 'clone', hashes }]);
    assert.equal(readAcks(options.storeFile)[0]?.sequence, 2);
  });

  test('S25 what is tampered, forged, misplaced, cut or not for us is put aside with a note, byte for byte', async () => {
    const folder = freshFolder();
    const stranger = newAgent();
    const options = optionsFor(folder, roster, publisher);
    const [good, flipped, cut] = sealChain(agent, publisher.publicKey, MAKERS.slice(0, 3)).map((sealed) => ({
      ...sealed,
      bytes: Buffer.from(sealed.bytes),
    }));
    assert.ok(good && flipped && cut);
    flipped.bytes[flipped.bytes.length - 200] = (flipped.bytes.at(-200) ?? 0) ^ 1;
    const at = (sequence: number) => source(agent.id, sequence, null, NOW);
    const cases = [
      { sealed: flipped, code: 'envelope.signature' },
      { sealed: { ...cut, bytes: cut.bytes.subarray(0, -9) }, code: 'envelope.malformed' },
      {
        sealed: { name: `results/${agent.id}/000000000009-garbage.pfe`, bytes: Buffer.from('hello'), hash: '' },
        code: 'envelope.malformed',
      },
      {
        sealed: { name: `results/${agent.id}/000000000010-empty.pfe`, bytes: Buffer.alloc(0), hash: '' },
        code: 'envelope.malformed',
      },
      { sealed: sealResult(agent, alert(at(20)), generateBoxKey().publicKey), code: 'envelope.recipient' },
      {
        sealed: sealResult(stranger, alert(source(stranger.id, 1, null, NOW)), publisher.publicKey),
        code: 'results.unknown-agent',
      },
      { sealed: sealResult(stranger, alert(at(21)), publisher.publicKey, { agent: agent.id }), code: 'envelope.agent' },
      { sealed: sealResult(agent, alert(at(22)), publisher.publicKey, { sequence: 23 }), code: 'results.mismatch' },
      { sealed: sealResult(agent, alert(source(stranger.id, 24, null, NOW)), publisher.publicKey), code: 'results.mismatch' },
      {
        sealed: { ...sealEnrolment(agent, publisher.publicKey), name: `results/${agent.id}/000000000030-enrol.pfe` },
        code: 'results.wrong-place',
      },
      {
        sealed: { ...sealResult(agent, alert(at(31)), publisher.publicKey), name: 'enrolments/odd.pfe' },
        code: 'results.wrong-place',
      },
    ];
    deliver(options.inboxFolder, [good, ...cases.map(({ sealed }) => sealed)]);
    const report = await collect(options);
    assert.equal(report.stored, 1);
    assert.equal(report.refusedCount, cases.length);
    const refused = filesIn(join(options.inboxFolder, 'refused'));
    assert.equal(refused.length, cases.length * 2);
    for (const { sealed, code } of cases) {
      const entry = report.refused.find(({ file }) => file.endsWith(sealed.name));
      assert.equal(entry?.code, code, sealed.name);
      const kept = sealed.name.replaceAll('/', '_');
      assert.deepEqual(Buffer.from(fs.readFileSync(join(options.inboxFolder, 'refused', kept))), Buffer.from(sealed.bytes));
      assert.match(fs.readFileSync(join(options.inboxFolder, 'refused', `${kept}.txt`), 'utf8'), new RegExp(`code: +${code}`));
    }
    assert.deepEqual(
      filesIn(options.inboxFolder).filter((file) => !file.startsWith('refused/')),
      [],
    );
    const first = cases[0]?.sealed;
    assert.ok(first);
    deliver(options.inboxFolder, [first]);
    await collect(options);
    assert.equal(filesIn(join(options.inboxFolder, 'refused')).length, (cases.length + 1) * 2);
  });

  test('S12 an oversized file is refused unread; links, pipes and files in the making are not opened', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    const here = join(options.inboxFolder, 'results', agent.id);
    fs.mkdirSync(here, { recursive: true });
    fs.closeSync(fs.openSync(join(here, 'large.pfe'), 'w'));
    fs.truncateSync(join(here, 'large.pfe'), ENVELOPE_LIMITS.envelopeBytes + 1);
    fs.symlinkSync('/etc/hostname', join(here, 'link.pfe'));
    fs.writeFileSync(join(here, '.tmp-1-half.pfe'), 'half');
    fs.writeFileSync(join(here, 'README'), 'by hand');
    fs.mkdirSync(join(here, 'folder.pfe'));
    const report = await collect(options);
    assert.deepEqual(
      report.refused.map(({ code }) => code),
      ['results.too-large', 'results.not-a-file'],
    );
    assert.equal(report.others, 2);
    assert.deepEqual(fs.readdirSync(here).toSorted(), ['.tmp-1-half.pfe', 'README', 'folder.pfe']);
    assert.ok(fs.lstatSync('/etc/hostname').isFile());
  });

  test('a revoked agent is heard no more', async () => {
    const options = optionsFor(freshFolder(), rosterFor([{ agent, status: 'revoked' }], publisher.publicKey), publisher);
    deliver(options.inboxFolder, [
      ...sealChain(agent, publisher.publicKey, MAKERS.slice(0, 1)),
      sealEnrolment(agent, publisher.publicKey),
    ]);
    const report = await collect(options);
    assert.deepEqual(
      report.refused.map(({ code }) => code),
      ['results.revoked', 'results.revoked'],
    );
    assert.deepEqual(readAcks(options.storeFile), []);
  });

  test('two collects at once: one works, the other says who does', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    fs.mkdirSync(options.inboxFolder, { recursive: true });
    const both = await Promise.allSettled([collect(options), collect(options)]);
    assert.deepEqual(both.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
    const lost = both.find((one) => one.status === 'rejected');
    assert.ok(isFault(lost?.reason, 'lock.held'));
  });
});

describe('enrolments', () => {
  test('the activation proof is judged, and the pending file is private and whole', async () => {
    const cases = [
      { over: {}, activation: 'valid' },
      { over: { secret: Buffer.alloc(32, 8) }, activation: 'invalid' },
      { over: { activationId: 'code-2' }, activation: 'unknown' },
      { over: { activationId: 'code-old' }, activation: 'expired' },
    ];
    const folder = freshFolder();
    const agents = cases.map((item) => ({ ...item, agent: newAgent() }));
    const options = optionsFor(folder, roster, publisher, {
      activationSecrets: (id) =>
        id === CODE.id ? CODE.secret : id === 'code-old' ? { secret: CODE.secret, expiresAt: NOW - 1 } : undefined,
    });
    deliver(
      options.inboxFolder,
      agents.map(({ agent, over }) => sealEnrolment(agent, publisher.publicKey, over)),
    );
    const report = await collect(options);
    const pending = readPending(options.pendingFolder);
    for (const { agent, activation } of agents) {
      assert.equal(report.enrolments.find((entry) => entry.agent === agent.id)?.activation, activation);
      assert.equal(pending.get(agent.id)?.activation, activation);
      assert.equal(pending.get(agent.id)?.signKey, agent.sign.publicKey);
      assert.equal(fs.statSync(join(options.pendingFolder, `${agent.id}.json`)).mode & 0o777, 0o600);
    }
    assert.deepEqual(filesIn(options.inboxFolder), []);
  });

  test('a better proof replaces a worse one, never the other way round; a handled enrolment does not come back', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    const one = newAgent();
    const valid = sealEnrolment(one, publisher.publicKey);
    const invalid = sealEnrolment(one, publisher.publicKey, { secret: Buffer.alloc(32, 1), at: NOW });
    for (const order of [
      [invalid, valid],
      [valid, invalid],
    ]) {
      for (const sealed of order) {
        deliver(options.inboxFolder, [sealed]);
        await collect(options);
      }
      assert.equal(readPending(options.pendingFolder).get(one.id)?.activation, 'valid');
    }
    fs.rmSync(options.pendingFolder, { recursive: true });
    deliver(options.inboxFolder, [valid, invalid]);
    assert.equal((await collect(options)).duplicates, 2);
    assert.equal(readPending(options.pendingFolder).size, 0);
  });

  test('results of an agent that waits for its answer wait too, and are taken once it is approved', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    const one = newAgent();
    const enrolment = sealEnrolment(one, publisher.publicKey);
    const chain = sealChain(one, publisher.publicKey, MAKERS.slice(0, 2), { sequence: 1, previous: enrolment.hash });
    deliver(options.inboxFolder, [enrolment, ...chain]);
    const report = await collect(options);
    assert.deepEqual([report.waiting, report.refusedCount, report.stored], [2, 0, 0]);
    const approved = { ...options, roster: rosterFor([{ agent: one }], publisher.publicKey) };
    assert.equal((await collect(approved)).stored, 2);
    assert.deepEqual(readAcks(options.storeFile), [{ agent: one.id, sequence: 2, hash: chain[1]?.hash }]);
    const fleet = openFleet(options.storeFile);
    assert.deepEqual(fleet.enrolled(), [one.id]);
    fleet.close();
  });

  test('S16 an enrolment with a weak box key is refused', async () => {
    const options = optionsFor(freshFolder(), roster, publisher);
    deliver(options.inboxFolder, [sealEnrolment(newAgent(), publisher.publicKey, { boxKey: '00'.repeat(32) })]);
    assert.deepEqual(
      (await collect(options)).refused.map(({ code }) => code),
      ['trust.weak-key'],
    );
  });
});
