// What a decision is made from, and what it says. How it is made is in evaluate.ts.
import type {
  Catalog,
  Group,
  Hook,
  Inventory,
  Patch,
  PatchFinding,
  PatchState,
  Purpose,
  ResolvedBaseline,
  ScanBody,
  SignedHalt,
  SignedRecall,
  SignedWaiver,
} from '#manifests/schema';
import type { Wake } from './catch-up.ts';
import type { OverlayInput, RefusedItem } from './overlay.ts';
import type { KeptWayBack, RollbackOrder } from './recall.ts';
import type { Hold, OwnerChoice } from './release.ts';
import type { Lane } from './schedule.ts';
import type { HostMemory } from './states.ts';
import type { Who } from './targeting.ts';
import type { ControlResult, WaiverNotice } from './waiver.ts';
import type { WindowState } from './window.ts';

export interface DecideInput {
  readonly catalogs: readonly Catalog[];
  readonly baselines: readonly ResolvedBaseline[];
  /** The group this host is in; null means that it decides nothing and installs nothing. */
  readonly group: Group | null;
  readonly inventory: Inventory;
  readonly memory: HostMemory;
  /** Milliseconds of trusted time. */
  readonly at: number;
  readonly freshness: { readonly softExpired: boolean; readonly hardExpired: boolean };
  /** Who this host is, by the roster: for rollouts, waivers, recalls, halts, sites. */
  readonly who?: Who | null;
  readonly waivers?: readonly SignedWaiver[];
  /** Outcomes of the checks of compensating controls on this host. */
  readonly controls?: readonly ControlResult[];
  readonly recalls?: readonly SignedRecall[];
  readonly halts?: readonly SignedHalt[];
  readonly site?: OverlayInput | null;
  readonly choice?: OwnerChoice | null;
  readonly wake?: Wake | null;
  /** Runs that can still be taken back. */
  readonly waysBack?: readonly KeptWayBack[];
}

/** One package to be installed. */
export interface InstallPackage {
  readonly name: string;
  readonly arch: string;
  readonly from: string | null;
  readonly to: string;
  readonly sha256: string;
  readonly size: number;
  readonly path: string;
  readonly repository: string;
  readonly patch: string;
  readonly format: Patch['format'];
}

/** A package that a baseline rejects with `block`, or a recall takes out: nothing may install it, nor anything that needs it. */
export interface BlockedPackage {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly patch: string;
  readonly baseline: string;
}

/** Why an approved patch is not in the set. */
export interface HeldPatch {
  readonly patch: string;
  readonly product: string;
  readonly holds: readonly Hold[];
}

export interface Evaluation {
  readonly at: string;
  readonly product: string | null;
  readonly group: string | null;
  /** What it was decided by. */
  readonly baselines: readonly Pick<
    ResolvedBaseline,
    'name' | 'product' | 'baselineSha256' | 'catalogSha256' | 'evaluatedAt'
  >[];
  /** Patches of which something is (or, for own software, belongs) on the host, sorted by patch id. */
  readonly findings: readonly PatchFinding[];
  /** Of every patch of the catalogs; NOT_APPLICABLE holds those too that are not among the findings. */
  readonly counts: Readonly<Record<PatchState, number>>;
  /** Findings that make the host non-compliant: at level critical, else security patches, else the others. */
  readonly nonCompliant: { readonly critical: number; readonly security: number; readonly other: number };
  readonly compliant: boolean;
  readonly next: ScanBody['next'];
  /** Patch ids to install, now or when the window opens, sorted; empty when nothing may be installed. */
  readonly install: readonly string[];
  /** Their packages, sorted by name and architecture. */
  readonly packages: readonly InstallPackage[];
  /** `setDigest` of the two above: how a set is remembered that was taken back. */
  readonly digest: string;
  /** What an installation may not bring in, not even as a dependency; checked by `blockedIn`. */
  readonly blocked: readonly BlockedPackage[];
  /** The window for this set; it can be one for emergencies alone, or one that was slept through. */
  readonly window: WindowState;
  /** By what right the set goes in; a run that has begun asks for its window by this (`runWindow`). */
  readonly lane: Lane;
  readonly windows: Readonly<Record<Purpose, WindowState>>;
  /** Whether a reboot may begin now: a window for it is open and no halt stops reboots. */
  readonly mayReboot: boolean;
  /** Whether payloads may be fetched now. */
  readonly mayDownload: boolean;
  /** How long the set is reckoned to need, with its reserve, milliseconds. */
  readonly estimateMs: number;
  /** Approved patches that are not in the set, and why. */
  readonly held: readonly HeldPatch[];
  /** Emergency patches of the set. */
  readonly urgent: readonly string[];
  /** Approved, lacking, and past their last moment. */
  readonly overdue: readonly string[];
  /** A run to take back, because a recall says so; comes before any installation. */
  readonly rollback: RollbackOrder | null;
  /** Why that is not done yet, and when it is; null when it is done now, or there is nothing to take back. */
  readonly rollbackWaits: { readonly says: string; readonly at: number | null } | null;
  readonly halts: readonly { readonly name: string; readonly stops: readonly Purpose[]; readonly says: string }[];
  /** Of recalls that only warn, and of rollbacks that cannot be made. */
  readonly warnings: readonly string[];
  readonly notices: readonly WaiverNotice[];
  /** Around every run; before a change anything but exit 0 stops it. */
  readonly hooks: readonly Hook[];
  readonly site: { readonly applied: readonly string[]; readonly refused: readonly RefusedItem[] };
  readonly notes: readonly string[];
}
