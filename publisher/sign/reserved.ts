// The highest version each role was ever signed with, kept beside the repository.
import { join } from 'node:path';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, count } from '#manifests/schema';
import { type PublisherHome, ROLES, type Role } from '../home.ts';

const fault = defineFaults('publish', {
  versions: { exit: EXIT.handsNeeded, next: 'Remove the file: the versions in the repository are then the highest known.' },
});

const reservedVersions = z.strictObject({
  schema: z.literal('patchferry/reserved-versions'),
  schemaVersion: z.literal(1),
  versions: z.partialRecord(z.enum(ROLES), count),
});
type Reserved = z.infer<typeof reservedVersions>['versions'];

const reservedFile = (home: PublisherHome) => join(home.folder, 'versions.json');

/**
 * The highest version each role was ever signed with. Kept beside the repository, so that a repository taken back from a
 * backup does not give out a version twice (hosts would refuse it as a mix-up).
 */
export function readReserved(home: PublisherHome): Reserved {
  const file = reservedFile(home);
  const bytes = readFileBounded(file, 64 * 1024);
  if (bytes === undefined) return {};
  try {
    return reservedVersions.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).versions;
  } catch (cause) {
    throw fault('versions', `${file} is damaged`, { where: file, cause });
  }
}

export function reserve(home: PublisherHome, before: Reserved, steps: ReadonlyArray<{ role: Role; version: number }>): void {
  const versions = {
    ...before,
    ...Object.fromEntries(steps.map(({ role, version }) => [role, Math.max(version, before[role] ?? 0)])),
  };
  const value = reservedVersions.parse({ schema: 'patchferry/reserved-versions', schemaVersion: 1, versions });
  writeFileAtomic(reservedFile(home), `${canonicalJson(value)}\n`);
}
