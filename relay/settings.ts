// Settings of a relay: relay.yaml, PATCHFERRY_… and flags, checked; and where each thing then lies on disk.
import { join } from 'node:path';
import { z } from 'zod';
import type { CommandContext, OptionSpec } from '#manifests/platform/cli';
import { readSettings } from '#manifests/platform/settings';
import { line, list, name, reachablePlace, relayAddress } from '#manifests/schema';
import { lineSettings } from './line.ts';
import { PAYLOAD_CHOICES } from './mirror/index.ts';
import type { ServeRates } from './serve/index.ts';
import { LEASE_CHOICES } from './site/index.ts';

const DEFAULT_FILE = '/etc/patchferry/relay.yaml';

const place = line(2_000).min(1);

/** What may leave a closed site on a stick. */
export const RETURN_CHOICES = ['results', 'request', 'nothing'] as const;
/** How much a missing list says about a payload. */
export const REQUEST_LEVELS = ['names', 'hashes', 'salted'] as const;

export const relaySettings = z.strictObject({
  /** `host:port` to serve on; port 0 takes a free one. */
  listen: place.default('0.0.0.0:8480'),
  /** Addresses or folders of repositories, in order of preference. */
  upstream: list(reachablePlace, 20).default([]),
  /** Path of the root.json that the publisher handed over; needed until the first sync has succeeded. */
  upstreamRoot: place.optional(),
  /** Where results go: addresses of relays or inbox folders, in order of preference; none keeps them here. */
  inboxForward: list(reachablePlace, 20).default([]),
  stateDir: place.default('/var/lib/patchferry/relay'),
  cacheDir: place.default('/var/cache/patchferry/relay'),
  /** Minutes between two syncs. */
  syncEvery: z.int().min(1).max(10_080).default(15),
  payloads: z.enum(PAYLOAD_CHOICES).default('approved'),
  /** Products whose payloads are kept here; without, all. Signed documents always come whole. */
  products: list(name, 1_000).default([]),
  /** Days within which everything that is held is hashed anew while the relay runs; 0 never. */
  verifyEveryDays: z.int().min(0).max(3_650).default(30),
  /** MiB that payloads may take; without, as much as there is. */
  quotaMiB: z.int().min(1).max(100_000_000).optional(),
  /** Hours before a window opens from which on what its hosts will need is brought here, whatever `payloads` says; 0 never. */
  preStageHours: z.int().min(0).max(720).default(24),
  ...lineSettings,
  /** Name of this site, as the publisher knows it; needed for bundles. */
  site: name.optional(),
  /** Folder that `run` watches for bundles. */
  dropFolder: place.optional(),
  /** `stick`: the drop folder is where sticks are mounted, and MEDIUM.json tells a stick from an empty mount point. */
  dropMedium: z.enum(['folder', 'stick']).default('folder'),
  /** What leaves on a stick: sealed results with the missing list, the missing list alone, or nothing at all. */
  returns: z.enum(RETURN_CHOICES).default('results'),
  requestLevel: z.enum(REQUEST_LEVELS).default('names'),
  /** Serve https with these PEM files; clientCa demands a certificate of each client. */
  tls: z.strictObject({ cert: place, key: place, clientCa: place.optional() }).optional(),
  /** MiB that results and enrolments may take here; then the oldest detail is dropped, and said. */
  inboxMiB: z.int().min(1).max(100_000_000).optional(),
  /** Addresses of the other relays of this site: they are told when this one halts it. */
  siblings: list(relayAddress, 20).default([]),
  /** How fast clients are served: KiB a second of all and of one, requests a second of one; without, as fast as it goes. */
  serveRate: z
    .strictObject({
      totalKiB: z.int().min(1).max(100_000_000).optional(),
      clientKiB: z.int().min(1).max(100_000_000).optional(),
      clientRequests: z.int().min(1).max(1_000_000).optional(),
    })
    .default({}),
  /** Reboot leases: for agents of the roster, for other FleetLock clients too, or not at all. */
  rebootLeases: z.enum(LEASE_CHOICES).default('signed'),
  logLevel: z.enum(['silent', 'error', 'warn', 'info', 'debug']).default('info'),
});
export type RelaySettings = z.infer<typeof relaySettings>;

