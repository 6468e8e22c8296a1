// What a way back has to offer: types only. The ways are in files beside, the list in order of preference in index.ts.
import type { HostContext, InstallPlan } from '../packages/index.ts';
import type { WholeRoot } from './whole-root.ts';

export interface Assessment {
  readonly possible: boolean;
  /** For a person: what would be kept, or why it is not possible here. */
  readonly says: string;
  /** Room that taking it needs at once. A btrfs snapshot costs what changes afterwards. */
  readonly costBytes: number;
  /** Parts of the host that it does not bring back, in words: other mounts, data of services. */
  readonly notCovered: readonly string[];
  /** What it lacks, where giving up older ways back may help. */
  readonly lacks?: 'room';
}

/** One way to take a run back. Named by the run's id; every act may be repeated after a kill and comes to the same end. */
export interface WayBack {
  readonly kind: 'btrfs' | 'lvm' | 'zfs' | 'packages' | 'archive';
  assess(plans: readonly InstallPlan[], context: HostContext): Promise<Assessment>;
  /** A half-taken one of the same run is removed and taken anew; a whole one stays. */
  take(run: string, plans: readonly InstallPlan[], context: HostContext): Promise<{ id: string; says: string }>;
  /** Puts back in place what the run changed, and nothing else. */
  restore(id: string, plans: readonly InstallPlan[], context: HostContext): Promise<{ ok: boolean; says: string }>;
  /** Gives its room back. One that is gone already is no error. */
  discard(id: string, context: HostContext): Promise<void>;
  /** The whole ones that are kept, oldest first. `takenAt`: UTC to the second. */
  list(context: HostContext): Promise<{ id: string; takenAt: string }[]>;
  /** Room that one takes on the disk now, and giving it up would free; null when it cannot be told. */
  bytes?(id: string, context: HostContext): Promise<number | null>;
  /** The whole root at the next boot, where this kind can do that. */
  readonly wholeRoot?: WholeRoot;
}
