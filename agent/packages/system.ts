// What a package system has to offer, and what it is told: types only. The systems are in folders beside, the list in index.ts.

import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import type {
  Autoremoval,
  Catalog,
  ConffilePolicy,
  ConffileRecord,
  ContentRef,
  FixName,
  PackageChange,
  Placement,
} from '#manifests/schema';

/** The package systems that exist, as `format` of a patch names them. */
export const SYSTEM_FORMATS = ['deb', 'rpm', 'archive', 'msi', 'exe', 'msu', 'pkg'] as const;
export type SystemFormat = (typeof SYSTEM_FORMATS)[number];

/** One package that the decision wants on the host in this version. */
export interface InstallItem {
  readonly name: string;
  readonly arch: string;
  /** Installed version; null when it is not there. */
  readonly from: string | null;
  readonly to: string;
  readonly sha256: string;
  /** Bytes of the payload. */
  readonly size: number;
  /** Where the vendor's repository has it, relative to the repository's root. */
  readonly path: string;
  /** Name of the entry of the catalog's `repositories`. */
  readonly repository: string;
  readonly patch: string;
  readonly format: SystemFormat;
}

/** What of a service manager a component needs. */
export interface ServiceControl {
  isActive(unit: string): Promise<boolean>;
  /** @returns why it does not stop; undefined when it has */
  stop(unit: string): Promise<string | undefined>;
  /** @returns why it does not run; undefined when it runs and stays */
  start(unit: string): Promise<string | undefined>;
}

/** The host that is worked on, and what the work may use. */
export interface HostContext {
  /** `/`, the host itself. Another folder is for tests: commands then run by `chroot` in it. All other paths must lie below it. */
  readonly root: string;
  /** Private to this run, on the file system of the agent's state. */
  readonly workFolder: string;
  /** Where the payload of this hash lies (it may not be there yet while planning). */
  payloadPath(sha256: string): string;
  readonly catalogs: readonly Catalog[];
  readonly log: Log;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Where `archive` components live; `/opt/patchferry/components` unless set. */
  readonly archiveRoot: string;
  /** Keyring of the host for a vendor repository, by the repository's name; Debian's own where none is named. */
  readonly keyrings?: Readonly<Record<string, string>> | undefined;
  /** Where ways back that are files are kept, `/var/lib/patchferry/way-back` unless set. */
  readonly wayBackFolder?: string | undefined;
  /** What is the agent's own on this host and never goes back in time with a whole root. */
  readonly ownPaths?: readonly string[] | undefined;
  /** How long another package manager's lock is waited for; 120,000 unless set. */
  readonly lockWaitMs?: number | undefined;
  /** Services of the host, stopped and started around a component; systemd's unless set. */
  readonly services?: ServiceControl | undefined;
  /** What becomes of settings files that were changed on the host and in their package; `keep` unless set. */
  readonly conffiles?: ConffilePolicy | undefined;
  onProgress?(says: string): void;
}

export interface PlanPolicy {
  readonly newDependencies: 'allow' | 'refuse';
  readonly removals: 'allow' | 'refuse';
  /** Packages that nothing needs any more; `never` unless set. */
  readonly autoremove?: Autoremoval | undefined;
}

export interface NamedVersion {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
}

/** A payload, as a catalog or the vendor's own index names it. */
export interface PlannedPayload {
  readonly sha256: string;
  readonly size: number;
  readonly path: string;
}

/** A settings file of a package before an installation. Hashes are those of the package manager (MD5), null: not there. */
export interface SettingsFile {
  readonly path: string;
  /** `name:arch` */
  readonly package: string;
  readonly shipped: string;
  readonly found: string | null;
  readonly by: 'dpkg' | 'ucf';
}

/** What came of something that policy lets a host put right by itself. */
export interface FixOutcome {
  readonly outcome: 'done' | 'nothing' | 'failed';
  readonly says: string;
}

