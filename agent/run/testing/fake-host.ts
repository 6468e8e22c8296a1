// For tests: a fake host under the real machine. Fake are the package system, the way back, the boot and the health checks;
// real are the journal, the table, the engine and the acts.
import type { Evaluation } from '#manifests/decide';
import { ALWAYS_OPEN, purposeState, setDigest } from '#manifests/decide';
import { silentLog } from '#manifests/platform/log';
import type { Group, Inventory } from '#manifests/schema';
import { sha256Of } from '#manifests/schema';
import {
  type InstallItem,
  type InstallPlan,
  type PackageSystem,
  SYSTEM_FORMATS,
  type SystemFormat,
} from '../../packages/index.ts';
import type { WayBack } from '../../snapshot/index.ts';
import { type FailPoint, noFailPoints } from '../failpoints.ts';
import { openJournal } from '../journal.ts';
import type { RunWorld } from '../world.ts';

/** What an evaluation says where no rollout, halt, recall, waiver or site has a part in it. */
const UNREMARKABLE = {
  windows: { download: ALWAYS_OPEN, install: ALWAYS_OPEN, reboot: ALWAYS_OPEN },
  mayReboot: true,
  mayDownload: true,
  estimateMs: 0,
  held: [],
  urgent: [],
  overdue: [],
  rollback: null,
  rollbackWaits: null,
  lane: 'window',
  halts: [],
  warnings: [],
  notices: [],
  hooks: [],
  site: { applied: [], refused: [] },
} as const;

export const START = Date.parse('2026-03-02T10:00:00Z'); // a Monday

export interface FakeHost {
  /** `name:arch` -> version: what the fake package database holds. */
  readonly packages: Map<string, string>;
  readonly components: Map<string, string>;
  readonly world: RunWorld;
  readonly group: Group;
  /** What happens in this part of the host; each is consulted every time. */
  readonly faults: {
    plan: 'ok' | 'refused' | 'throws';
    precheck: 'ok' | 'fails' | 'later';
    wayBack: 'ok' | 'none' | 'throws';
    install: 'ok' | 'fails' | 'half' | 'lies';
    audit: 'ok' | 'broken';
    health: 'ok' | 'fails';
    restore: 'ok' | 'fails' | 'lies';
    /** What each hook comes to, by its place or name. */
    hooks: Record<string, 'done' | 'later' | 'failed'>;
    restart: 'ok' | 'fails';
  };
  /** Checks of the host that fail. */
  readonly unwell: Map<string, { blocks: boolean; later: boolean }>;
  /** Which failing check a fix of the host mends. */
  readonly mends: Map<string, string>;
  readonly acts: string[];
  /** Patches (`NAME@2`) whose packages never install and stay half changed; only of the packages given as `more`. */
  readonly bad: Set<string>;
  /** Packages that only install when this other one has. */
  readonly needs: Map<string, string>;
  now: number;
  boot: number;
  /** Whether the package system says which packages it left unfinished. */
  names: boolean;
  rebootEvidence: string[];
  /** Services that run replaced code; a restart ends that. */
  stale: string[];
  users: string[];
  allowReboot: boolean;
  failPoint: FailPoint;
  inventory(): Inventory;
  evaluation(formats?: readonly SystemFormat[]): Evaluation;
}

const NEW = '2.0';

