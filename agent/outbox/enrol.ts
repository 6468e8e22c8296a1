// Becoming part of a fleet: own keys, the activation code's proof, one sealed envelope that is kept and sent until the roster
// has this host. Running it again does nothing twice; no clock and no lost relay ever starts it anew.
import { createHmac, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, encodePlain, type Inventory } from '#manifests/schema';
import type { Origin } from '#manifests/transfer';
import { envelopeHash, sealEnvelope } from '#manifests/trust';
import { cleanText } from '../run/index.ts';
import { fault } from './faults.ts';
import type { AgentKeys } from './keys.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
/** Characters of base32: the id travels, the secret proves. */
const CODE = { id: 8, secret: 32 } as const;

/** Splits an activation code: base32 in any grouping, in upper or lower case. @throws outbox.code */
export function parseCode(code: string): { id: string; secret: Uint8Array } {
  const plain = code.replaceAll(/[\s.-]+/g, '').toUpperCase();
  if (plain.length !== CODE.id + CODE.secret || !/^[A-Z2-7]+$/.test(plain)) {
    throw fault(
      'code',
      `this is no activation code: ${CODE.id + CODE.secret} letters and digits 2 to 7 are expected, ${plain.length} were given`,
    );
  }
  let held = 0;
  let bits = 0;
  const secret: number[] = [];
  for (const letter of plain.slice(CODE.id)) {
    held = (held << 5) | ALPHABET.indexOf(letter);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      secret.push((held >>> bits) & 0xff);
    }
    held &= (1 << bits) - 1;
  }
  return { id: plain.slice(0, CODE.id), secret: Uint8Array.from(secret) };
}

export interface Enrolment {
  readonly schemaVersion: 1;
  readonly agent: string;
  readonly title: string;
  readonly activationId: string;
  readonly relays: readonly string[];
  readonly at: string;
  readonly envelopeSha256: string;
  /** Moment of the last delivery, and to whom. */
  readonly sentAt: string | null;
  readonly sentTo: string | null;
}

const FILE_BYTES = 4 * 1024 * 1024;

/** What is known of this host's enrolment; undefined before the first one. */
export function readEnrolment(stateDir: string): Enrolment | undefined {
  const bytes = readFileBounded(join(stateDir, 'enrolment.json'), FILE_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8')) as Enrolment;
  } catch {
    return undefined; // torn: enrolling again writes it anew, with the same keys
  }
}

function writeEnrolment(stateDir: string, enrolment: Enrolment): void {
  writeFileAtomic(join(stateDir, 'enrolment.json'), `${canonicalJson(enrolment)}\n`, { mode: 0o600 });
}

export interface EnrolRequest {
  readonly stateDir: string;
  readonly keys: AgentKeys;
  readonly code: string;
  readonly title: string;
  readonly relays: readonly string[];
  readonly recipients: readonly string[];
  readonly inventory: Inventory;
  /** Milliseconds. */
  readonly trustedNow: number;
  readonly now: number;
}

/**
 * Writes the enrolment envelope. The same code again keeps the one that is there; another code makes a new one with the same
 * keys (the first code had ended). The envelope has number 0: results count from 1 and name it as the one before.
 * @throws outbox.code
 */
export function prepareEnrolment(request: EnrolRequest): Enrolment {
  const { stateDir, keys } = request;
  const { id: activationId, secret } = parseCode(request.code);
  const known = readEnrolment(stateDir);
  if (known?.agent === keys.id && known.activationId === activationId && enrolmentBytes(stateDir, known) !== undefined) {
    const kept = { ...known, relays: [...new Set([...request.relays, ...known.relays])] };
    writeEnrolment(stateDir, kept);
    return kept;
  }
  return writeRequest(request, activationId, secret);
}

/**
 * The same for a machine that shared the identity `of` with another one and has made keys of its own. It has no code and can prove
 * nothing: whoever approves it does so by name.
 */
export function prepareCopyEnrolment(request: Omit<EnrolRequest, 'code'> & { readonly of: string }): Enrolment {
  return writeRequest(request, `copy-of-${request.of}`, randomBytes(20));
}

function writeRequest(request: Omit<EnrolRequest, 'code'>, activationId: string, secret: Uint8Array): Enrolment {
  const { stateDir, keys, recipients, inventory } = request;
  const proof = createHmac('sha256', secret)
    .update(`patchferry-enrol-1\n${keys.sign.publicKey}\n${keys.box.publicKey}`)
    .digest('hex');
  const body = encodePlain('result', {
    schema: 'patchferry/result',
    schemaVersion: 1,
    agent: keys.id,
    boot: inventory.bootId,
    sequence: 0,
    previous: null,
    trustedTime: utcSeconds(request.trustedNow),
    wallTime: utcSeconds(request.now),
    kind: 'enrol',
    body: {
      title: request.title,
      signKey: keys.sign.publicKey,
      boxKey: keys.box.publicKey,
      activationId,
      activationProof: proof,
      inventory,
    },
  });
  const envelope = sealEnvelope({
    body,
    kind: 'enrolment',
    agent: keys.id,
    sequence: 0,
    signKey: keys.sign,
    recipients: [...recipients],
  });
  writeFileAtomic(join(stateDir, 'enrolment.pfe'), envelope, { mode: 0o600 });
  const enrolment: Enrolment = {
    schemaVersion: 1,
    agent: keys.id,
    title: request.title,
    activationId,
    relays: [...request.relays],
    at: utcSeconds(request.now),
    envelopeSha256: envelopeHash(envelope),
    sentAt: null,
    sentTo: null,
  };
  writeEnrolment(stateDir, enrolment);
  return enrolment;
}

/** The envelope as it was written; undefined when it is gone or torn. */
export function enrolmentBytes(stateDir: string, enrolment: Enrolment): Uint8Array | undefined {
  const bytes = readFileBounded(join(stateDir, 'enrolment.pfe'), FILE_BYTES * 4);
  return bytes !== undefined && envelopeHash(bytes) === enrolment.envelopeSha256 ? bytes : undefined;
}

/** Sends the enrolment to the first relay that takes it. @returns what a person should know when none did */
export async function sendEnrolment(
  stateDir: string,
  origins: readonly Origin[],
  now: number,
  signal?: AbortSignal,
): Promise<{ sent: boolean; says: string }> {
  const enrolment = readEnrolment(stateDir);
  const bytes = enrolment === undefined ? undefined : enrolmentBytes(stateDir, enrolment);
  if (enrolment === undefined || bytes === undefined) throw fault('not-enrolled', 'this host has not been enrolled');
  const reasons: string[] = [];
  for (const origin of origins) {
    try {
      const { status, body } = await origin.post('inbox/enrolments', bytes, { signal });
      if (status === 200 || status === 201) {
        writeEnrolment(stateDir, { ...enrolment, sentAt: utcSeconds(now), sentTo: origin.name });
        return { sent: true, says: `${origin.name} took the enrolment` };
      }
      reasons.push(`${origin.name}: ${status} ${cleanText(Buffer.from(body).toString('utf8'), 300)}`);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      reasons.push(`${origin.name}: ${(error as Error).message}`);
    }
  }
  return { sent: false, says: reasons.join('\n') || 'no relay is known' };
}
