// Figures for Prometheus in its text format (version 0.0.4). The names are public: see the table in the README.
import type { Traffic } from '../serve/index.ts';
import { evidenceAge } from './concerns.ts';
import type { SiteFacts } from './facts.ts';
import { CONCERNS } from './limits.ts';

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Every metric with what it means; the README lists the same. */
export const METRICS = {
  patchferry_relay_start_time_seconds: ['gauge', 'When this relay was started, seconds since 1970.'],
  patchferry_relay_generation: ['gauge', 'Number of the generation that is served; 0 before the first sync.'],
  patchferry_relay_timestamp_version: ['gauge', 'Version of the timestamp metadata that is served.'],
  patchferry_relay_expires_timestamp_seconds: ['gauge', 'When the metadata that is served expires for good.'],
  patchferry_relay_last_good_sync_timestamp_seconds: ['gauge', 'End of the last sync that succeeded.'],
  patchferry_relay_sync_failures: ['gauge', 'Syncs that failed since the last one that succeeded.'],
  patchferry_relay_payloads: ['gauge', 'Payloads that the served documents name, by where they are.'],
  patchferry_relay_payload_bytes: ['gauge', 'Bytes of the payloads that are here.'],
  patchferry_relay_verified_timestamp_seconds: [
    'gauge',
    'End of the last pass in which everything that is held was hashed anew.',
  ],
  patchferry_relay_verify_progress: ['gauge', 'Share of such a pass that is under way, 0 to 1.'],
  patchferry_relay_rotten_files: ['gauge', 'Files that were rotten and are not back, by whether an upstream has them.'],
  patchferry_relay_rot_found_total: ['counter', 'Files found rotten.'],
  patchferry_relay_rot_repaired_total: ['counter', 'Files that were rotten and came back from an upstream.'],
  patchferry_relay_disk_free_bytes: ['gauge', 'Free bytes of the file system of a folder.'],
  patchferry_relay_disk_size_bytes: ['gauge', 'Size of the file system of a folder.'],
  patchferry_relay_spool_items: ['gauge', 'Items in the inbox by kind.'],
  patchferry_relay_spool_bytes: ['gauge', 'Bytes of the items in the inbox.'],
  patchferry_relay_spool_oldest_timestamp_seconds: ['gauge', 'Since when the oldest item waits to be passed on.'],
  patchferry_relay_hosts: ['gauge', 'Approved hosts of the roster by what was heard of them here.'],
  patchferry_relay_evidence_age_seconds_max: [
    'gauge',
    'Age of the oldest last result of an approved host that was ever heard here.',
  ],
  patchferry_relay_roster_signed_timestamp_seconds: ['gauge', 'When the roster was signed.'],
  patchferry_relay_leases: ['gauge', 'Reboot leases that are held, by group.'],
  patchferry_relay_halts: ['gauge', 'Halts and blocking recalls that the publisher has signed.'],
  patchferry_relay_site_halts: ['gauge', 'Halts in force that relays of a site signed, by site and by what signed them.'],
  patchferry_relay_fuse_failures: ['gauge', 'Hosts that failed within the time a fuse looks at, by its halt.'],
  patchferry_relay_dropped_results: [
    'gauge',
    'Results that relays had to drop for want of room, as far as records are kept here.',
  ],
  patchferry_relay_staged_payloads: ['gauge', 'Payloads that windows which open soon need, by where they are.'],
  patchferry_relay_lease_answers_total: ['counter', 'Answers to lease requests by kind.'],
  patchferry_relay_envelopes_total: ['counter', 'Results and enrolments that came, by kind and answer.'],
  patchferry_relay_passed_on_total: ['counter', 'Results and enrolments brought to the next hop.'],
  patchferry_relay_upstream_fetched_bytes_total: ['counter', 'Bytes fetched from upstream.'],
  patchferry_relay_http_requests_total: ['counter', 'Requests that came.'],
  patchferry_relay_http_sent_bytes_total: ['counter', 'Bytes sent to clients.'],
  patchferry_relay_http_received_bytes_total: ['counter', 'Bytes received from clients.'],
  patchferry_relay_http_connections: ['gauge', 'Connections now.'],
} as const satisfies Record<string, readonly ['gauge' | 'counter', string]>;

