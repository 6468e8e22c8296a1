// What the repository says now: read back through the same verification that hosts use (but for expiry), never just believed.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';
import { folderOrigin } from '#manifests/transfer';
import { openTrust, TRUST_LIMITS, type TrustedTarget } from '#manifests/trust';
import type { PublisherHomePaths } from '../home.ts';

const fault = defineFaults('published', {
  'no-root': { exit: EXIT.usage, next: 'Take root.json back from a backup of the home; hosts pin the same file.' },
});

/** One metadata file as far as the writer needs it; the trust client has verified it. */
interface PublishedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly version: number;
  /** Milliseconds. */
  readonly expires: number;
  readonly signed: Readonly<Record<string, unknown>>;
}

export interface Published {
  /** By role name: `root` (the newest), `targets`, `snapshot`, `timestamp` and the delegated ones. */
  readonly files: ReadonlyMap<string, PublishedFile>;
  readonly targets: ReadonlyMap<string, TrustedTarget>;
  /** Checked bytes of a published target. */
  read(path: string): Promise<Uint8Array>;
}

/** The root that hosts pin. @throws published.no-root */
export function pinnedRoot(home: PublisherHomePaths): Uint8Array {
  const file = join(home.folder, 'root.json');
  const bytes = readFileBounded(file, TRUST_LIMITS.rootBytes);
  if (bytes === undefined) throw fault('no-root', `there is no ${file}`, { where: file });
  return bytes;
}

/**
 * Verifies and reads the published state; before the first publish it holds the root alone.
 * @param scratch an empty folder of this process. @throws trust.* when the tree is not what this home's keys signed
 */
export async function readPublished(home: PublisherHomePaths, scratch: string, signal?: AbortSignal): Promise<Published> {
  const origin = folderOrigin(home.repositoryFolder);
  const root = pinnedRoot(home);
  if (!fs.existsSync(join(home.repositoryFolder, 'metadata', 'timestamp.json'))) {
    return {
      files: new Map([['root', readFile('root.json', root)]]),
      targets: new Map(),
      read: () => Promise.reject(new Error('nothing is published')),
    };
  }
  // At time zero nothing has expired: a publisher that was away must be able to sign anew what ran out meanwhile.
  const trust = openTrust({ folder: scratch, pinnedRoot: root, now: () => 0 });
  await trust.refresh(origin, signal);
  const files = new Map<string, PublishedFile>();
  for (const { name, bytes } of trust.metadataFiles()) {
    const file = readFile(name, bytes);
    const role = name.replace(/^\d+\./, '').replace(/\.json$/, '');
    if ((files.get(role)?.version ?? 0) < file.version) files.set(role, file);
  }
  return {
    files,
    targets: new Map(trust.targets().map((target) => [target.path, target])),
    read: (path) => trust.readTarget(path, origin, signal),
  };
}

function readFile(name: string, bytes: Uint8Array): PublishedFile {
  const { signed } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { signed: Record<string, unknown> };
  return { name, bytes, version: Number(signed['version']), expires: Date.parse(String(signed['expires'])), signed };
}
