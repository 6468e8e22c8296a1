// What a run works with: the hands (package systems, ways back, inventory), the policy it obeys, and the clock. All passed in,
// so that tests put a fake host under the real machine.
import type { Evaluation, HostMemory, WindowState } from '#manifests/decide';
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import type { Catalog, ContentRef, FixName, Group, HealthCheck, Hook, Inventory } from '#manifests/schema';
import type { Machine } from '../inventory/index.ts';
import type { FixOutcome, HostContext, PackageSystem, SystemFormat } from '../packages/index.ts';
import type { HostCheck, HostLook, UpdaterUnit } from '../prechecks/index.ts';
import type { WayBack } from '../snapshot/index.ts';
import type { FailPoint } from './failpoints.ts';
import type { Journal } from './journal.ts';
import type { RunData } from './runs.ts';

/** A program that runs code which is replaced on disk. */
export interface StaleUse {
  /** The systemd service, `init` for PID 1, null for logins and what no service owns. */
  readonly unit: string | null;
  readonly program: string;
  readonly file: string;
}

/** How one hook ended. */
export interface HookCame {
  readonly how: 'done' | 'later' | 'failed';
  readonly says: string;
}

/** What touches the host. */
export interface Hands {
  /** Which machine this is, apart from what is on its disk. */
  machine(): Machine;
  readonly systems: Readonly<Record<SystemFormat, PackageSystem>>;
  /** In order of preference. */
  readonly ways: readonly WayBack[];
  inventory(): Promise<Inventory>;
  digest(inventory: Inventory): string;
  /** Asks the host to reboot and returns once it was asked. */
  reboot(): Promise<void>;
  /** Looks at the host before an installation; changes nothing. */
  checkHost(look: HostLook, signal: AbortSignal): Promise<HostCheck[]>;
  /** Makes one fix that is the host's own and no package system's; undefined when it has none of this name. */
  fixHost(name: FixName): Promise<FixOutcome | undefined>;
  /** The distribution's own updaters. */
  readonly updaters: {
    find(): Promise<UpdaterUnit[]>;
    switchOff(unit: string): Promise<string | undefined>;
    switchBack(before: UpdaterUnit): Promise<string | undefined>;
  };
  /** Runs one health check of the group. */
  checkHealth(check: HealthCheck, signal: AbortSignal): Promise<{ healthy: boolean; says: string }>;
  /** What says that the host needs a reboot, a line each; empty when nothing does. */
  rebootEvidence(inventory: Inventory): string[];
  /** What runs replaced code, and may be restarted. */
  staleUses(): StaleUse[];
  mayRestart(unit: string | null): unit is string;
  restartUnit(unit: string): Promise<{ ok: boolean; says: string }>;
  /** Runs one hook with these variables added to a small environment. */
  runHook(hook: Hook, environment: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HookCame>;
  /** Who works on the host at a terminal. */
  loggedIn(): Promise<string[]>;
  /** Tells everybody who is logged in. */
  notify(text: string): Promise<void>;
  /** Ends early when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export interface RunWorld {
  readonly journal: Journal;
  readonly hands: Hands;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborts when the agent is to stop. A run stops between two states, never inside a change. */
  readonly signal: AbortSignal;
  readonly failPoint: FailPoint;
  readonly allowReboot: boolean;
  /** Milliseconds of trusted time. */
  trustedNow(): number;
  /** Runs whose ways back may not be given up now, not even for room. */
  protectedWays(): ReadonlySet<string>;
  /** How the host's clock stands to signed times. */
  clockState(): 'ok' | 'behind' | 'suspect';
  /** Whether this host's line costs money by volume now, and who says so. */
  line(): Promise<{ metered: boolean; says: string }>;
  evaluate(inventory: Inventory, memory: HostMemory): Evaluation;
  /** The window of a run that was begun in this lane (an ordinary one unless told), as it is now. */
  windowOf(run: Pick<RunData, 'group' | 'lane'>, hostZone: string, purpose: 'install' | 'reboot'): WindowState;
  /** Catalog documents by the hash of their bytes, from the verified copies on this host. */
  catalogs(documents: readonly string[]): Catalog[];
  context(run: string, catalogs: readonly Catalog[], signal: AbortSignal): HostContext;
  fetchPayloads(wanted: readonly ContentRef[], signal: AbortSignal): Promise<void>;
  readonly say: (line: string) => void;
  /** Asks the site for leave to reboot: why not now, or undefined when it may. Absent where nothing is asked. */
  rebootLease?(group: Group | null): Promise<string | undefined>;
}