export const SETTING_OPTIONS: readonly OptionSpec[] = [
  { flags: '--config <file>', says: `settings file, or a folder of *.yaml fragments (default ${DEFAULT_FILE}, if there)` },
  { flags: '--state-dir <folder>', says: 'trusted metadata, spool and status' },
  { flags: '--cache-dir <folder>', says: 'the mirrored repository' },
  { flags: '--upstream <place>', says: 'address or folder of a repository; may be given several times', many: true },
  { flags: '--upstream-root <file>', says: 'the root.json that the publisher handed over' },
  { flags: '--payloads <choice>', says: 'which payloads to mirror', choices: PAYLOAD_CHOICES },
  { flags: '--site <name>', says: 'name of this site, as the publisher knows it' },
  { flags: '--log-level <level>', says: 'silent, error, warn, info or debug' },
];

/** Settings of this command line. @throws settings.* */
export function settingsOf(context: Pick<CommandContext, 'options'>): RelaySettings {
  const { config } = context.options;
  return readSettings({
    schema: relaySettings,
    files: [typeof config === 'string' ? config : { path: DEFAULT_FILE, optional: true }],
    env: process.env,
    envPrefix: 'PATCHFERRY_',
    flags: context.options,
  });
}

/** Bytes that payloads may take. */
export function quotaBytesOf({ quotaMiB }: Pick<RelaySettings, 'quotaMiB'>): number | undefined {
  return quotaMiB === undefined ? undefined : quotaMiB * 1024 * 1024;
}

/** Rates as the server takes them. */
export function serveRatesOf({ serveRate }: Pick<RelaySettings, 'serveRate'>): ServeRates {
  const { totalKiB, clientKiB, clientRequests } = serveRate;
  return {
    total: totalKiB === undefined ? undefined : totalKiB * 1024,
    ofOne: clientKiB === undefined ? undefined : clientKiB * 1024,
    requestsOfOne: clientRequests,
  };
}

/** Where a relay keeps what. */
export interface RelayFolders {
  readonly mirror: string;
  readonly trust: string;
  readonly inbox: string;
  readonly ledger: string;
  readonly lock: string;
  /** Held by `run` for as long as it runs. */
  readonly runLock: string;
  /** What happened last, for `status`. */
  readonly status: string;
  /** Reboot leases. */
  readonly leases: string;
  /** Who was heard when, and what went over the line. */
  readonly observed: string;
  /** What windows that open soon need, and how much of it is here. */
  readonly staging: string;
  /** What the fuse has counted, and the envelopes of it that the site's other relays ask for; what relays said under their own names. */
  readonly fuse: string;
  readonly fuseRuns: string;
  readonly records: string;
  /** The two folders that all of these lie in. */
  readonly state: string;
  readonly cache: string;
  /** Keys of the site, staging, numbers of bundles, what was asked for. */
  readonly courier: string;
}

export function foldersOf({ stateDir, cacheDir }: Pick<RelaySettings, 'stateDir' | 'cacheDir'>): RelayFolders {
  return {
    mirror: join(cacheDir, 'mirror'),
    trust: join(stateDir, 'trust'),
    inbox: join(stateDir, 'inbox'),
    ledger: join(stateDir, 'forwarded'),
    lock: join(stateDir, 'sync.lock'),
    runLock: join(stateDir, 'run.lock'),
    status: join(stateDir, 'status.json'),
    leases: join(stateDir, 'leases.json'),
    observed: join(stateDir, 'observed.json'),
    staging: join(stateDir, 'staging.json'),
    fuse: join(stateDir, 'fuse.json'),
    fuseRuns: join(stateDir, 'fuse'),
    records: join(stateDir, 'records'),
    state: stateDir,
    cache: cacheDir,
    courier: join(stateDir, 'courier'),
  };
}
