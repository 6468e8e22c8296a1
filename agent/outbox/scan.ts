// The scan result: what is on the host and what follows from it, told when it changed and at least once a day.
import type { Evaluation } from '#manifests/decide';
import { canonicalJson, encodePlain, type Inventory, type ScanBody, sha256Of } from '#manifests/schema';
import type { Journal, ResultStamp } from '../run/index.ts';
import { OUTBOX_LIMITS } from './faults.ts';

export interface ScanInput {
  readonly inventory: Inventory;
  readonly evaluation: Evaluation;
  readonly evidence: Omit<ScanBody['evidence'], 'inventorySha256'>;
  readonly stamp: ResultStamp;
  /** Milliseconds. */
  readonly now: number;
}

/** What of an inventory counts as a change: not when it was taken, how much room is left, or how busy the host is. */
function inventoryDigest(inventory: Inventory): string {
  const { takenAt: _takenAt, freeBytes: _freeBytes, facts: _facts, ...lasting } = inventory;
  return sha256Of(canonicalJson(lasting));
}

/** Appends a scan result unless the last one said the same less than a day ago. @returns whether it was appended */
export function makeScan(journal: Journal, { inventory, evaluation, evidence, stamp, now }: ScanInput): boolean {
  const lasting = inventoryDigest(inventory);
  const { findings, counts, next } = evaluation;
  const said = sha256Of(
    canonicalJson({
      lasting,
      findings,
      counts,
      action: next.action,
      evidence: { ...evidence, timestampVersion: 0, snapshotVersion: 0 },
    }),
  );
  const at = Number(journal.meta('scan.at') ?? '0');
  const due = now - at >= OUTBOX_LIMITS.scanEveryMs || now < at;
  if (journal.meta('scan.digest') === said && !due) return false;
  // The inventory goes along when it changed; else the one sent last stands for it, under its hash.
  const last = journal.meta('scan.inventory');
  const known = last === undefined ? undefined : (JSON.parse(last) as { lasting: string; sha256: string });
  const same = known?.lasting === lasting;
  const inventorySha256 = same ? known.sha256 : sha256Of(encodePlain('inventory', inventory));
  const body: ScanBody = {
    inventory: same ? null : inventory,
    evidence: { ...evidence, inventorySha256 },
    findings: [...findings],
    counts,
    next,
  };
  journal.atomically(() => {
    journal.results.append('scan', body, stamp);
    journal.setMeta('scan.digest', said);
    journal.setMeta('scan.at', String(now));
    journal.setMeta('scan.inventory', JSON.stringify({ lasting, sha256: inventorySha256 }));
  });
  return true;
}
