// The publisher explains a patch on a host in the very words of that host's own agent: the real programs, byte for byte.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from '../fleet/index.ts';
import { closedSite } from './closed-site.ts';

const POLICY = `apiVersion: patchferry/v1
kind: Baseline
metadata: {name: own-software}
spec:
  product: own-tool
  rejected: ["own-tool@1.1.0"]
  rules: [{name: all, approve: {afterDays: 0}, deadline: {afterDays: 30}}]
---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: {name: first-sunday}
spec: {monthly: {nth: 1, weekday: sun}, start: "03:00", durationMinutes: 30, zone: host}
---
apiVersion: patchferry/v1
kind: Rollout
metadata: {name: slow}
spec: {rings: [{name: canary, groups: [others]}, {name: rest, gate: {minHosts: 3, soakHours: 48}}]}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: all}
spec: {baselines: [own-software], windows: [first-sunday], rollout: slow}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: others}
spec: {baselines: [own-software], windows: [first-sunday], rollout: slow}
`;

const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

test('publisher explain and agent explain: the same bytes for the same host, patch and moment', async () => {
  const world = await closedSite();
  closing.push(() => world.remove());
  const { publisher } = world;
  fs.writeFileSync(join(publisher.home, 'policy', 'policy.yaml'), POLICY);
  await publisher.addRelease('1.1.0');
  await publisher.addRelease('1.2.0');
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'none');
  const relay = await (await world.relay('hq')).start({
    upstream: [publisher.repository],
    inboxForward: [join(publisher.home, 'inbox')],
  });
  closing.push(() => relay.stop());

  await relay.sync();
  const code = String(
    (await publisher.json('agent', 'invite', '--group', 'all', '--site', 'hq', '--label', 'role=till'))['code'],
  );
  const enrolled = await world.agent('a', 'enroll', '--code', code, '--relay', relay.url, '--root', publisher.root);
  assert.equal(enrolled.exit, 0, enrolled.err);
  const arrives = (kind: string) =>
    until(`${kind} to arrive`, 30, () => {
      const folder = join(publisher.home, 'inbox', kind);
      const files = fs.existsSync(folder) ? fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];
      return files.some((file) => file.endsWith('.pfe')) ? true : undefined;
    });
  await relay.forward();
  await arrives('enrolments');
  await world.publish(0, 'collect');
  await world.publish(0, 'agent', 'approve', '--all-valid');
  await world.publish(0, 'recall', 'own-tool@1.0.0', '--name', 'old', '--reason', 'loses settings');
  await world.publish(0, 'publish', '--payloads', 'none');
  await relay.sync();
  const looked = await world.agent('a', 'once');
  assert.ok([1, 4].includes(looked.exit), looked.err + looked.out);
  await relay.forward();
  await arrives('results');
  await publisher.run('collect');

  for (const query of ['own-tool', 'own-tool@1.0.0', 'own-tool@1.1.0', 'own-tool@1.2.0']) {
    const there = await world.agent('a', 'explain', query);
    assert.equal(there.exit, 0, there.err);
    const at = /as of (\S+Z)/.exec(there.out)?.[1] ?? '';
    const title = String(((await publisher.json('agent', 'list'))['agents'] as { title: string }[])[0]?.title);
    const here = await publisher.run('explain', '--host', title, '--patch', query, '--at', at);
    assert.equal(here.exit, 0, here.err);
    assert.equal(here.out, there.out);
    if (query === 'own-tool@1.2.0') {
      assert.match(here.out, /ring +ring rest of rollout slow opens once ring canary/);
      assert.match(here.out, /held back/);
      assert.match(here.out, /to be installed by/);
    }
  }
  const unknown = await publisher.run('explain', '--host', 'nobody', '--patch', 'own-tool');
  assert.match(unknown.err, /explain\.unknown-host/);
});
