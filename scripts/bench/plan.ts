// Row P6: a plan simulated over a fleet and sixty days, at three sizes; one process, memory told.
import { generatedFleet, type SimPolicy, simulateFleet } from '#manifests/decide';
import { sampleGroup, sampleWindow } from '../../manifests/decide/sample.ts';

export const name = 'plan';

const FROM = Date.parse('2026-03-01T00:00:00Z');
const DAY_MS = 86_400_000;
const DAYS = 60;
const SIZES = [
  { hosts: 10_000, targetMs: null },
  { hosts: 100_000, targetMs: null },
  { hosts: 1_000_000, targetMs: 60_000 },
] as const;

/** Two groups on one rollout of three rings, two releases a week, one of them an emergency; windows by each host's own clock. */
function policy(): SimPolicy {
  const ring = { labels: {}, stepped: false, maxConcurrency: { percent: 10 }, hosts: null };
  const rollout = {
    name: 'all',
    id: 'all',
    canaries: 'same' as const,
    opened: [],
    halted: [],
    fuse: null,
    rings: [
      { ...ring, name: 'canary', groups: ['canary'], afterHours: 0, gate: null, ramp: [{ afterHours: 0, percent: 100 }] },
      {
        ...ring,
        name: 'rest',
        groups: [],
        afterHours: 24,
        gate: { minSuccessPercent: 70, minHosts: 10, soakHours: 48 },
        ramp: [
          { afterHours: 0, percent: 10 },
          { afterHours: 72, percent: 100 },
        ],
      },
    ],
  };
  const windows = [
    sampleWindow({
      name: 'night',
      days: ['mon', 'tue', 'wed', 'thu', 'fri'],
      start: '01:30',
      durationMinutes: 240,
      cutoffMinutes: 30,
      zone: 'host',
    }),
    sampleWindow({ name: 'weekend', days: ['sat', 'sun'], start: '22:00', durationMinutes: 480, zone: 'host' }),
  ];
  const group = (groupName: string) => sampleGroup({ name: groupName, windows, rollout });
  return {
    groups: new Map(['canary', 'servers', 'desks'].map((groupName) => [groupName, group(groupName)])),
    releases: Array.from({ length: 16 }, (_, index) => ({
      patch: `tool-${index}@2`,
      product: 'debian-12',
      approvedAt: FROM + index * 3.5 * DAY_MS,
      emergency: index === 5,
      deadline: FROM + (index * 3.5 + 14) * DAY_MS,
    })),
  };
}

export function bench(): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const rows: Record<string, string | number>[] = [];
  let before: { hosts: number; ms: number } | undefined;
  for (const { hosts, targetMs } of SIZES) {
    const fleet = { sites: 200, groups: ['canary', 'servers', 'servers', 'desks', 'desks'], product: 'debian-12' };
    const started = performance.now();
    const simulation = simulateFleet(policy(), generatedFleet(hosts, fleet), { from: FROM, days: DAYS, siteLimit: 500 });
    const ms = performance.now() - started;
    rows.push({
      hosts,
      days: DAYS,
      releases: simulation.patches.length,
      sites: simulation.sites.length,
      installs: simulation.installs,
      'late for a deadline': simulation.patches.reduce((sum, one) => sum + one.missedDeadline, 0),
      collisions: simulation.collisions.length + simulation.collisionsLeft,
      'most at once': Math.max(...simulation.sites.map(({ peak }) => peak.hosts)),
      ms: Math.round(ms),
      growth: before === undefined ? '' : Number((Math.log(ms / before.ms) / Math.log(hosts / before.hosts)).toFixed(2)),
      'resident MiB': Math.round(process.memoryUsage().rss / 1024 / 1024),
      'target ms': targetMs ?? '',
      met: targetMs === null ? '' : String(ms < targetMs),
    });
    before = { hosts, ms };
  }
  return Promise.resolve({ name, rows });
}