/** What an installation would do; a plain value, so that it can be journaled and read again after a restart. */
export interface InstallPlan {
  readonly format: SystemFormat;
  /** The items that will be installed (kept back ones are not among them). */
  readonly items: readonly InstallItem[];
  /** Packages that come in because an item needs them. */
  readonly newPackages: readonly (NamedVersion & PlannedPayload)[];
  readonly removals: readonly NamedVersion[];
  /** Of the changes, packages that go at the end because nothing needs them any more. */
  readonly unused?: readonly NamedVersion[] | undefined;
  /** Settings files of the packages that change, as they were when the plan was made. */
  readonly settings?: readonly SettingsFile[] | undefined;
  /** How components are put in place, by patch. */
  readonly placements?: Readonly<Record<string, Placement>> | undefined;
  /** Items that stay as they are, each with the reason in words for a person (held, pinned, needs what is not there). */
  readonly keptBack: readonly { readonly name: string; readonly arch: string; readonly says: string }[];
  /** Every payload that has to be on the host before `install`, dependencies included. */
  readonly payloads: readonly PlannedPayload[];
  readonly changes: readonly PackageChange[];
  /** Why nothing of this may be installed; null when it may. */
  readonly refused: { readonly code: string; readonly says: string } | null;
  /** Bytes that the installed system grows by, plus what is needed while it is unpacked. */
  readonly diskBytes: number;
  /** Folders of the host that are written to. */
  readonly touches: readonly string[];
}

/** One check before an installation. `retryLater`: it may pass by itself (a lock), no one has to be called. */
export interface Precheck {
  readonly name: string;
  readonly ok: boolean;
  readonly says: string;
  readonly retryLater: boolean;
}

export interface InstallOutcome {
  readonly ok: boolean;
  readonly says: string;
  /** The end of what the package manager printed. */
  readonly output: string;
  /** Packages that it left unfinished: where to look first for the patch at fault. */
  readonly broken?: readonly string[] | undefined;
}

/** One way of installing software on a host. Every act may be repeated after a kill and comes to the same end. */
export interface PackageSystem {
  readonly format: SystemFormat;
  /** Whether this host has it. */
  available(context: HostContext): Promise<boolean>;
  /** The vendor's index files that `plan` needs among the payloads; those of other architectures are left out when one is named. */
  indexPayloads(catalog: Catalog, arch?: string): ContentRef[];
  /** What would be done. Changes nothing outside `workFolder`. */
  plan(items: readonly InstallItem[], policy: PlanPolicy, context: HostContext): Promise<InstallPlan>;
  /** Whether it can be done now: room on every mount, health of the package database, locks. */
  precheck(plan: InstallPlan, policy: { readonly freeBytes: number }, context: HostContext): Promise<Precheck[]>;
  /**
   * Does it, or the part of it that these patches need. The payloads must be there. Run again after a kill it finishes.
   * What `plan.changes` does not name is never changed.
   */
  install(plan: InstallPlan, context: HostContext, only?: ReadonlySet<string>): Promise<InstallOutcome>;
  /** After the last batch: what the plan says goes because it is unused. Trouble here is told and leaves the rest as it is. */
  finish?(plan: InstallPlan, context: HostContext): Promise<InstallOutcome>;
  /** What became of the settings files that the plan met. */
  settingsAfter?(plan: InstallPlan, context: HostContext): ConffileRecord[];
  /** What this system can put right when a check fails; the rest of the list is the host's (prechecks/). */
  readonly fixes?: Partial<Readonly<Record<FixName, (context: HostContext) => Promise<FixOutcome>>>> | undefined;
  /** Puts an interrupted package database right without any network, where that is possible. */
  repair(context: HostContext): Promise<{ ok: boolean; says: string }>;
  /** What is wrong in the package database, a line each; empty is healthy. */
  audit(context: HostContext): Promise<string[]>;
}
