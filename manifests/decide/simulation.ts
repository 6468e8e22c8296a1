// A simulated fleet in words: what goes in, what comes out. How it is done is in simulate.ts.
import type { Group, Patch, SignedHalt } from '#manifests/schema';
import type { SiteRules } from './overlay.ts';
import type { OwnerChoice } from './release.ts';

export const SIMULATION_LIMITS = {
  days: 366,
  /** Length of one slot in which hosts at work are counted. */
  slotMs: 15 * 60_000,
  /** Collisions that are listed; of more, the number is told. */
  collisions: 500,
  /** Windows looked at for one group and zone. */
  occurrences: 5_000,
} as const;

export interface SimHost {
  readonly agent: string;
  readonly group: string;
  readonly site: string;
  /** IANA name of its own zone. */
  readonly zone: string;
  readonly product: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Lists of releases that are about it; the one named as its product, when left out. */
  readonly lists?: readonly string[];
  /** Patches it lacks; left out: every release of its lists. */
  readonly lacks?: ReadonlySet<string>;
  /** What its owner chose. */
  readonly choice?: OwnerChoice | null;
  /** Off or asleep from one moment to another, in milliseconds: it misses windows, and may make up for them once. */
  readonly asleep?: { readonly since: number; readonly wokeAt: number } | undefined;
}

/** A patch that is or will be approved. Times in milliseconds. */
export interface SimRelease {
  readonly patch: string;
  readonly product: string;
  readonly approvedAt: number;
  /** The list it is on: a baseline; its product, when left out. */
  readonly list?: string;
  readonly emergency?: boolean;
  readonly deadline?: number | undefined;
  /** For what halts and sites say of it; without, they know it by its id alone. */
  readonly about?: Patch | undefined;
}

export interface SimPolicy {
  readonly groups: ReadonlyMap<string, Group>;
  readonly releases: readonly SimRelease[];
  /** Rules of sites that have an overlay. */
  readonly sites?: ReadonlyMap<string, SiteRules>;
  /** Halts in force; without an end they hold for good. */
  readonly halts?: readonly SignedHalt[];
}

export interface SimOptions {
  /** Milliseconds. */
  readonly from: number;
  readonly days: number;
  /** Hosts of one site that may be at work at once; more is a collision. */
  readonly siteLimit?: number | undefined;
  /** Told of every host and release: when it starts, in milliseconds; null when not within the time. */
  readonly visit?: (host: SimHost, release: SimRelease, start: number | null) => void;
}

export interface SimPatch {
  readonly patch: string;
  readonly list: string;
  readonly approvedAt: number;
  readonly deadline: number | null;
  readonly hosts: number;
  readonly installed: number;
  /** Hosts that do not get it within the time simulated. */
  readonly left: number;
  readonly missedDeadline: number;
  readonly first: number | null;
  readonly last: number | null;
  /** When half and nine tenths of its hosts have it, to the slot; null when they do not get that far. */
  readonly half: number | null;
  readonly ninety: number | null;
  /** Hosts that start it on each day from `from` on. */
  readonly byDay: Uint32Array;
}

export interface SimSite {
  readonly site: string;
  /** Of the first host seen there. */
  readonly zone: string;
  readonly hosts: number;
  readonly installs: number;
  readonly missedDeadline: number;
  readonly peak: { readonly at: number; readonly hosts: number };
  /** Hosts at work in each slot from `from` on. */
  readonly running: Uint32Array;
  /** Patches that are installed on each day from `from` on. */
  readonly byDay: Uint32Array;
}

export interface SimCollision {
  readonly kind: 'site' | 'ring';
  readonly name: string;
  readonly from: number;
  readonly until: number;
  readonly hosts: number;
  readonly limit: number;
}

export interface Simulation {
  readonly from: number;
  readonly until: number;
  readonly slotMs: number;
  readonly hosts: number;
  readonly installs: number;
  /** Hosts whose group or windows nobody knows, or that have no window to come. */
  readonly neverInWindow: number;
  readonly patches: readonly SimPatch[];
  readonly sites: readonly SimSite[];
  readonly collisions: readonly SimCollision[];
  readonly collisionsLeft: number;
  /** Clock changes and other remarks on windows. */
  readonly notes: readonly string[];
}
