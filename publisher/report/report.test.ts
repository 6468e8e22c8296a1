// The figures against a fleet that holds every verdict; the renderings against hostile strings (trap 26, evidence age).
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { z } from 'zod';
import { ageText, countText } from '#manifests/page';
import { canonicalJson } from '#manifests/schema';
import { complianceReport, complianceReportSchema, readHostDetails, renderCsv, renderHtml, renderTable } from './index.ts';
import { relayFigures } from './relays.ts';
import {
  AT,
  HOSTILE,
  IDS,
  STALE_HOURS,
  sampleCatalog,
  sampleRecords,
  sampleRoster,
  writeSampleStore,
} from './report-samples.ts';
import type { ComplianceReport } from './schema.ts';
import { cellWidth } from './table.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-report-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'store.sqlite');
const options = {
  roster: sampleRoster(),
  catalogs: [sampleCatalog()],
  relays: sampleRecords(),
  at: AT,
  staleAfterHours: STALE_HOURS,
};
let report: ComplianceReport;
before(() => {
  writeSampleStore(file);
  report = complianceReport(file, options);
});
const host = (agent: string) => report.hosts.find((row) => row.agent === agent);

describe('complianceReport', () => {
  test('fits its own schema, and the published JSON Schema is made from it', () => {
    complianceReportSchema.parse(report);
    const made = `${JSON.stringify(z.toJSONSchema(complianceReportSchema), null, 2)}\n`;
    const path = new URL('compliance-report.schema.json', import.meta.url);
    if (process.env['PATCHFERRY_UPDATE_GOLDEN'] === '1') fs.writeFileSync(path, made);
    assert.equal(fs.readFileSync(path, 'utf8'), made, 'npm run golden rewrites it');
  });

  test('every approved host is in exactly one of the shares, and only fresh evidence counts as compliant', () => {
    const { fleet } = report;
    assert.deepEqual(
      { ...fleet, kept: undefined, oldestEvidenceAt: undefined, medianEvidenceAgeSeconds: undefined },
      {
        denominator: 6,
        compliant: 1,
        nonCompliant: 2,
        stale: 1,
        neverReported: 1,
        disputed: 1,
        compliantPercent: 16.6,
        rebootNeeded: 2,
        policyExpired: 0,
        withGaps: 0,
        reverted: 0,
        revoked: 1,
        kept: undefined,
        oldestEvidenceAt: undefined,
        medianEvidenceAgeSeconds: undefined,
      },
    );
    assert.equal(fleet.denominator, fleet.compliant + fleet.nonCompliant + fleet.stale + fleet.neverReported + fleet.disputed);
    assert.deepEqual(
      Object.values(IDS)
        .slice(0, 6)
        .map((id) => host(id)?.verdict),
      ['compliant', 'non-compliant', 'stale', 'never-reported', 'disputed', 'non-compliant'],
    );
    assert.deepEqual(
      Object.values(IDS)
        .slice(0, 6)
        .map((id) => host(id)?.compliant),
      ['yes', 'no', 'unknown', 'unknown', 'unknown', 'no'],
    );
    assert.equal(fleet.oldestEvidenceAt, '2026-02-20T12:00:00Z');
  });

  test('a host goes stale exactly when its evidence is older than the limit', () => {
    const limit = 24 * 3_600_000;
    const evidenceAt = Date.parse(host(IDS.good)?.evidenceAt ?? '');
    const verdict = (at: number) =>
      complianceReport(file, { ...options, at, staleAfterHours: 24 }).hosts.find(({ agent }) => agent === IDS.good)?.verdict;
    assert.deepEqual([verdict(evidenceAt + limit), verdict(evidenceAt + limit + 1_000)], ['compliant', 'stale']);
    assert.equal(
      complianceReport(file, { ...options, at: evidenceAt - limit }).hosts.find(({ agent }) => agent === IDS.good)
        ?.evidenceAgeSeconds,
      0,
    );
  });

  test('trap 26: revoked and unknown hosts, held and waiting patches never vanish and never count', () => {
    assert.deepEqual(
      report.outside.map(({ agent, why }) => [agent, why]),
      [
        [IDS.revoked, 'revoked'],
        [IDS.stranger, 'not-in-roster'],
      ].toSorted((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1)),
    );
    assert.deepEqual(report.fleet.kept, {
      held: 1,
      pendingApproval: 1,
      rejectedInstalled: 0,
      notApproved: 0,
      excepted: 1,
      recalledInstalled: 0,
    });
    assert.equal(report.states.HELD, 1);
    assert.equal(report.states.EXCEPTED, 1);
    assert.match(renderTable(report, { width: 160 }), /1 have\s+patches excepted by a waiver/);
    assert.deepEqual(report.patches.find(({ patch }) => patch === 'bind9@9.18')?.hosts.EXCEPTED, [IDS.bad]);
    const curl = report.patches.find(({ patch }) => patch === 'curl@7.88.1');
    assert.deepEqual(curl?.hosts.MISSING, [IDS.bad, IDS.hostile].toSorted());
    assert.equal(curl?.counts.MISSING, 2);
    assert.equal(curl?.counts.INSTALLED, 1);
    assert.deepEqual(curl?.lastKnownOpen, [IDS.silent]);
    for (const render of [renderTable(report), renderHtml(report), renderCsv(report)]) {
      for (const title of ['silent-host', 'never-host', 'cloned-host', 'revoked-host'])
        assert.ok(render.includes(title), title);
    }
  });

  test('CVE to hosts, in the order of the numbers; without a catalog it says so instead of saying none', () => {
    assert.deepEqual(
      report.cves?.map(({ cve }) => cve),
      ['CVE-2024-9999', 'CVE-2024-10000', 'CVE-2025-1000'],
    );
    assert.deepEqual(report.cves?.[0], {
      cve: 'CVE-2024-9999',
      patches: ['openssl@3.0.15'],
      hosts: [IDS.bad],
      lastKnownOpen: [IDS.cloned],
    });
    const without = complianceReport(file, { ...options, catalogs: undefined });
    assert.equal(without.cves, null);
    assert.match(renderHtml(without), /No catalog was given/);
  });

  test('a reboot since the run settles what the run asked for', () => {
    assert.equal(host(IDS.good)?.rebootNeeded, 'no');
    assert.equal(host(IDS.bad)?.rebootNeeded, 'yes');
    assert.equal(host(IDS.never)?.rebootNeeded, 'unknown');
  });

  test('the same input gives the same bytes, whatever the order of the roster', () => {
    const again = complianceReport(file, {
      ...options,
      roster: { ...options.roster, agents: options.roster.agents.toReversed() },
    });
    assert.equal(canonicalJson(again), canonicalJson(report));
    assert.equal(renderHtml(again, readHostDetails(file, again)), renderHtml(report, readHostDetails(file, report)));
  });

  test('an empty fleet has no share at all', () => {
    const empty = complianceReport(file, { ...options, roster: { ...options.roster, agents: [] } });
    assert.equal(empty.fleet.compliantPercent, null);
    assert.match(renderTable(empty), /0 of 0 hosts compliant \(no hosts\)/);
    assert.match(renderHtml(empty), /There are no approved hosts yet/);
  });
});

