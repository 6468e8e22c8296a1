// Activation codes: what a host owner types to enrol a host. An id that travels, a secret that proves, an end, a number of uses.
import { randomBytes as systemRandom } from 'node:crypto';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, count, document, labels, line, list, moment, name } from '#manifests/schema';

const fault = defineFaults('activation', {
  damaged: {
    exit: EXIT.handsNeeded,
    next: 'Take activations.json back from a backup, or remove it: codes given out before then no longer prove anything.',
  },
  full: { exit: EXIT.usage, next: 'Wait until old codes end; they are dropped by themselves a month later.' },
});

const ACTIVATION_LIMITS = {
  /** Bytes of the secret part: 160 bits, 32 characters of base32. */
  secretBytes: 20,
  /** Bytes of the id part: 8 characters. */
  idBytes: 5,
  fileBytes: 8 * 1024 * 1024,
  codes: 10_000,
  /** A code is forgotten this long after its end, in milliseconds, so that a late enrolment is still named as late. */
  keptMs: 30 * 86_400_000,
} as const;

const activation = z.strictObject({
  id: z.string().regex(/^[A-Z2-7]{8}$/),
  /** Hex; the file is 0600. It is no password: it opens nothing but the enrolment of hosts, which a person approves. */
  secret: z.string().regex(/^[0-9a-f]{40}$/),
  /** Group the approved hosts get. */
  group: name,
  title: line(255),
  labels,
  /** Site the hosts stand at. */
  site: name.optional(),
  created: moment,
  expires: moment,
  uses: count,
  maxUses: count.min(1),
  /** Who proves it is approved without a person's further word. */
  preapproved: z.boolean().default(false),
});
export type Activation = z.infer<typeof activation>;

const activationFile = document('activations', 1, { codes: list(activation, ACTIVATION_LIMITS.codes) });

/** RFC 4648 base32 without padding. */
export function base32(bytes: Uint8Array): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(held >>> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  return bits > 0 ? text + alphabet[(held << (5 - bits)) & 31] : text;
}

/** The code as people copy it: base32 of id (8 characters) and secret (32), in groups of four. */
export function formatCode(id: string, secret: Uint8Array): string {
  return (id + base32(secret)).match(/.{4}/g)?.join('-') ?? '';
}

/** Codes known to this home; none when the file is not there. @throws activation.damaged */
export function readActivations(file: string): Activation[] {
  const bytes = readFileBounded(file, ACTIVATION_LIMITS.fileBytes);
  if (bytes === undefined) return [];
  try {
    return activationFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).codes;
  } catch (cause) {
    throw fault('damaged', `${file} is no list of activation codes`, { where: file, cause });
  }
}

export interface InviteRequest {
  readonly group: string;
  readonly title: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly site?: string | undefined;
  readonly days: number;
  readonly maxUses: number;
  readonly preapproved?: boolean | undefined;
  /** Milliseconds. */
  readonly now: number;
  readonly randomBytes?: (count: number) => Uint8Array;
}

/** Makes a code and keeps it. The secret part is in `code`, shown once. @throws activation.damaged, activation.full */
export function invite(file: string, request: InviteRequest): { code: string; entry: Activation } {
  const random = request.randomBytes ?? systemRandom;
  const codes = readActivations(file).filter(({ expires }) => Date.parse(expires) + ACTIVATION_LIMITS.keptMs > request.now);
  if (codes.length >= ACTIVATION_LIMITS.codes)
    throw fault('full', `${codes.length} activation codes are open`, { where: file });
  const id = base32(random(ACTIVATION_LIMITS.idBytes));
  const secret = random(ACTIVATION_LIMITS.secretBytes);
  const entry: Activation = {
    id,
    secret: Buffer.from(secret).toString('hex'),
    group: request.group,
    title: request.title,
    labels: { ...request.labels },
    ...(request.site === undefined ? {} : { site: request.site }),
    created: utcSeconds(request.now),
    expires: utcSeconds(request.now + request.days * 86_400_000),
    uses: 0,
    maxUses: request.maxUses,
    preapproved: request.preapproved ?? false,
  };
  writeActivations(file, [...codes.filter((one) => one.id !== id), entry]);
  return { code: formatCode(id, secret), entry };
}

/** Counts uses after agents were approved. @throws activation.damaged */
export function countUses(file: string, used: ReadonlyMap<string, number>): void {
  if (used.size === 0) return;
  writeActivations(
    file,
    readActivations(file).map((entry) => ({ ...entry, uses: entry.uses + (used.get(entry.id) ?? 0) })),
  );
}

/** What `collect` judges enrolments with: secret and end of a code by its id. */
export function activationSecrets(file: string): (id: string) => { secret: Uint8Array; expiresAt: number } | undefined {
  const byId = new Map(readActivations(file).map((entry) => [entry.id, entry]));
  return (id) => {
    const entry = byId.get(id);
    return entry && { secret: Buffer.from(entry.secret, 'hex'), expiresAt: Date.parse(entry.expires) };
  };
}

function writeActivations(file: string, codes: readonly Activation[]): void {
  const value = activationFile.parse({ schema: 'patchferry/activations', schemaVersion: 1, codes });
  writeFileAtomic(file, `${canonicalJson(value)}\n`, { mode: 0o600 });
}
