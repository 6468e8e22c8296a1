// KEV due dates from CISA's own entries, those due before they were added among them; the rule and the deadline made of them.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { test } from 'node:test';
import { resolveBaseline } from './baseline.ts';
import { evaluate } from './evaluate.ts';
import { kevFrom, kevIndex, kevOf } from './kev.ts';
import { sampleBaseline, sampleCatalog, sampleInput, samplePatch } from './sample.ts';
import { momentOf } from './text.ts';

const FETCHED = Date.parse('2025-08-26T00:00:00Z');
const EXCERPT: unknown = JSON.parse(fs.readFileSync(new URL('fixtures/kev-excerpt.json', import.meta.url), 'utf8'));
const KEV = kevFrom(EXCERPT, FETCHED);

test('KEV due dates of real entries; one due before it was added is due on the day it was added', () => {
  const index = kevIndex(KEV);
  for (const [cve, added, dueBy, ransomware] of [
    ['CVE-2021-34527', '2021-11-03', '2021-11-04T00:00:00Z', true], // due 2021-07-20 in the catalogue
    ['CVE-2020-1472', '2021-11-03', '2021-11-04T00:00:00Z', true], // due 2020-09-21
    ['CVE-2020-0601', '2021-11-03', '2021-11-04T00:00:00Z', false], // due 2020-01-29
    ['CVE-2021-26855', '2021-11-03', '2021-11-04T00:00:00Z', true], // due 2021-04-16
    ['CVE-2021-44228', '2021-12-10', '2021-12-25T00:00:00Z', true],
    ['CVE-2022-22965', '2022-04-04', '2022-04-26T00:00:00Z', false],
    ['CVE-2023-4966', '2023-10-18', '2023-11-09T00:00:00Z', true],
    ['CVE-2024-3400', '2024-04-12', '2024-04-20T00:00:00Z', true],
    ['CVE-2025-53770', '2025-07-20', '2025-07-22T00:00:00Z', true],
    ['CVE-2025-5777', '2025-07-10', '2025-07-12T00:00:00Z', true],
    ['CVE-2025-48384', '2025-08-25', '2025-09-16T00:00:00Z', false],
  ] as const) {
    const listing = index.get(cve);
    assert.deepEqual([listing?.added, momentOf(listing?.dueBy ?? 0), listing?.ransomware], [added, dueBy, ransomware], cve);
  }
  assert.equal(index.get('CVE-1999-0001'), undefined);
});

test('of several listed flaws the one due first counts', () => {
  const patch = samplePatch('a@1', { cves: ['CVE-2025-48384', 'CVE-2025-5777', 'CVE-2025-1'] });
  assert.equal(kevOf(patch, kevIndex(KEV))?.cve, 'CVE-2025-5777');
  assert.equal(kevOf(samplePatch('b@1'), kevIndex(KEV)), undefined);
});

test('KEV-listed patches have a rule and a deadline of their own', () => {
  const listed = samplePatch('git@2', { cves: ['CVE-2025-48384'], firstSeen: '2025-08-25T12:00:00Z' });
  const old = samplePatch('smb@2', { cves: ['CVE-2020-1472'], firstSeen: '2025-08-25T12:00:00Z' });
  const other = samplePatch('vim@2', { cves: ['CVE-2025-1111'], firstSeen: '2025-08-25T12:00:00Z' });
  const spec = {
    rules: [
      {
        name: 'known-exploited',
        filters: { kev: true },
        approve: { afterDays: 0 },
        complianceLevel: 'critical',
        deadline: { kevDue: true },
      },
      { name: 'capped', filters: { kev: true }, approve: { afterDays: 0 }, deadline: { kevDue: true, afterDays: 7 } },
      { name: 'rest', filters: { kev: false }, approve: { afterDays: 14 } },
    ],
  };
  const catalog = sampleCatalog([listed, old, other]);
  const only = resolveBaseline(sampleBaseline({ rules: spec.rules.slice(0, 1) }), catalog, FETCHED, '0'.repeat(64), {
    kev: KEV,
  });
  assert.deepEqual(
    only.approved.map(({ patch, deadline, level }) => [patch, deadline, level]),
    [
      ['git@2', '2025-09-16T00:00:00Z', 'critical'],
      ['smb@2', '2021-11-04T00:00:00Z', 'critical'],
    ],
  );
  assert.equal(only.kevAsOf, '2025-08-26T00:00:00Z');
  const all = resolveBaseline(sampleBaseline(spec), catalog, FETCHED, '0'.repeat(64), { kev: KEV });
  assert.equal(all.approved[0]?.deadline, '2025-09-01T12:00:00Z', 'of several deadlines the first');
  assert.deepEqual(
    all.pending.map(({ patch, deadline }) => [patch, deadline]),
    [['vim@2', undefined]],
  );
  const without = resolveBaseline(sampleBaseline(spec), catalog, FETCHED, '0'.repeat(64));
  assert.deepEqual([without.approved.length, without.pending.length], [0, 3], 'without a feed nothing is listed');
});

