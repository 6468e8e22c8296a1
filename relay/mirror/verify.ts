// Looking again by hand: every signed file of the generations that are kept and every payload is hashed anew; what is wrong is
// taken out of view and marked for the next sync.
import { utcSeconds } from '#manifests/platform/clock';
import { checkHeld, documentsOf, type Finding, missingPayloads, titlesOf } from './check.ts';
import { updateChecked, withFindings } from './checked.ts';
import { fault } from './faults.ts';
import { currentGeneration, mirrorLayout } from './generations.ts';
import { heldFiles } from './held.ts';

export interface VerifyReport {
  readonly generation: number;
  /** Signed files, of older generations too; payloads; bytes of all. */
  readonly files: number;
  readonly payloads: number;
  readonly bytes: number;
  /** Files that are damaged or gone, by path in the repository. */
  readonly bad: ReadonlyArray<{ path: string; says: string }>;
}

/**
 * Hashes everything that is held, as fast as it goes. Damaged files are removed and the next sync fetches them again; it may run
 * beside a sync and a relay. @throws mirror.empty when nothing was mirrored yet
 */
export async function verifyMirror(options: {
  mirror: string;
  trust: string;
  now: () => number;
  onProgress?: (doneBytes: number) => void;
  signal?: AbortSignal;
}): Promise<VerifyReport> {
  const { now, signal } = options;
  const layout = mirrorLayout(options.mirror);
  const generation = currentGeneration(layout);
  if (generation === undefined) throw fault('empty', 'nothing has been mirrored yet', { where: layout.root });
  const startedAt = utcSeconds(now());
  const counts = { files: 0, payloads: 0, bytes: 0 };
  const findings: Finding[] = [];
  const files = heldFiles(layout, generation, { folder: options.trust, now });
  const onPiece = (bytes: number) => options.onProgress?.((counts.bytes += bytes));
  for await (const { held, finding } of checkHeld({ layout, files, onPiece, signal })) {
    counts[held.kind === 'payload' ? 'payloads' : 'files'] += 1;
    if (finding !== undefined) findings.push(finding);
  }
  const documents = documentsOf(layout, generation);
  const found = new Set(findings.map(({ path }) => path));
  findings.push(...missingPayloads(layout, generation, documents).filter(({ path }) => !found.has(path)));
  const endedAt = utcSeconds(now());
  updateChecked(layout, (before) => ({
    ...withFindings(before, findings, titlesOf(documents), now()),
    last: { startedAt, endedAt, files: counts.files + counts.payloads, bytes: counts.bytes, found: findings.length },
  }));
  return { generation: generation.number, ...counts, bad: findings.map(({ path, says }) => ({ path, says })) };
}