describe('what relays said', () => {
  test('trap 19: dropped results are counted with how many have not come again, each number once, whoever dropped it', () => {
    const { relays } = report;
    assert.deepEqual(
      relays?.dropped.map(({ title, results, missing }) => [title, results, missing]),
      [
        ['good-host', 3, 0],
        ['silent-host', 3, 2],
        ['silent-host', 2, 2],
        ['never-host', 2, 2],
      ],
    );
    assert.deepEqual([relays?.droppedResults, relays?.droppedMissing], [10, 5]);
  });

  test('a property: missing is what a set says, for any runs, gaps and highest number', () => {
    const run = fc
      .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 8 }))
      .map(([from, length]) => ({ from, to: from + length }));
    const apart = (runs: { from: number; to: number }[]) => [
      ...new Set(runs.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, index) => from + index))),
    ];
    fc.assert(
      fc.property(
        fc.array(run, { minLength: 1, maxLength: 4 }),
        fc.array(run, { maxLength: 4 }),
        fc.integer({ min: 1, max: 60 }),
        (runs, holes, highest) => {
          const gone = new Set(apart(holes).filter((sequence) => sequence < highest));
          const gaps = [...gone].map((sequence) => ({ from: sequence, to: sequence }));
          const template = sampleRecords().dropped[0];
          assert.ok(template !== undefined);
          const records = { halts: [], dropped: runs.map((each) => ({ ...template, dropped: [each], results: 1 })) };
          const { droppedMissing } = relayFigures(records, '2030-01-01T00:00:00Z', () => ({
            title: null,
            chain: { highest, gaps },
          }));
          assert.equal(droppedMissing, apart(runs).filter((sequence) => gone.has(sequence) || sequence > highest).length);
        },
      ),
    );
  });

  test('halts of sites: those in force are named in the table and on the page, one that is not heeded says so; later ones are not there yet', () => {
    assert.deepEqual(
      report.relays?.halts.map(({ name, by, state }) => [name, by, state]),
      [
        ['fuse-all', 'fuse', 'in-force'],
        ['by-hand', 'hand', 'refused'],
      ],
    );
    assert.equal(report.relays?.haltsInForce, 1);
    const table = renderTable(report, { width: 200 });
    assert.match(table, /site ward-7 halted by its fuse \(fuse-all\) since .*stops download, install/);
    assert.match(table, /10 results of 3 hosts dropped by relays for want of room; 5 have not come again yet/);
    assert.match(
      table,
      /dropped: silent-host, numbers 2–3 by a relay without a site, which no delegation names .*; 2 of 2 missing/,
    );
    assert.doesNotMatch(table, /dropped: good-host/);
    const page = renderHtml(report);
    assert.match(
      page,
      /<h2 id="site-halts">[^]*ward-7<span class="mild">fuse-all, by the fuse<[^]*in force[^]*not heeded: policy does not allow it/,
    );
    assert.match(page, /<h2 id="dropped">[^]*silent-host[^]*the disk was full/);
    const without = complianceReport(file, { ...options, relays: undefined });
    assert.equal(without.relays, null);
    assert.doesNotMatch(renderHtml(without), /id="dropped"/);
    const none = complianceReport(file, { ...options, relays: { halts: [], dropped: [] } });
    assert.match(renderHtml(none), /No relay has ever dropped a result/);
    const row = renderCsv(report)
      .split('\r\n')
      .find((line) => line.startsWith('silent-host'));
    assert.match(row ?? '', /,5,4,2026-[^,]*,72$/, 'results dropped, and those missing by each record');
  });
});

