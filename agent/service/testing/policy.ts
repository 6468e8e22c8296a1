// For tests: approvers with keys of their own, and documents of policy as they would be signed.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { waiverBytes } from '#manifests/decide';
import { utcSeconds } from '#manifests/platform/clock';
import type { MaintenanceWindow, SignedRecall, SignedWaiver } from '#manifests/schema';

const DAY = 86_400_000;

export interface Approver {
  readonly name: string;
  readonly publicKey: string;
  readonly secret: KeyObject;
}

export function approver(name: string): Approver {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(12).toString('hex');
  return { name, publicKey: raw, secret: privateKey };
}

/** A waiver of the patch tool@2.0.0 for a month, signed by these approvers. */
export function waiverBy(approvers: readonly Approver[], more: Partial<SignedWaiver> = {}): SignedWaiver {
  const plain: SignedWaiver = {
    schema: 'patchferry/waiver',
    schemaVersion: 1,
    name: 'till',
    scope: {},
    patches: ['tool@2.0.0'],
    cves: [],
    from: utcSeconds(Date.now() - DAY),
    until: utcSeconds(Date.now() + 30 * DAY),
    response: 'mitigate',
    reason: 'the till breaks with it',
    control: null,
    requestedBy: null,
    approvals: [],
    ...more,
  };
  return {
    ...plain,
    approvals: approvers.map(({ name, publicKey, secret }) => ({
      approver: name,
      publicKey,
      at: utcSeconds(Date.now()),
      signature: sign(null, waiverBytes(plain), secret).toString('hex'),
    })),
  };
}

/** A recall of tool@2.0.0 that takes runs back. */
export const ROLL_BACK: SignedRecall = {
  schema: 'patchferry/recall',
  schemaVersion: 1,
  name: 'tool-two',
  signedAt: utcSeconds(Date.now() - 1_000),
  patches: ['tool@2.0.0'],
  action: 'rollback',
  scope: {},
  reason: 'it eats data',
  replaceWith: null,
  withinDays: null,
};

/** A window of one day that is not open now, and for days will not be. */
export function farWindow(name = 'far'): MaintenanceWindow {
  const from = Date.now() + 3 * DAY;
  return {
    name,
    days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
    start: '02:00',
    durationMinutes: 120,
    cutoffMinutes: 0,
    zone: 'UTC',
    validFrom: utcSeconds(from),
    validUntil: null,
  };
}
