// A small fleet with one host for each verdict and every oddity, for the tests of this folder. Not used by the product.
import type { Catalog, Roster } from '#manifests/schema';
import type { RelayRecords } from '../results/index.ts';
import { agentNamed, alert, chainOf, DAY_MS, finding, NOW, rosterOf, run, sampleInventory, scan } from '../results/samples.ts';
import { openStore } from '../results/store.ts';

export const HOSTILE = '</td><script>alert(1)</script><img src=x onerror=alert(2)>"\'`&\u202egnp.exe';
export const AT = NOW;
export const STALE_HOURS = 72;

export const IDS = {
  good: agentNamed('good'),
  bad: agentNamed('bad'),
  silent: agentNamed('silent'),
  never: agentNamed('never'),
  cloned: agentNamed('cloned'),
  hostile: agentNamed('hostile'),
  revoked: agentNamed('revoked'),
  stranger: agentNamed('stranger'),
};

export const sampleRoster = (): Roster =>
  rosterOf([
    { id: IDS.good, title: 'good-host' },
    { id: IDS.bad, title: 'bad-host' },
    { id: IDS.silent, title: 'silent-host' },
    { id: IDS.never, title: 'never-host' },
    { id: IDS.cloned, title: 'cloned-host' },
    { id: IDS.hostile, title: '=HYPERLINK("http://example.com","x")' },
    { id: IDS.revoked, title: 'revoked-host', status: 'revoked' },
  ]);

/** A site that halted itself, one whose relay may not, and results of three hosts that relays dropped. */
export const sampleRecords = (): RelayRecords => {
  const key = 'c'.repeat(64);
  const at = '2026-03-01T10:00:00Z';
  const halt = {
    site: 'ward-7',
    key,
    signedAt: at,
    groups: [],
    stops: ['download', 'install'] as const,
    until: null,
    says: '',
  };
  const drop = { site: 'ward-7', key, known: true, signedAt: at, bytes: 4_096, why: 'quota' as const };
  const fuse = { rollout: 'careful', reports: 8, failures: 2, failed: [] };
  return {
    halts: [
      { ...halt, id: '1'.repeat(64), name: 'fuse-all', reason: HOSTILE, fuse, state: 'in-force', stops: [...halt.stops] },
      {
        ...halt,
        id: '2'.repeat(64),
        name: 'by-hand',
        reason: 'works',
        fuse: null,
        state: 'refused',
        says: 'no power',
        stops: ['install'],
      },
      {
        ...halt,
        id: '3'.repeat(64),
        name: 'later',
        reason: 'x',
        fuse: null,
        state: 'in-force',
        signedAt: '2099-01-01T00:00:00Z',
        stops: ['install'],
      },
    ],
    dropped: [
      // The chain of `good` is whole from 1 to 3: what was dropped of it has come again.
      { ...drop, agent: IDS.good, dropped: [{ from: 1, to: 3 }], results: 3 },
      // `silent` has 1 and nothing after it; two relays dropped 2 to 4.
      {
        ...drop,
        agent: IDS.silent,
        dropped: [
          { from: 1, to: 1 },
          { from: 3, to: 4 },
        ],
        results: 3,
      },
      { ...drop, agent: IDS.silent, dropped: [{ from: 2, to: 3 }], results: 2, known: false, site: null, why: 'disk' },
      { ...drop, agent: IDS.never, dropped: [{ from: 1, to: 2 }], results: 2 },
    ],
  };
};

export function sampleCatalog(): Catalog {
  const patch = (id: string, cves: string[]): Catalog['patches'][number] => ({
    id,
    format: 'deb',
    source: id.split('@')[0] ?? id,
    version: id.split('@')[1] ?? '1',
    title: `update of ${id}`,
    classification: 'security',
    severity: 'high',
    section: 'libs',
    priority: 'optional',
    repository: 'security',
    cves,
    advisories: [],
    firstSeen: '2026-02-01T00:00:00Z',
    released: null,
    updated: null,
    packages: [],
  });
  return {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product: 'debian-12',
    generatedAt: '2026-03-01T00:00:00Z',
    repositories: [],
    patches: [patch('openssl@3.0.15', ['CVE-2024-10000', 'CVE-2024-9999']), patch('curl@7.88.1', ['CVE-2025-1000'])],
  };
}