/** @param more further packages, each with a patch of its own: `NAME@2` */
export function makeFakeHost(journalFile: string, group: Partial<Group> = {}, more: readonly string[] = []): FakeHost {
  const packages = new Map([
    ['libfoo:amd64', '1.0'],
    ['foo:amd64', '1.0'],
    ...more.map((name) => [`${name}:amd64`, '1.0'] as const),
  ]);
  const half = new Set<string>();
  const bad = new Set<string>();
  const needs = new Map<string, string>();
  const components = new Map([['tool', '1.0.0']]);
  const saved = new Map<string, { packages: Map<string, string>; components: Map<string, string> }>();
  const acts: string[] = [];
  const faults: FakeHost['faults'] = {
    plan: 'ok',
    precheck: 'ok',
    wayBack: 'ok',
    install: 'ok',
    audit: 'ok',
    health: 'ok',
    restore: 'ok',
    hooks: {},
    restart: 'ok',
  };
  const signed: Group = {
    schema: 'patchferry/group',
    schemaVersion: 1,
    name: 'site',
    signedAt: '2026-03-01T00:00:00Z',
    baselines: [],
    windows: [
      {
        name: 'mon',
        days: ['mon'],
        start: '09:00',
        durationMinutes: 120,
        cutoffMinutes: 0,
        zone: 'UTC',
        validFrom: null,
        validUntil: null,
      },
    ],
    reboot: 'if-needed',
    health: [{ name: 'alive', command: ['true'], timeoutSeconds: 5 }],
    wayBack: 'required',
    pollMinutes: 60,
    freeBytes: 0,
    newDependencies: 'allow',
    removals: 'refuse',
    ...group,
  };

  const items = (formats: readonly SystemFormat[]): InstallItem[] =>
    formats.flatMap((format) =>
      (format === 'deb' ? ['foo', 'libfoo', ...more] : ['tool']).map((name) => ({
        name,
        arch: format === 'deb' ? 'amd64' : 'all',
        from: (format === 'deb' ? packages.get(`${name}:amd64`) : components.get(name)) ?? null,
        to: format === 'deb' ? NEW : '2.0.0',
        sha256: sha256Of(name),
        size: 10,
        path: `pool/${name}`,
        repository: 'vendor',
        patch: more.includes(name) ? `${name}@2` : `${format}-patch@2`,
        format,
      })),
    );

  const system = (format: SystemFormat): PackageSystem => ({
    format,
    available: async () => true,
    indexPayloads: () => [],
    async plan(wanted): Promise<InstallPlan> {
      acts.push(`plan ${format}`);
      if (faults.plan === 'throws') throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      return {
        format,
        items: [...wanted],
        newPackages: [],
        removals: [],
        keptBack: [],
        payloads: [],
        changes: wanted.map(({ name, arch, from, to }) => ({ name, arch, from, to })),
        refused: faults.plan === 'refused' ? { code: 'packages.removals', says: 'it would remove bar' } : null,
        diskBytes: 0,
        touches: ['/usr'],
      };
    },
    async precheck() {
      return [{ name: 'room', ok: faults.precheck === 'ok', says: 'as told', retryLater: faults.precheck === 'later' }];
    },
    async install(plan, _context, only) {
      const wanted = plan.items.filter(({ patch }) => only === undefined || only.has(patch));
      acts.push(`install ${format}`);
      if (more.length > 0) acts.push(`batch ${[...new Set(wanted.map(({ patch }) => patch))].join(' ')}`);
      for (const { name, patch } of wanted) {
        const need = needs.get(name);
        if (need !== undefined && !plan.items.some((item) => item.name === need))
          return { ok: false, says: `it would change more than was planned: install ${need}`, output: '' };
        if (!bad.has(patch)) continue;
        packages.set(`${name}:amd64`, NEW);
        half.add(name);
        return { ok: false, says: `dpkg: ${name} failed`, output: 'the end of the output', broken: host.names ? [name] : [] };
      }
      if (faults.install === 'lies') return { ok: true, says: 'installed', output: '' };
      for (const { name, arch, to } of faults.install === 'half' ? wanted.slice(0, 1) : wanted) {
        if (faults.install === 'fails') break;
        if (format === 'deb') packages.set(`${name}:${arch}`, to);
        else components.set(name, to);
      }
      const ok = faults.install === 'ok';
      return { ok, says: ok ? 'installed' : 'dpkg ended with 1', output: 'the end of the output' };
    },
    repair: async () => {
      acts.push(`repair ${format}`);
      return { ok: true, says: 'nothing to repair' };
    },
    audit: async () =>
      faults.audit === 'ok' ? [...half].map((name) => `${name} is half configured`) : ['foo is half configured'],
  });

  const way: WayBack = {
    kind: 'packages',
    assess: async () => ({ possible: faults.wayBack !== 'none', says: 'a fake', costBytes: 0, notCovered: [] }),
    async take(run) {
      acts.push('take');
      if (faults.wayBack === 'throws') throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
      saved.set(run, { packages: new Map(packages), components: new Map(components) });
      return { id: run, says: 'kept' };
    },
    async restore(id) {
      acts.push('restore');
      const before = saved.get(id);
      if (faults.restore === 'fails' || before === undefined) return { ok: false, says: 'the copy is gone' };
      if (faults.restore === 'lies') return { ok: true, says: 'restored' };
      half.clear();
      for (const [kind, now] of [
        ['packages', packages],
        ['components', components],
      ] as const) {
        now.clear();
        for (const [key, value] of before[kind]) now.set(key, value);
      }
      return { ok: true, says: 'restored' };
    },
    async discard(id) {
      acts.push('discard');
      saved.delete(id);
    },
    list: async () => [...saved.keys()].map((id) => ({ id, takenAt: '2026-03-02T10:00:00Z' })),
  };

  const host: FakeHost = {
    packages,
    components,
    faults,
    unwell: new Map(),
    mends: new Map(),
    acts,
    bad,
    needs,
    names: true,
    group: signed,
    now: START,
    boot: 1,
    rebootEvidence: [],
    stale: [],
    users: [],
    allowReboot: false,
    failPoint: noFailPoints,
    inventory: () => ({
      schema: 'patchferry/inventory',
      schemaVersion: 1,
      takenAt: '2026-03-02T10:00:00Z',
      hostname: 'fake',
      product: 'debian-12',
      arch: 'amd64',
      bootId: `boot-${host.boot}`,
      kernels: { running: `k${host.boot}`, installed: ['k1', 'k2'] },
      zone: 'UTC',
      labels: {},
      facts: {},
      packages: [...packages].map(([key, version]) => {
        const [name = '', arch = ''] = key.split(':');
        return { name, arch, version, source: name, sourceVersion: version, state: 'installed', held: false };
      }),
      components: Object.fromEntries(components),
      freeBytes: {},
    }),
    evaluation: (formats = ['deb']) => {
      const wanted = items(formats);
      return {
        at: '2026-03-02T10:00:00Z',
        product: 'debian-12',
        group: 'site',
        baselines: [],
        findings: [],
        counts: {} as Evaluation['counts'],
        nonCompliant: { critical: 0, security: 0, other: 0 },
        compliant: false,
        next: { action: 'install', says: 'now', at: null },
        install: [...new Set(wanted.map(({ patch }) => patch))],
        packages: wanted,
        digest:
          more.length === 0
            ? sha256Of(formats.join())
            : setDigest({ install: wanted.map(({ patch }) => patch), packages: wanted }),
        blocked: [],
        window: purposeState(signed.windows, 'install', host.now, 'UTC'),
        ...UNREMARKABLE,
        notes: [],
      };
    },
    world: {
      journal: openJournal(journalFile, { now: START }),
      clock: { now: () => host.now, monotonic: () => host.now },
      log: silentLog,
      signal: new AbortController().signal,
      failPoint: (name) => host.failPoint(name),
      get allowReboot() {
        return host.allowReboot;
      },
      trustedNow: () => host.now,
      protectedWays: () => new Set(),
      clockState: () => 'ok',
      line: async () => ({ metered: false, says: 'as told' }),
      evaluate: () => ({
        ...host.evaluation(),
        findings: items(['deb', 'archive']).map((item) => ({
          patch: item.patch,
          product: 'debian-12',
          state: item.from === item.to ? 'INSTALLED' : 'MISSING',
          compliant: true,
          level: 'high',
          packages: [],
          reasons: [],
          changesAt: null,
        })),
      }),
      windowOf: (run, zone, purpose) => purposeState(run.group?.windows ?? [], purpose, host.now, zone),
      catalogs: () => [],
      context: (_run, catalogs, signal) => ({
        root: '/',
        workFolder: '/nonexistent',
        payloadPath: (sha256) => sha256,
        catalogs,
        log: silentLog,
        clock: { now: () => host.now, monotonic: () => host.now },
        signal,
        archiveRoot: '/nonexistent',
      }),
      fetchPayloads: async () => undefined,
      say: () => undefined,
      hands: {
        systems: Object.fromEntries(SYSTEM_FORMATS.map((format) => [format, system(format)])) as RunWorld['hands']['systems'],
        ways: [way],
        machine: () => ({ hardware: 'fake', system: null }),
        inventory: async () => host.inventory(),
        digest: (inventory) =>
          sha256Of(JSON.stringify(inventory.packages.map(({ name, version }) => `${name}=${version}`).toSorted())),
        reboot: async () => {
          acts.push('reboot');
        },
        checkHost: async ({ policy }) => {
          acts.push('look');
          const scripts = (policy.scripts ?? []).map(({ name }) => `script ${name}`);
          return [...scripts, 'clock', 'load'].map((name) => {
            const wrong = host.unwell.get(name);
            const blocks = wrong?.blocks ?? false;
            return { name, ok: wrong === undefined, blocks, says: 'as told', retryLater: wrong?.later ?? false };
          });
        },
        updaters: {
          find: async () => [],
          switchOff: async () => undefined,
          switchBack: async () => undefined,
        },
        async fixHost(name) {
          acts.push(`fix ${name}`);
          const mended = host.mends.get(name);
          if (mended === undefined) return undefined;
          host.unwell.delete(mended);
          return { outcome: 'done', says: `${mended} is well` };
        },
        checkHealth: async () => {
          const touched = [...packages.values(), ...components.values()].some((version) => version.startsWith('2'));
          const healthy = faults.health === 'ok' || !touched;
          return { healthy, says: healthy ? 'passed' : 'no answer' };
        },
        rebootEvidence: () => host.rebootEvidence,
        staleUses: () => host.stale.map((unit) => ({ unit, program: unit, file: '/usr/lib/libfoo.so.1' })),
        mayRestart: (unit): unit is string => unit !== null && unit !== 'dbus.service',
        async restartUnit(unit) {
          acts.push(`restart ${unit}`);
          if (faults.restart === 'ok') host.stale = host.stale.filter((one) => one !== unit);
          return { ok: faults.restart === 'ok', says: 'as told' };
        },
        async runHook(hook, environment) {
          const at = environment['PATCHFERRY_HOOK'] ?? '';
          const outcome = environment['PATCHFERRY_OUTCOME'];
          acts.push(`hook ${at} ${hook.name}${outcome === undefined ? '' : ` ${outcome}`}`);
          return { how: faults.hooks[at] ?? faults.hooks[hook.name] ?? 'done', says: 'as told' };
        },
        loggedIn: async () => host.users,
        async notify(text) {
          acts.push(`wall ${text}`);
        },
        async wait(ms) {
          host.now += ms;
        },
      },
    },
  };
  return host;
}