describe('renderings', () => {
  test('hostile strings stay text on the page', () => {
    const page = renderHtml(report, readHostDetails(file, report));
    assert.equal(/<script|<img|onerror=alert\(2\)>/.test(page), false);
    assert.ok(page.includes('&lt;script&gt;alert(1)&lt;/script&gt;'));
    assert.equal(page.includes('\u202e'), false);
    assert.ok(page.includes('\\u{202e}gnp.exe'));
    assert.equal(page.split('<h1').length, 2);
    // No attribute carries data but ids, dates and class names of ours.
    assert.equal(
      /\s(?:style|on\w+|src)=/.test(
        page
          .replaceAll(/&[^;]+;|\\u/g, '')
          .replace(/<style>[^]*<\/style>/, '')
          .replaceAll(/>[^<]*</g, '><'),
      ),
      false,
    );
  });

  test('the page loads nothing: no address, no import, no script, and a policy that forbids all', () => {
    const page = renderHtml(report, readHostDetails(file, report));
    const markup = page.replaceAll(/>[^<]*</g, '><');
    assert.equal(/https?:|url\(|@import|<link|<script|<iframe|srcset/.test(markup), false);
    assert.equal(/url\(|@import/.test(page.slice(page.indexOf('<style>'), page.indexOf('</style>'))), false);
    assert.ok(page.includes(`content="default-src 'none'; style-src 'unsafe-inline'"`));
    for (const href of markup.matchAll(/href="([^"]*)"/g)) assert.match(href[1] ?? '', /^#host-[0-9a-f]{32}$/);
  });

  test('CWE-1236: a spreadsheet runs nothing of the CSV', () => {
    const csv = renderCsv(report);
    assert.ok(csv.includes(`"'=HYPERLINK(""http://example.com"",""x"")"`));
    for (const kind of ['hosts', 'patches'] as const) {
      for (const line of renderCsv(report, kind).split('\r\n')) assert.equal(/(?:^|,)"?[=+\-@\t]/.test(line), false, line);
    }
    assert.equal(csv.split('\r\n').length, report.hosts.length + report.outside.length + 2);
    const columns = csv.split('\r\n')[0]?.split(',').length;
    const last = csv.trimEnd().split('\r\n').at(-1) ?? '';
    assert.equal(last.split(',').length, columns);
    assert.match(
      renderCsv(report, 'patches'),
      /curl@7\.88\.1,update of curl@7\.88\.1,high,CVE-2025-1000,silent-host,[0-9a-f]{32},LAST_KNOWN_OPEN/,
    );
  });

  test('the table fits every width, and has colour only when asked', () => {
    const wide = { ...report, hosts: report.hosts.map((row) => ({ ...row, title: `港${row.title}🚢${HOSTILE}` })) };
    for (const width of [40, 44, 60, 80, 100, 200]) {
      for (const line of renderTable(wide, { width }).split('\n')) assert.ok(cellWidth(line) <= width, `${width}: ${line}`);
    }
    assert.equal(renderTable(wide).includes('\u001b'), false);
    assert.ok(renderTable(wide, { color: true }).includes('\u001b[31mnot compliant\u001b[0m'));
    assert.equal(renderTable(wide).includes('\u202e'), false);
  });

  test('before and after of the last run are on the page', () => {
    const page = renderHtml(report, readHostDetails(file, report, ['good-host']));
    for (const text of [
      '3.0.11-1',
      '3.0.15-1',
      '6.1.0-13-amd64',
      '6.1.0-32-amd64',
      'Committed',
      'healthy',
      'earlier packages kept',
      'whole up to no. 3',
    ]) {
      assert.ok(page.includes(text), text);
    }
    assert.match(renderHtml(report, readHostDetails(file, report, [IDS.bad])), /Rolled back: the host is as before/);
  });

  test('words for figures', () => {
    assert.deepEqual([0, 59, 60, 3_599, 5_400, 90_000].map(ageText), [
      '0 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h 30 min',
      '1 d 1 h',
    ]);
    assert.equal(countText(1_234_567), '1\u202f234\u202f567');
  });
});