/** Fills a new store. */
export function writeSampleStore(file: string): void {
  const store = openStore(file);
  const recent = { sequence: 1, previous: null, at: NOW - DAY_MS };
  const inventory = (hostname: string) => ({ inventory: sampleInventory({ hostname }) });
  const all = [
    ...chainOf(
      IDS.good,
      [
        (from) => scan(from, [finding('openssl@3.0.15', 'MISSING'), finding('curl@7.88.1', 'INSTALLED')], inventory('good')),
        (from) => run(from, { run: '00000000-0000-4000-8000-000000000001' }),
        (from) =>
          scan(
            { ...from, boot: 'boot-2' },
            [finding('openssl@3.0.15', 'INSTALLED'), finding('curl@7.88.1', 'INSTALLED')],
            inventory('good'),
          ),
      ],
      recent,
    ),
    ...chainOf(
      IDS.bad,
      [
        (from) =>
          run(from, {
            run: '00000000-0000-4000-8000-000000000002',
            outcome: 'rolled-back',
            error: { code: 'run.health', message: 'check http: exit 1', where: null },
          }),
        (from) =>
          scan(
            from,
            [
              finding('openssl@3.0.15', 'ROLLED_BACK'),
              finding('curl@7.88.1', 'MISSING'),
              finding('expat@2.5', 'HELD'),
              finding('bind9@9.18', 'EXCEPTED', { compliant: true, changesAt: '2026-05-31T22:00:00Z' }),
              finding('zlib@1', 'PENDING_APPROVAL', { changesAt: '2026-03-09T00:00:00Z' }),
            ],
            inventory('bad'),
          ),
      ],
      recent,
    ),
    ...chainOf(
      IDS.silent,
      [(from) => scan(from, [finding('openssl@3.0.15', 'INSTALLED'), finding('curl@7.88.1', 'MISSING')], inventory('silent'))],
      { ...recent, at: NOW - 10 * DAY_MS },
    ),
    ...chainOf(
      IDS.cloned,
      [(from) => scan(from, [finding('openssl@3.0.15', 'MISSING')], inventory('one')), (from) => alert(from, 'agent.x', 'one')],
      recent,
    ),
    ...chainOf(
      IDS.cloned,
      [(from) => scan(from, [finding('openssl@3.0.15', 'MISSING')], inventory('two')), (from) => alert(from, 'agent.x', 'two')],
      recent,
    ),
    ...chainOf(
      IDS.hostile,
      [
        (from) =>
          run(from, {
            run: '00000000-0000-4000-8000-000000000003',
            error: { code: HOSTILE.slice(0, 60), message: `${HOSTILE}\nsecond line`, where: HOSTILE },
            changes: [{ name: HOSTILE, arch: HOSTILE.slice(0, 40), from: HOSTILE, to: null }],
            health: [{ name: HOSTILE.slice(0, 60), healthy: false, says: HOSTILE }],
            states: [{ state: HOSTILE.slice(0, 40), at: '2026-03-01T12:00:00Z', says: HOSTILE }],
            wayBack: { kind: HOSTILE.slice(0, 40), id: HOSTILE, says: HOSTILE },
            kernelsAfter: { running: HOSTILE, installed: [HOSTILE] },
            rebootNeeded: { needed: true, evidence: [HOSTILE] },
          }),
        (from) =>
          scan(
            from,
            [
              finding('curl@7.88.1', 'MISSING', {
                reasons: [HOSTILE],
                packages: [{ name: HOSTILE, arch: 'x', from: HOSTILE, to: HOSTILE }],
              }),
            ],
            inventory(HOSTILE),
          ),
        (from) => alert(from, HOSTILE.slice(0, 60), HOSTILE),
      ],
      recent,
    ),
    ...chainOf(IDS.revoked, [(from) => scan(from, [finding('curl@7.88.1', 'MISSING')], inventory('revoked'))], recent),
    ...chainOf(IDS.stranger, [(from) => scan(from, [finding('curl@7.88.1', 'MISSING')], inventory('stranger'))], recent),
  ];
  store.transaction(() => store.addResults(all, '2026-03-02T12:00:00Z'));
  store.close();
}
