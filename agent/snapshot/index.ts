// The ways back of this agent in order of preference, and the one way in of this station.
import { archive } from './archive.ts';
import { btrfsSnapshot } from './btrfs.ts';
import { packages } from './packages.ts';
import type { WayBack } from './wayback.ts';

export * from './wayback.ts';

/** The first whose `assess` says `possible` is taken; LVM and ZFS are not there yet. */
export const waysBack: readonly WayBack[] = [btrfsSnapshot, packages, archive];
