import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodeDocument, type ResolvedBaseline } from '#manifests/schema';
import { POLICY, type TryOut, tryOut } from '../cli/try-out.ts';

const START = Date.parse('2026-03-01T12:00:00Z');
const DAY_MS = 86_400_000;

describe('what a publish keeps and what it changes as time goes by', () => {
  let now = START;
  let lab: TryOut;
  before(async () => {
    lab = tryOut({ clock: { now: () => now, monotonic: () => now } });
    await lab.prepare();
  });
  after(() => lab.remove());

  const write = (baseline: string) =>
    fs.writeFileSync(
      join(lab.home, 'policy', 'policy.yaml'),
      POLICY.replace('rules: [{name: all, approve: {afterDays: 0}}]', baseline),
    );
  const baselineNow = (): ResolvedBaseline => {
    const folder = join(lab.repository, 'targets', 'policy', 'baselines');
    const newest = fs
      .readdirSync(folder)
      .map((name) => join(folder, name))
      .toSorted((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs)[0];
    return decodeDocument('resolved-baseline', fs.readFileSync(newest ?? ''), 'baseline');
  };

  test('an approval by name holds from the day it was first published, and time alone changes no document', async () => {
    write('approved: [own-tool]');
    assert.equal((await lab.run('publish')).exit, 0);
    assert.equal(baselineNow().approved[0]?.approvedAt, '2026-03-01T12:00:00Z');
    now += DAY_MS;
    assert.equal((await lab.run('publish')).exit, 3, 'a day later nothing is new');
    await lab.addRelease('1.1.0');
    await lab.run('source', 'sync');
    assert.equal((await lab.run('publish')).exit, 0);
    assert.deepEqual(
      baselineNow().approved.map(({ patch, approvedAt }) => [patch, approvedAt]),
      [
        ['own-tool@1.0.0', '2026-03-01T12:00:00Z'],
        ['own-tool@1.1.0', '2026-03-02T12:00:00Z'],
      ],
    );
  });

  test('a pending patch is published with its moment and its payload, and becomes approved at the first publish after it', async () => {
    write('rules: [{name: week, approve: {afterDays: 7}}]');
    const first = await lab.json('publish');
    const counts = (report: Record<string, unknown>) => (report['baselines'] as { approved: number; pending: number }[])[0];
    assert.deepEqual([counts(first)?.approved, counts(first)?.pending], [0, 2]);
    assert.equal(baselineNow().pending[0]?.approvesAt, '2026-03-08T12:00:01Z', 'the first second after the delay');
    assert.match((await lab.run('verify', lab.repository, '--root', lab.root)).out, /2 named by catalogs, 2 here/);
    now = START + 7 * DAY_MS;
    assert.equal(counts(await lab.json('publish'))?.approved, 0, 'exactly seven days is not after seven days');
    now += 1000;
    const later = await lab.json('publish');
    // The second release came while the first one waited and takes over its delay: it does not start anew.
    assert.deepEqual([counts(later)?.approved, counts(later)?.pending], [2, 0]);
  });

  test('the rollout of a group is signed; with its gate, shut', async () => {
    const file = join(lab.home, 'policy', 'policy.yaml');
    const whole = fs.readFileSync(file, 'utf8');
    const rollout = (rings: string) =>
      `${whole.replace('windows: [always]}', 'windows: [always], rollout: careful}')}---
apiVersion: patchferry/v1
kind: Rollout
metadata: {name: careful}
spec: {rings: [{name: first, ramp: [{afterHours: 0, percent: 10}, {afterHours: 48, percent: 100}]}${rings}]}
`;
    fs.writeFileSync(file, rollout(', {name: rest, gate: {minHosts: 3}}'));
    assert.equal((await lab.run('publish')).exit, 0);
    const folder = join(lab.repository, 'targets', 'policy', 'groups');
    const signed = fs.readdirSync(folder).map((name) => decodeDocument('group', fs.readFileSync(join(folder, name)), name));
    assert.ok(signed.some((group) => group.rollout?.rings[0]?.ramp[0]?.percent === 10));
    assert.ok(signed.some((group) => group.rollout?.rings[1]?.gate?.minHosts === 3 && group.rollout.opened.length === 0));
    assert.equal((await lab.run('publish')).exit, 3, 'time alone changes no rollout');
    fs.writeFileSync(file, whole);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  test('a payload that the vendor no longer has is refused before anything is published', async () => {
    write('rules: [{name: all, approve: {afterDays: 0}}]');
    await lab.addRelease('1.2.0');
    await lab.run('source', 'sync');
    const timestamp = () => fs.readFileSync(join(lab.repository, 'metadata', 'timestamp.json'), 'utf8');
    const before0 = timestamp();
    fs.rmSync(join(lab.vendor, '1.2.0', 'tool.tar.gz'));
    const refused = await lab.run('publish');
    assert.equal(refused.exit, 8);
    assert.match(refused.err, /publish\.payloads/);
    assert.match(refused.err, /own-tool@1\.2\.0/);
    assert.equal(timestamp(), before0);
    assert.equal((await lab.run('publish', '--payloads', 'none')).exit, 0, 'a person may publish without');
  });

  test('wanted fetches nothing for a fleet that has reported nothing', async () => {
    fs.rmSync(join(lab.repository, 'payloads'), { recursive: true });
    const report = await lab.json('publish', '--payloads', 'wanted');
    assert.deepEqual(report['payloads'], { fetched: 0, bytes: 0, missingBytes: 0 });
  });

  test('settings: unknown names, and a warning that would come too late, are refused with their place', async () => {
    const file = join(lab.home, 'publisher.yaml');
    const whole = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, `${whole}softExpireDays: 3\n`);
    const unknown = await lab.run('publish');
    assert.equal(unknown.exit, 2);
    assert.match(unknown.err, /publisher\.yaml:\d+:1: softExpireDays: unknown field \(did you mean "softExpiresDays"\?\)/);
    fs.writeFileSync(file, `${whole}softExpiresDays: 14\n`);
    assert.match((await lab.run('publish')).err, /softExpiresDays: must be less than expiresDays\.timestamp/);
    fs.writeFileSync(file, whole);
  });

  test('sources and patches: names that do not exist are answered with a suggestion', async () => {
    assert.match((await lab.run('source', 'sync', 'ow')).err, /there is no source "ow" \(did you mean "own"\?\)/);
    assert.equal(
      (await lab.run('source', 'add', 'own', '--product', 'own-tool', '--url', '/nowhere', '--kind', 'folder')).exit,
      2,
    );
    const apt = await lab.run('source', 'add', 'deb', '--product', 'debian-12', '--url', 'http://127.0.0.1:1/debian');
    assert.equal(apt.exit, 2);
    assert.match(apt.err, /source\.settings/);
    assert.equal(((await lab.json('source', 'list'))['sources'] as unknown[]).length, 1, 'a refused source is not written');
    assert.match((await lab.run('patch', 'list', '--product', 'own-tol')).err, /did you mean "own-tool"\?/);
    const several = await lab.run('patch', 'show', 'own-tool@');
    assert.equal(several.exit, 2);
    assert.match(several.err, /3 patches begin with "own-tool@"/);
    assert.equal((await lab.run('patch', 'show', 'own-tool@1.1', '--history')).exit, 0);
    assert.match((await lab.run('policy', 'resolve', '--baseline', 'own-softwar')).err, /did you mean "own-software"\?/);
  });
});
