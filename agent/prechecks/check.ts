// What a look at the host before an installation is given, and what it says: types only.
import type { CheckScript, Inventory, Prechecks } from '#manifests/schema';
import type { Precheck } from '../packages/index.ts';

/** One finding about the host. `blocks`: the run waits while it is not well; else it is only told. */
export interface HostCheck extends Precheck {
  readonly blocks: boolean;
}

export interface HostLook {
  readonly policy: Prechecks;
  readonly inventory: Pick<Inventory, 'kernels' | 'product'>;
  /** How the host's clock stands to signed times (trust). */
  readonly clock: 'ok' | 'behind' | 'suspect';
  /** Whether the line costs money by volume, and who says so. */
  readonly line: { readonly metered: boolean; readonly says: string };
  /** What says that a reboot is due. */
  readonly rebootEvidence: readonly string[];
  /** The run's own folder, on the file system of the agent's state. */
  readonly workFolder: string;
  /** Variables that check scripts see. */
  readonly environment: Readonly<Record<string, string>>;
  /** `/` but in tests. */
  readonly root?: string | undefined;
}

export type { CheckScript };
