// Plans: the known fleet and a made-up one, the same figures as table, JSON and page; the page needs nothing and runs nothing.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Clock } from '#manifests/platform/clock';
import { newAgent, sealChain } from '../results/inbox-samples.ts';
import { finding, sampleInventory, scan } from '../results/samples.ts';
import { approveAgent, readRoster, writeRoster } from '../roster/index.ts';
import { tryOut } from './try-out.ts';

const POLICY = `apiVersion: patchferry/v1
kind: Baseline
metadata: {name: own-software}
spec:
  product: own-tool
  rules: [{name: all, approve: {afterDays: 2}, deadline: {afterDays: 3}}]
---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: {name: sundays}
spec: {days: [sun], start: "02:30", durationMinutes: 120, zone: host, catchUp: {withinHours: 6}}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: all}
spec: {baselines: [own-software], windows: [sundays]}
`;

describe('plan', () => {
  const NOW = Date.parse('2026-03-23T12:00:00Z'); // a Monday; clocks change in Berlin on the 29th
  const clock: Clock = { now: () => NOW, monotonic: () => NOW };
  const lab = tryOut({ clock });
  const hosts = ['mail-1', '<b>web</b>', 'silent'].map((title) => ({ title, ...newAgent() }));
  after(() => lab.remove());
  before(async () => {
    await lab.prepare();
    fs.writeFileSync(join(lab.home, 'policy', 'policy.yaml'), POLICY);
    const file = join(lab.home, 'roster.json');
    let roster = readRoster(file);
    for (const { id, title, sign, box } of hosts)
      roster = approveAgent(
        roster,
        { id, title, group: 'all', labels: {}, site: 'north', signKey: sign.publicKey, boxKey: box.publicKey },
        NOW,
      );
    writeRoster(file, roster, NOW);
    const collector = roster.recipients[0]?.boxKey ?? '';
    for (const [index, agent] of hosts.slice(0, 2).entries()) {
      const inventory = sampleInventory({ zone: index === 0 ? 'Europe/Berlin' : 'UTC', hostname: agent.title });
      const found = [finding('own-tool@1.0.0', 'PENDING_APPROVAL', { product: 'own-tool' })];
      for (const { name, bytes } of sealChain(agent, collector, [(from) => scan(from, found, { inventory })], {
        sequence: 1,
        previous: null,
        at: NOW - 60_000,
      })) {
        fs.mkdirSync(join(lab.home, 'inbox', name, '..'), { recursive: true });
        fs.writeFileSync(join(lab.home, 'inbox', name), bytes);
      }
    }
    assert.equal((await lab.run('collect')).exit, 0);
  });

  interface PlanJson {
    readonly hosts: number;
    readonly unknown: number;
    readonly installs: number;
    readonly patches: readonly {
      readonly patch: string;
      readonly hosts: number;
      readonly missedDeadline: number;
      readonly byDay: readonly number[];
    }[];
    readonly sites: readonly { readonly site: string; readonly most: number }[];
    readonly starts: readonly {
      readonly host: string;
      readonly at: string | null;
      readonly there: string;
      readonly late: boolean;
    }[];
    readonly notes: readonly string[];
  }
  const plan = async (...words: string[]) => (await lab.json('plan', ...words)) as unknown as PlanJson;

  test('the known fleet, before anything is published: each host by its own clock, a clock change told, what is late, who is unknown', async () => {
    const told = await plan('--days', '14', '--host', 'mail-1', '--host', '<b>web</b>');
    assert.deepEqual([told.hosts, told.unknown, told.installs], [2, 1, 2]);
    assert.deepEqual(
      told.starts.map(({ host, at, there, late }) => [host, at, there, late]),
      [
        ['mail-1', '2026-03-29T01:00:00Z', '2026-03-29 03:00', true],
        ['<b>web</b>', '2026-03-29T02:30:00Z', '2026-03-29 02:30', true],
      ],
    );
    assert.match(told.notes.join('\n'), /2026-03-29T02:30 Europe\/Berlin does not exist/);
    assert.deepEqual(
      told.patches.map((one) => [one.patch, one.hosts, one.missedDeadline]),
      [['own-tool@1.0.0', 2, 2]],
    );
    const text = await lab.run('plan', '--days', '14', '--host', 'mail-1');
    assert.equal(text.exit, 1, 'a deadline would be missed');
    assert.match(text.out, /mail-1 +own-tool@1\.0\.0 +2026-03-29 01:00 +2026-03-29 03:00 +Europe\/Berlin +\S+ \S+ LATE/);
    assert.match(text.out, /1 host has never reported/);
  });

  test('a host that sleeps through its window makes up for it as it wakes', async () => {
    const asleep = '2026-03-28T00:00:00Z/2026-03-30T09:00:00Z';
    const told = await plan('--days', '14', '--host', 'mail-1', '--asleep', `mail-1=${asleep}`);
    assert.equal(told.starts[0]?.at, '2026-03-30T09:00:00Z');
    assert.match((await lab.run('plan', '--asleep', 'mail-1=never')).err, /plan\.moment/);
    assert.match((await lab.run('plan', '--host', 'mail-2')).err, /plan\.unknown-host.*|did you mean "mail-1"/);
  });

  test('a made-up fleet: the same seed is the same plan; collisions at a site are told', async () => {
    const words = ['--generated', '400', '--sites', '4', '--days', '30', '--site-limit', '10'];
    const first = await plan(...words, '--seed', '5');
    assert.deepEqual(await plan(...words, '--seed', '5'), first);
    assert.equal(first.hosts, 400);
    assert.equal(
      first.patches[0]?.byDay.reduce((sum, one) => sum + one, 0),
      400,
    );
    assert.deepEqual(
      first.sites.map(({ site, most }) => [site, most]),
      [
        ['site-001', 100],
        ['site-002', 100],
        ['site-003', 100],
        ['site-004', 100],
      ],
    );
    assert.match((await lab.run('plan', ...words)).out, /site site-001 +2026-03-29 01:00/);
  });

  test('the page loads nothing, runs nothing, escapes everything, and every line of the timeline can be reached by keyboard', async () => {
    const file = join(lab.folder, 'plan.html');
    const ended = await lab.run('plan', '--days', '14', '--host', '<b>web</b>', '--site-limit', '1', '--html', file);
    assert.match(ended.out, /page written to/);
    const page = fs.readFileSync(file, 'utf8');
    const markup = page.slice(0, page.indexOf('<style>')) + page.slice(page.indexOf('</style>'));
    assert.equal(/https?:|url\(|@import|<link|<script|<iframe|srcset|\son\w+=/.test(markup), false);
    assert.equal(markup.includes('<b>web</b>'), false);
    assert.ok(markup.includes('&lt;b&gt;web&lt;/b&gt;'));
    assert.match(page, /default-src 'none'/);
    const links = [...markup.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id ?? '');
    assert.ok(links.length >= 3);
    for (const id of links) assert.ok(markup.includes(`id="${id}"`), id);
    for (const [svg] of markup.matchAll(/<svg [^>]+>/g)) assert.match(svg, /role="img" aria-label="[^"]+"/);
    assert.match(page, /prefers-color-scheme: dark/);
    assert.match(page, /@media print/);
  });
});
