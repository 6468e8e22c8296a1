// Enrolments that wait for a person's answer: one file an agent in the pending folder, 0600, written whole or not at all.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, removeTemporaries, writeFileAtomic } from '#manifests/platform/files';
import { agentId, canonicalJson, count, document, line, moment, name, publicKeyHex, sha256 } from '#manifests/schema';
import { RESULT_LIMITS } from './limits.ts';
import type { Activation } from './open.ts';
import type { EnrolmentArrival } from './store.ts';

export const ACTIVATIONS = ['valid', 'expired', 'invalid', 'unknown'] as const satisfies readonly Activation[];

/** `pending/<agent>.json`: what a person needs to decide on an enrolment, and what the roster entry is made from. */
export const pendingEnrolment = document('pending-enrolment', 1, {
  agent: agentId,
  title: line(255),
  signKey: publicKeyHex,
  boxKey: publicKeyHex,
  activationId: line(64),
  /** `valid`: knows the secret of a code of ours; `expired`: did, too late; `invalid`: does not; `unknown`: no such code. */
  activation: z.enum(ACTIVATIONS),
  /** Hash and number of the enrolment envelope (its chain starts there) and the agent's own time. */
  envelope: sha256,
  sequence: count,
  trustedTime: moment,
  receivedAt: moment,
  host: z.strictObject({ hostname: line(255), product: name.nullable(), arch: line(40), kernel: line(200), packages: count }),
});
export type PendingEnrolment = z.infer<typeof pendingEnrolment>;

/** Pending enrolments by agent; a file that is not one is passed over. */
export function readPending(folder: string): Map<string, PendingEnrolment> {
  const found = new Map<string, PendingEnrolment>();
  for (const file of fs.existsSync(folder) ? fs.readdirSync(folder).toSorted() : []) {
    if (!/^[0-9a-f]{32}\.json$/.test(file)) continue;
    const bytes = readFileBounded(join(folder, file), RESULT_LIMITS.pendingBytes);
    const parsed = pendingEnrolment.safeParse(bytes === undefined ? undefined : safeJson(bytes));
    if (parsed.success && `${parsed.data.agent}.json` === file) found.set(parsed.data.agent, parsed.data);
  }
  return found;
}

/** Writes (or leaves) the file of one agent: the better proof wins, then the later one, so the order of arrival is nothing. */
export function writePending(
  folder: string,
  { result, hash, activation }: EnrolmentArrival & { activation: Activation },
  receivedAt: string,
  before: PendingEnrolment | undefined,
): PendingEnrolment | undefined {
  if (result.kind !== 'enrol') return undefined;
  const { title, signKey, boxKey, activationId, inventory } = result.body;
  const entry: PendingEnrolment = {
    schema: 'patchferry/pending-enrolment',
    schemaVersion: 1,
    agent: result.agent,
    title,
    signKey,
    boxKey,
    activationId,
    activation,
    envelope: hash,
    sequence: result.sequence,
    trustedTime: result.trustedTime,
    receivedAt,
    host: {
      hostname: inventory.hostname,
      product: inventory.product,
      arch: inventory.arch,
      kernel: inventory.kernels.running,
      packages: inventory.packages.length,
    },
  };
  if (before !== undefined && rank(before) >= rank(entry)) return before;
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  removeTemporaries(folder);
  writeFileAtomic(join(folder, `${entry.agent}.json`), `${canonicalJson(entry)}\n`, { mode: 0o600 });
  return entry;
}

function rank({ activation, trustedTime, envelope }: PendingEnrolment): string {
  return `${ACTIVATIONS.length - ACTIVATIONS.indexOf(activation)} ${trustedTime} ${envelope}`;
}

function safeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}
