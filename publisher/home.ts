// The publisher's home folder: where everything lies, its settings (publisher.yaml), and the lock that lets one command
// change it at a time. What lies inside the files is the business of the station that owns them.
import * as fs from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { type Lock, takeLock } from '#manifests/platform/lock';
import { readSettings } from '#manifests/platform/settings';
import { line, list, name, product } from '#manifests/schema';

const fault = defineFaults('home', {
  missing: { exit: EXIT.usage, next: 'Make one with `publisher init --home FOLDER`, or name the right folder with --home.' },
});

const SOURCE_KINDS = ['apt', 'rpm', 'folder'] as const;

/** Every role that has keys of its own, in the order people meet them. */
export const ROLES = ['root', 'targets', 'snapshot', 'timestamp', 'policy', 'catalog', 'waivers', 'halts', 'roster'] as const;
export type Role = (typeof ROLES)[number];
/** Signs the overlay of one site, with the site's own key; delegated as long as a delegation of the policy says so. */
export type SiteRole = `site-${string}`;

/** Roles that `targets` delegates to, with what each may sign. `*` does not cross `/`. */
export const DELEGATED_PATHS = {
  policy: ['policy/baselines/*', 'policy/groups/*', 'policy/recalls/*', 'policy/sites/*'],
  catalog: ['catalogs/*', 'feeds/*'],
  waivers: ['waivers/*', 'answers/*'],
  halts: ['halts/*'],
  roster: ['roster/*'],
} as const satisfies Partial<Record<Role, readonly string[]>>;

const days = (fallback: number) => z.number().positive().max(3_650).default(fallback);

/** How long the signature of each role holds, in days: TUF's `expires`, the hard end. */
const expiresDays = z.strictObject({
  root: days(365),
  targets: days(365),
  snapshot: days(30),
  timestamp: days(14),
  policy: days(180),
  catalog: days(180),
  waivers: days(180),
  halts: days(180),
  roster: days(180),
});

export const PAYLOAD_CHOICES = ['approved', 'wanted', 'all', 'none'] as const;
export type PayloadChoice = (typeof PAYLOAD_CHOICES)[number];

/** One source as publisher.yaml holds it; what each kind needs is checked by `sources`. */
const sourceSettings = z.strictObject({
  name,
  kind: z.enum(SOURCE_KINDS),
  product,
  url: line(1_000).min(1),
  suite: line(100).optional(),
  components: list(line(100), 100).optional(),
  architectures: list(line(40), 100).optional(),
  keyring: line(1_000).optional(),
  unsignedMetadata: z.boolean().optional(),
});

export const publisherSettings = z
  .strictObject({
    /** Where vendor updates come from; `source add` writes here. */
    sources: list(sourceSettings, 1_000)
      .default([])
      .refine((all) => new Set(all.map((source) => source.name)).size === all.length, { error: 'two sources have one name' }),
    expiresDays: expiresDays.prefault({}),
    /** Hosts warn when the timestamp is older than this: TUF's own end is `expiresDays.timestamp`. */
    softExpiresDays: days(7),
    /** Feeds beside the catalogs: URL or file of CISA's catalogue of known exploited vulnerabilities. */
    feeds: z.strictObject({ kev: line(1_000).min(1).optional() }).prefault({}),
    /** Which payloads `publish` fetches: of approved and pending patches, of those only what hosts lack, of all, or none. */
    payloads: z.enum(PAYLOAD_CHOICES).default('approved'),
    /** Where the published tree is written; relative to the home folder. */
    repository: z.string().min(1).default('repository'),
    /** Where results arrive (a relay forwards into it); relative to the home folder. */
    inbox: z.string().min(1).default('inbox'),
    /** Days an activation code holds when `agent invite` is not told otherwise. */
    inviteDays: days(7),
  })
  .refine((settings) => settings.softExpiresDays < settings.expiresDays.timestamp, {
    path: ['softExpiresDays'],
    error: 'must be less than expiresDays.timestamp, or nobody would be warned in time',
  });
export type PublisherSettings = z.infer<typeof publisherSettings>;