export interface Counters {
  /** Milliseconds. */
  readonly startedAt: number;
  readonly traffic: Traffic;
  readonly leaseAnswers: ReadonlyMap<string, number>;
  /** By `results 201`. */
  readonly envelopes: ReadonlyMap<string, number>;
  readonly passedOn: number;
  readonly fetchedBytes: number;
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

const seconds = (moment: string | null | undefined): Sample[] =>
  moment === null || moment === undefined || moment === '' ? [] : [[{}, Date.parse(moment) / 1_000]];

/** The whole answer. A figure that is not known has no sample. */
export function renderMetrics(facts: SiteFacts, counters: Counters): string {
  const at = Date.parse(facts.at);
  const approved = facts.hosts.filter(({ standing }) => standing === 'approved');
  const ages = approved.map((host) => evidenceAge(host, at));
  const silent = ages.filter((age) => age !== null && age > CONCERNS.silentHours * 3_600).length;
  const never = ages.filter((age) => age === null).length;
  const known = ages.filter((age) => age !== null);
  const { generation, waiting } = facts;
  const byGroup = Map.groupBy(facts.leases ?? [], ({ group }) => group);
  const one = (value: number): Sample[] => [[{}, value]];
  const samples: Record<keyof typeof METRICS, Sample[]> = {
    patchferry_relay_start_time_seconds: one(counters.startedAt / 1_000),
    patchferry_relay_generation: one(generation?.number ?? 0),
    patchferry_relay_timestamp_version: generation === null ? [] : one(generation.timestamp),
    patchferry_relay_expires_timestamp_seconds: seconds(facts.freshness?.expires),
    patchferry_relay_last_good_sync_timestamp_seconds: seconds(facts.status.lastGoodSync),
    patchferry_relay_sync_failures: one(facts.status.failuresInARow),
    patchferry_relay_payloads:
      generation === null
        ? []
        : [
            [{ state: 'here' }, generation.payloadCount],
            [{ state: 'absent' }, generation.absent],
          ],
    patchferry_relay_payload_bytes: generation === null ? [] : one(generation.payloadBytes),
    patchferry_relay_verified_timestamp_seconds: seconds(facts.checked.last?.endedAt),
    patchferry_relay_verify_progress: facts.checked.progress === null ? [] : one(facts.checked.progress),
    patchferry_relay_rotten_files: [
      [{ state: 'coming' }, facts.checked.rotten.filter(({ lost }) => !lost).length],
      [{ state: 'lost' }, facts.checked.rotten.filter(({ lost }) => lost).length],
    ],
    patchferry_relay_rot_found_total: one(facts.checked.found),
    patchferry_relay_rot_repaired_total: one(facts.checked.repaired),
    patchferry_relay_disk_free_bytes: facts.disks.map(({ name, freeBytes }) => [{ folder: name }, freeBytes]),
    patchferry_relay_disk_size_bytes: facts.disks.map(({ name, sizeBytes }) => [{ folder: name }, sizeBytes]),
    patchferry_relay_spool_items: (['results', 'enrolments', 'refused'] as const).map((kind) => [{ kind }, waiting[kind]]),
    patchferry_relay_spool_bytes: one(waiting.bytes),
    patchferry_relay_spool_oldest_timestamp_seconds: seconds(facts.waitingSince),
    patchferry_relay_hosts: [
      [{ heard: 'lately' }, approved.length - silent - never],
      [{ heard: 'long-ago' }, silent],
      [{ heard: 'never' }, never],
    ],
    patchferry_relay_evidence_age_seconds_max:
      known.length === 0 ? [] : one(known.reduce((most, age) => Math.max(most, age), 0)),
    patchferry_relay_roster_signed_timestamp_seconds: seconds(facts.rosterSignedAt),
    patchferry_relay_leases: [...byGroup].map(([group, leases]) => [{ group }, leases.length]),
    patchferry_relay_halts: one(facts.stops.length),
    patchferry_relay_site_halts: [...Map.groupBy(facts.siteHalts, ({ site, by }) => `${by} ${site}`)].map(([name, halts]) => [
      { site: name.slice(5), by: name.slice(0, 4) },
      halts.filter(({ state }) => state === 'in-force').length,
    ]),
    patchferry_relay_fuse_failures: facts.fuses.map(({ name, state }) => [{ fuse: name }, state.failures]),
    patchferry_relay_dropped_results: one(facts.gaps.reduce((sum, { results }) => sum + results, 0)),
    patchferry_relay_staged_payloads: stagedSamples(facts),
    patchferry_relay_lease_answers_total: [...counters.leaseAnswers].map(([kind, count]) => [{ kind }, count]),
    patchferry_relay_envelopes_total: [...counters.envelopes].map(([name, count]) => {
      const [kind = '', status = ''] = name.split(' ');
      return [{ kind, status }, count];
    }),
    patchferry_relay_passed_on_total: one(counters.passedOn),
    patchferry_relay_upstream_fetched_bytes_total: one(counters.fetchedBytes),
    patchferry_relay_http_requests_total: one(counters.traffic.requests),
    patchferry_relay_http_sent_bytes_total: one(counters.traffic.sentBytes),
    patchferry_relay_http_received_bytes_total: one(counters.traffic.receivedBytes),
    patchferry_relay_http_connections: one(counters.traffic.connections),
  };
  const lines = (Object.keys(METRICS) as (keyof typeof METRICS)[]).flatMap((name) => {
    const [type, help] = METRICS[name];
    return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples[name].map((sample) => lineOf(name, sample))];
  });
  return `${lines.join('\n')}\n`;
}

function stagedSamples({ staging }: SiteFacts): Sample[] {
  if (staging === null) return [];
  const sum = (name: 'payloads' | 'here') => staging.openings.reduce((total, opening) => total + opening[name], 0);
  const [wanted, here] = [sum('payloads'), sum('here')];
  return [
    [{ state: 'here' }, here],
    [{ state: 'lacking' }, wanted - here],
  ];
}

function lineOf(name: string, [labels, value]: Sample): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${Number.isFinite(value) ? value : 'NaN'}`;
}

/** Label values of the text format: backslash, quote and line feed are escaped. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
