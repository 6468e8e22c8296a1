// The ways back of this agent in order of preference, and the one way in of this station.
import { archive } from './archive.ts';
import { btrfsSnapshot } from './btrfs.ts';
import { lvmSnapshot } from './lvm.ts';
import { packages } from './packages.ts';
import type { WayBack } from './wayback.ts';
import { zfsSnapshot } from './zfs.ts';

export * from './wayback.ts';
export type { RootId, RootPair, WholeRoot } from './whole-root.ts';

/** The first whose `assess` says `possible` is taken. */
export const waysBack: readonly WayBack[] = [btrfsSnapshot, lvmSnapshot, zfsSnapshot, packages, archive];
