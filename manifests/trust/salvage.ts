// What can be kept of a state whose state file is lost: whatever still verifies from the pinned root, the newest of each kind.
import type { Generation } from './state.ts';
import { readMetadata } from './verify/metadata.ts';
import {
  checkSignaturesOf,
  nextRoot,
  type RootMetadata,
  type SnapshotMetadata,
  type TargetsMetadata,
  type TimestampMetadata,
} from './verify/workflow.ts';

export interface Salvaged {
  readonly roots: readonly RootMetadata[];
  readonly timestamp: TimestampMetadata | undefined;
  readonly snapshot: SnapshotMetadata | undefined;
  readonly generation: Generation | undefined;
}

/** From a folder without a usable state file: the chain of roots, and the newest set of files that verifies under it. */
export function salvage(pinned: RootMetadata, files: Iterable<[sha256: string, bytes: Uint8Array]>): Salvaged {
  const found = {
    root: new Map<number, Uint8Array[]>(),
    timestamp: [] as TimestampMetadata[],
    snapshot: [] as SnapshotMetadata[],
  };
  const targets = new Map<string, Uint8Array>();
  for (const [name, bytes] of files) {
    try {
      const kind = /"_type":"(root|timestamp|snapshot|targets)"/.exec(
        Buffer.from(bytes).toString('latin1').replaceAll(/\s/g, ''),
      )?.[1];
      if (kind === 'root') {
        const { version } = readMetadata('root', bytes, name).signed;
        found.root.set(version, [...(found.root.get(version) ?? []), bytes]);
      } else if (kind === 'timestamp') found.timestamp.push(readMetadata('timestamp', bytes, name));
      else if (kind === 'snapshot') found.snapshot.push(readMetadata('snapshot', bytes, name));
      else if (kind === 'targets') targets.set(name, bytes);
    } catch {
      // whole, and no metadata all the same
    }
  }
  const roots = [pinned];
  for (let newest: RootMetadata | undefined = pinned; newest !== undefined; ) {
    const current: RootMetadata = newest;
    newest = undefined;
    for (const bytes of found.root.get(current.signed.version + 1) ?? []) {
      if (holds(() => roots.push(nextRoot(current, bytes)))) newest = roots.at(-1);
      if (newest !== undefined) break;
    }
  }
  const root = roots.at(-1) as RootMetadata;
  const newest = <M extends TimestampMetadata | SnapshotMetadata>(list: M[], signed: (item: M) => boolean): M | undefined =>
    list.filter(signed).toSorted((a, b) => b.signed.version - a.signed.version)[0];
  const timestamp = newest(found.timestamp, (item) => holds(() => checkSignaturesOf({ root, timestamp: item })));
  const snapshot = newest(found.snapshot, (item) => holds(() => checkSignaturesOf({ root, snapshot: item })));
  return { roots, timestamp, snapshot, generation: salvageGeneration(root, timestamp, snapshot, targets) };
}

function salvageGeneration(
  root: RootMetadata,
  timestamp: TimestampMetadata | undefined,
  snapshot: SnapshotMetadata | undefined,
  files: ReadonlyMap<string, Uint8Array>,
): Generation | undefined {
  if (timestamp === undefined || snapshot?.signed.version !== timestamp.signed.snapshot.version) return undefined;
  try {
    const roles = new Map<string, TargetsMetadata>();
    for (const [name, named] of snapshot.signed.meta) {
      const bytes = named.sha256 === undefined ? undefined : files.get(named.sha256);
      if (bytes !== undefined) roles.set(name, readMetadata('targets', bytes, name));
    }
    const generation = { root, timestamp, snapshot, roles };
    checkSignaturesOf(generation);
    return generation;
  } catch {
    return undefined;
  }
}

function holds(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}