/** Where things lie. All paths are absolute. */
export interface PublisherHomePaths {
  readonly folder: string;
  readonly settingsFile: string;
  /** `ROLE-N.key`, `collector.key`, `roles.json`; `retired/` holds keys that were rotated away. */
  readonly keysFolder: string;
  /** Authored policy, `*.yaml`. */
  readonly policyFolder: string;
  /** Halts and recalls that only block, `*.yaml`: written by `halt` and `recall`, signed by the halts role. */
  readonly haltsFolder: string;
  /** Waivers, `*.yaml`; `requests/` holds what hosts ask for, `approvals/` what approvers signed. */
  readonly waiversFolder: string;
  /** Overlays as sites signed them, `SITE.json`. */
  readonly overlaysFolder: string;
  /** What relays said under their own names, as they signed it, `ID.pfr`. */
  readonly recordsFolder: string;
  /** Change requests, a folder each. */
  readonly changesFolder: string;
  /** The published tree: metadata/, targets/, payloads/. */
  readonly repositoryFolder: string;
  /** Results in, laid out as a relay's inbox. */
  readonly inboxFolder: string;
  readonly catalogFolder: string;
  /** Own patches that `patch add` took: `own/PRODUCT/NAME-VERSION/`. */
  readonly ownFolder: string;
  /** Vendor files of each source: `sources/NAME/`. */
  readonly sourcesFolder: string;
  /** Feeds as fetched: `kev.json`. */
  readonly feedsFolder: string;
  /** SQLite: results as collected. */
  readonly storeFile: string;
  /** The roster document in plain JSON: every agent ever approved. */
  readonly rosterFile: string;
  /** Enrolments that wait for approval, `AGENT.json`. */
  readonly pendingFolder: string;
  /** Activation codes given out, 0600. */
  readonly activationsFile: string;
  readonly lockFile: string;
}

export interface PublisherHome extends PublisherHomePaths {
  readonly settings: PublisherSettings;
}

/** The layout of a home folder with these settings (the defaults when absent). */
export function homePaths(folder: string, settings?: PublisherSettings): PublisherHomePaths {
  const home = resolve(folder);
  return {
    folder: home,
    settingsFile: join(home, 'publisher.yaml'),
    keysFolder: join(home, 'keys'),
    policyFolder: join(home, 'policy'),
    haltsFolder: join(home, 'halts'),
    waiversFolder: join(home, 'waivers'),
    overlaysFolder: join(home, 'overlays'),
    recordsFolder: join(home, 'records'),
    changesFolder: join(home, 'changes'),
    repositoryFolder: resolve(home, settings?.repository ?? 'repository'),
    inboxFolder: resolve(home, settings?.inbox ?? 'inbox'),
    catalogFolder: join(home, 'catalog'),
    ownFolder: join(home, 'own'),
    sourcesFolder: join(home, 'sources'),
    feedsFolder: join(home, 'feeds'),
    storeFile: join(home, 'store.sqlite'),
    rosterFile: join(home, 'roster.json'),
    pendingFolder: join(home, 'pending'),
    activationsFile: join(home, 'activations.json'),
    lockFile: join(home, 'publisher.lock'),
  };
}

/** What a command line says about the home: `--home`, `--config`, and any flag that is named as a setting. */
export interface HomeRequest {
  readonly home?: string | undefined;
  readonly config?: string | undefined;
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** The folder a command works on: `--home`, else `PATCHFERRY_HOME`, else `~/.patchferry`. */
export function homeFolder(request: HomeRequest): string {
  const env = request.env ?? process.env;
  return resolve(request.home ?? (env['PATCHFERRY_HOME'] || join(homedir(), '.patchferry')));
}

/** Opens an existing home: layout and checked settings. @throws home.missing, settings.invalid */
export function openHome(request: HomeRequest): PublisherHome {
  const folder = homeFolder(request);
  const { settingsFile } = homePaths(folder);
  if (!fs.existsSync(settingsFile)) {
    throw fault('missing', `${folder} is no publisher home: it has no publisher.yaml`, { where: folder });
  }
  const settings = readSettings({
    schema: publisherSettings,
    files: [settingsFile, ...(request.config === undefined ? [] : [request.config])],
    env: request.env ?? process.env,
    envPrefix: 'PATCHFERRY_',
    flags: request.flags ?? {},
  });
  return { ...homePaths(folder, settings), settings };
}

/** Takes the home for one command that changes it. @throws lock.held, naming the command that has it */
export function lockHome(home: PublisherHomePaths, purpose: string): Lock {
  return takeLock(home.lockFile, purpose);
}