/** All 1404 entries: CVE, added, due, and K where ransomware is known to use it. */
const WHOLE = fs
  .readFileSync(new URL('fixtures/kev-2025-08-25.tsv', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((row) => {
    const [cveID = '', dateAdded = '', dueDate = '', known] = row.split('\t');
    return { cveID, dateAdded, dueDate, knownRansomwareCampaignUse: known === 'K' ? 'Known' : 'Unknown' };
  });
const WHOLE_KEV = kevFrom(
  { catalogVersion: '2025.08.25', dateReleased: '2025-08-25T17:04:19.9796Z', vulnerabilities: WHOLE },
  FETCHED,
);

test('5.3 the whole catalogue of 2025-08-25: the figures of the field guide, and every due date', () => {
  assert.equal(WHOLE_KEV.entries.length, 1_404);
  const days = (from: string, to: string) => (Date.parse(to) - Date.parse(from)) / 86_400_000;
  const count = (year: string, length: number) =>
    WHOLE.filter(({ dateAdded, dueDate }) => dateAdded.startsWith(year) && days(dateAdded, dueDate) === length).length;
  assert.deepEqual(
    [
      [count('2021', 14), count('2021', 181), count('2021', 182)],
      [count('2022', 14), count('2022', 21), count('2022', 181)],
      [count('2023', 21), count('2024', 21), count('2025', 21)],
      [count('2023', 4), count('2024', 7), count('2025', 7), count('2025', 1)],
    ],
    [
      [111, 174, 11],
      [88, 403, 49],
      [177, 175, 156],
      [7, 7, 5, 4],
    ],
  );
  const index = kevIndex(WHOLE_KEV);
  assert.equal([...index.values()].filter(({ ransomware }) => ransomware).length, 293);
  for (const { cveID, dateAdded, dueDate } of WHOLE) {
    const listing = index.get(cveID);
    // text by text, so that it shares no arithmetic with what it checks
    const lastDay = momentOf((listing?.dueBy ?? 0) - 1).slice(0, 10);
    assert.equal(lastDay, dueDate < dateAdded ? dateAdded : dueDate, cveID);
    assert.ok((listing?.dueBy ?? 0) > Date.parse(`${dateAdded}T23:59:59Z`), `${cveID} is no debt from before it was listed`);
  }
  const early = WHOLE.filter(({ dateAdded, dueDate }) => dueDate < dateAdded).map(({ cveID }) => cveID);
  assert.equal(early.length, 15);
});

test('9.12 the overdue list of a host, computed with no line, is the one made by hand', () => {
  const entries = [
    ...WHOLE.filter(({ dateAdded, dueDate }) => dueDate < dateAdded),
    ...WHOLE.filter((_, index) => index % 40 === 0),
  ];
  const unique = [...new Map(entries.map((entry) => [entry.cveID, entry])).values()];
  const patches = unique.map(({ cveID, dateAdded }) =>
    samplePatch(`p-${cveID.toLowerCase()}@2`, { cves: [cveID], firstSeen: `${dateAdded}T12:00:00Z` }),
  );
  const rules = [{ name: 'kev', filters: { kev: true }, approve: { afterDays: 0 }, deadline: { kevDue: true } }];
  const at = Date.parse('2025-08-26T00:00:00Z');
  const resolved = resolveBaseline(sampleBaseline({ rules }), sampleCatalog(patches), at, '0'.repeat(64), { kev: WHOLE_KEV });
  const installed = patches.map(({ source }) => `${source}=1`);
  for (const day of ['2021-11-04', '2022-05-03', '2025-08-26', '2025-09-16']) {
    const now = Date.parse(`${day}T00:00:00Z`);
    const { overdue } = evaluate(sampleInput(patches, installed, { baselines: [resolved], at: now }));
    const byHand = unique.flatMap(({ cveID, dateAdded, dueDate }) =>
      (dueDate < dateAdded ? dateAdded : dueDate) < day ? [`p-${cveID.toLowerCase()}@2`] : [],
    );
    assert.deepEqual(overdue, byHand.toSorted(), day);
  }
});
