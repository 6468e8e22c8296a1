// Rollouts, estimates and the KEV feed as they are signed: gates opened by what the fleet has shown, and nothing signed twice.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { type DocumentKind, decodeDocument, type Group, type PatchState, type Result } from '#manifests/schema';
import { folderOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { tryOut } from '../cli/try-out.ts';
import { newAgent, type SampleAgent, sealChain } from '../results/inbox-samples.ts';
import { finding, run, scan, type source } from '../results/samples.ts';
import { approveAgent, readRoster, writeRoster } from '../roster/index.ts';

const HOUR = 3_600_000;
const POLICY = `apiVersion: patchferry/v1
kind: Baseline
metadata: {name: own-software}
spec:
  product: own-tool
  rules: [{name: exploited, filters: {kev: true}, approve: {afterDays: 0}, deadline: {kevDue: true}}, {name: all, approve: {afterDays: 0}}]
---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: {name: always}
spec: {days: daily, start: "00:00", durationMinutes: 1440, zone: UTC}
---
apiVersion: patchferry/v1
kind: Rollout
metadata: {name: two-rings}
spec:
  rings:
    - {name: canary, groups: [canaries]}
    - {name: rest, maxConcurrency: {hosts: 2}, gate: {minHosts: 2, minSuccessPercent: 70, soakHours: 24}}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: canaries}
spec: {baselines: [own-software], windows: [always], rollout: two-rings}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: rest}
spec: {baselines: [own-software], windows: [always], rollout: two-rings}
`;

describe('signing what the fleet has shown', () => {
  let now = Math.floor(Date.now() / 1000) * 1000;
  const clock: Clock = { now: () => now, monotonic: () => now };
  const lab = tryOut({ clock });
  const agents = Array.from({ length: 4 }, () => newAgent());
  const chains = new Map<string, { sequence: number; previous: string | null }>();
  after(() => lab.remove());

  before(async () => {
    await lab.prepare();
    fs.writeFileSync(join(lab.home, 'policy', 'policy.yaml'), POLICY);
    const file = join(lab.home, 'roster.json');
    let roster = readRoster(file);
    for (const [index, { id, sign, box }] of agents.entries()) {
      const group = index < 3 ? 'canaries' : 'rest';
      const entry = { id, title: `host-${index}`, group, labels: {}, signKey: sign.publicKey, boxKey: box.publicKey };
      roster = approveAgent(roster, entry, now);
    }
    writeRoster(file, roster, now);
    assert.equal((await lab.run('publish')).exit, 0);
  });

  async function published<K extends DocumentKind>(kind: K, path: string) {
    const folder = fs.mkdtempSync(join(tmpdir(), 'pf-rollout-'));
    try {
      const trust = openTrust({ folder, pinnedRoot: fs.readFileSync(lab.root), now: () => now });
      const origin = folderOrigin(lab.repository);
      await trust.refresh(origin);
      return decodeDocument(kind, await trust.readTarget(path, origin), path);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }
  const groupNamed = (name: string): Promise<Group> => published('group', `policy/groups/${name}.json.zst`);

  async function report(agent: SampleAgent, ...makers: ((from: ReturnType<typeof source>) => Result)[]) {
    const collector = readRoster(join(lab.home, 'roster.json')).recipients[0]?.boxKey ?? '';
    const start = chains.get(agent.id) ?? { sequence: 1, previous: null };
    const sealed = sealChain(agent, collector, makers, { ...start, at: now - 60_000 });
    for (const { name, bytes } of sealed) {
      const file = join(lab.home, 'inbox', name);
      fs.mkdirSync(join(file, '..'), { recursive: true });
      fs.writeFileSync(file, bytes);
    }
    chains.set(agent.id, { sequence: start.sequence + makers.length, previous: sealed.at(-1)?.hash ?? null });
  }
  const says = (state: PatchState) => (from: ReturnType<typeof source>) =>
    scan(from, [finding('own-tool@1.0.0', state, { product: 'own-tool' })]);

  test('a gate stays shut until the ring before has shown the patch on enough hosts; then it opens after its soak, for good', async () => {
    const shut = await groupNamed('rest');
    assert.deepEqual(shut.rollout?.opened, []);
    assert.equal(shut.rollout?.rings[1]?.hosts, 1);
    const [first, second, third] = agents as [SampleAgent, SampleAgent, SampleAgent];
    await report(first, says('INSTALLED'));
    await report(second, says('ROLLED_BACK'));
    await report(third, says('INSTALLED'));
    assert.equal((await lab.run('collect')).exit, 0);
    await lab.run('publish');
    assert.deepEqual((await groupNamed('rest')).rollout?.opened, [], 'two of three are fewer than seventy percent');

    await report(second, says('INSTALLED'));
    assert.equal((await lab.run('collect')).exit, 0);
    const approvedAt = Date.parse(
      (await published('resolved-baseline', 'policy/baselines/own-software.json.zst')).approved[0]?.approvedAt ?? '',
    );
    now += HOUR;
    assert.equal((await lab.run('publish')).exit, 0);
    const opened = (await groupNamed('rest')).rollout?.opened;
    assert.deepEqual(opened, [{ ring: 'rest', patch: 'own-tool@1.0.0', at: utcSeconds(approvedAt + 24 * HOUR) }]);
    assert.deepEqual((await groupNamed('canaries')).rollout?.opened, opened, 'the same in every group of the rollout');

    now += HOUR;
    for (const agent of agents) await report(agent, says('FAILED'));
    assert.equal((await lab.run('collect')).exit, 0);
    await lab.run('publish');
    assert.deepEqual((await groupNamed('rest')).rollout?.opened, opened, 'what opened stays open');
    assert.equal((await lab.run('publish')).exit, 3, 'and nothing is signed twice');
  });

  test('how long a patch takes is signed after three runs, and only when it moved', async () => {
    const took = (seconds: number) => (from: ReturnType<typeof source>) => {
      const started = Date.parse(from.trustedTime);
      const at = (after: number) => utcSeconds(started + after * 1_000);
      const states = [
        { state: 'Install', at: at(10), says: 'apt' },
        { state: 'Verify', at: at(10 + seconds), says: 'looks' },
      ];
      return run(from, { patches: ['own-tool@1.0.0'], states, finished: at(20 + seconds) });
    };
    const [first] = agents as [SampleAgent];
    await report(first, took(40), took(42));
    assert.equal((await lab.run('collect')).exit, 0);
    await lab.run('publish');
    assert.equal((await groupNamed('rest')).timings, undefined, 'two runs are no history');
    await report(first, took(61));
    assert.equal((await lab.run('collect')).exit, 0);
    assert.equal((await lab.run('publish')).exit, 0);
    assert.deepEqual((await groupNamed('rest')).timings, [{ patch: 'own-tool@1.0.0', seconds: 65, runs: 3 }]);
    await report(first, took(70));
    assert.equal((await lab.run('collect')).exit, 0);
    const rolesOf = (words: Record<string, unknown>) => (words['roles'] as { role: string }[]).map(({ role }) => role);
    assert.ok(!rolesOf(await lab.json('publish')).includes('policy'), 'seventy is not a quarter more than sixty-five');
  });

  test('the KEV feed is signed, decides, and may not go back in time', async () => {
    const file = join(lab.folder, 'kev.json');
    const write = (released: string, cve: string) =>
      fs.writeFileSync(
        file,
        JSON.stringify({
          catalogVersion: released.slice(0, 10),
          dateReleased: released,
          vulnerabilities: [
            { cveID: cve, dateAdded: '2026-01-02', dueDate: '2026-01-23', knownRansomwareCampaignUse: 'Known' },
          ],
        }),
      );
    write('2026-02-02T10:00:00.000Z', 'CVE-2026-0001');
    assert.equal((await lab.run('source', 'add', 'kev', '--kind', 'kev', '--url', file)).exit, 0);
    assert.equal((await lab.run('source', 'sync', 'kev')).exit, 0);
    assert.equal((await lab.run('source', 'sync', 'kev')).exit, 3);
    assert.equal((await lab.run('publish')).exit, 0);
    const kev = await published('kev', 'feeds/kev.json.zst');
    assert.deepEqual(kev.entries, [{ cve: 'CVE-2026-0001', added: '2026-01-02', due: '2026-01-23', ransomware: true }]);
    const baseline = await published('resolved-baseline', 'policy/baselines/own-software.json.zst');
    assert.equal(baseline.kevAsOf, kev.fetchedAt);
    now += HOUR;
    assert.equal((await lab.run('source', 'sync', 'kev')).exit, 3);
    assert.equal((await lab.run('publish')).exit, 3, 'fetched again and the same: nothing to sign');
    write('2026-01-01T10:00:00.000Z', 'CVE-2026-0002');
    const old = await lab.run('source', 'sync', 'kev');
    assert.equal(old.exit, 5);
    assert.match(old.err, /source\.rollback/);
    fs.writeFileSync(file, '{"vulnerabilities": "none"}');
    assert.match((await lab.run('source', 'sync', 'kev')).err, /source\.feed/);
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
  });
});
