// One envelope, from bytes to a checked result: who signed it, for whom, is it what its header says. Decides nothing about
// chains; touches no disk.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { isFault } from '#manifests/errors';
import { decodePlain, type Result, type RosterAgent } from '#manifests/schema';
import {
  agentIdOf,
  checkBoxKey,
  checkSigningKey,
  envelopeHash,
  inspectEnvelope,
  openEnvelope,
  verifyEnvelope,
} from '#manifests/trust';
import type { InboxFile } from './inbox.ts';
import type { Arrival, EnrolmentArrival } from './store.ts';

/** What an activation code's secret says about an enrolment. */
export type Activation = 'valid' | 'unknown' | 'invalid' | 'expired';

/** The secret part of an activation code; with `expiresAt` (ms since 1970) when the code has an end. */
export type ActivationSecret = Uint8Array | { readonly secret: Uint8Array; readonly expiresAt: number };

export interface OpenContext {
  readonly agents: ReadonlyMap<string, RosterAgent>;
  readonly recipient: { readonly publicKey: string; readonly secretKey: Uint8Array };
  activationSecrets(id: string): ActivationSecret | undefined;
  /** Milliseconds; against it the end of an activation code is judged. */
  readonly now: number;
  hasResult(agent: string, sequence: number, hash: string): boolean;
  hasEnrolment(hash: string): boolean;
  /** Whether this agent has asked to be enrolled and waits for an answer. */
  isPending(agent: string): boolean;
}

export type Opened =
  | { readonly kind: 'result'; readonly arrival: Arrival }
  | {
      readonly kind: 'enrolment';
      readonly arrival: EnrolmentArrival & { readonly activation: Activation };
      readonly known: boolean;
    }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'waiting'; readonly agent: string }
  | { readonly kind: 'refused'; readonly agent: string | null; readonly code: string; readonly says: string };

/** Checks and opens one envelope. Everything wrong with its content comes back as `refused`; only bugs throw. */
export function openArrival(bytes: Uint8Array, kind: InboxFile['kind'], context: OpenContext): Opened {
  let agent: string | null = null;
  const refuse = (code: string, says: string): Opened => ({ kind: 'refused', agent, code, says });
  try {
    const claimed = inspectEnvelope(bytes);
    agent = claimed.agent;
    // A waiver request travels among the results.
    const among = claimed.kind === 'waiver-request' ? 'result' : claimed.kind;
    if (among !== kind) return refuse('results.wrong-place', `is a sealed ${claimed.kind} in the folder of ${kind}s`);
    const hash = envelopeHash(bytes);
    const entry = context.agents.get(claimed.agent);
    if (entry?.status === 'revoked') return refuse('results.revoked', `agent ${claimed.agent} (${entry.title}) was revoked`);
    if (kind === 'enrolment') return openEnrolment(bytes, hash, claimed.agent, entry !== undefined, context, refuse);

    if (context.hasResult(claimed.agent, claimed.sequence, hash)) return { kind: 'duplicate' };
    if (entry === undefined) {
      if (context.isPending(claimed.agent)) return { kind: 'waiting', agent: claimed.agent };
      return refuse('results.unknown-agent', `agent ${claimed.agent} is not in the roster and has not asked to be`);
    }
    verifyEnvelope(bytes, entry.signKey);
    const { header, body } = openEnvelope(bytes, { recipient: context.recipient, signKey: entry.signKey });
    const result = decodePlain('result', body, 'the sealed result');
    const differs = mismatch(result, header);
    if (differs !== undefined) return refuse('results.mismatch', differs);
    if (result.kind === 'enrol') return refuse('results.wrong-place', 'is an enrolment sealed as a result');
    if (claimed.kind === 'waiver-request' && result.kind !== 'waiver-request')
      return refuse('results.wrong-place', `is a ${result.kind} sealed as a waiver request`);
    return { kind: 'result', arrival: { hash, bytes, plain: body, result } };
  } catch (error) {
    if (isFault(error)) return refuse(error.code, error.message);
    throw error;
  }
}

function openEnrolment(
  bytes: Uint8Array,
  hash: string,
  agent: string,
  known: boolean,
  context: OpenContext,
  refuse: (code: string, says: string) => Opened,
): Opened {
  if (context.hasEnrolment(hash)) return { kind: 'duplicate' };
  verifyEnvelope(bytes);
  const { header, body } = openEnvelope(bytes, { recipient: context.recipient });
  const result = decodePlain('result', body, 'the sealed enrolment');
  const differs = mismatch(result, header);
  if (differs !== undefined) return refuse('results.mismatch', differs);
  if (result.kind !== 'enrol') return refuse('results.wrong-place', `is a ${result.kind} sealed as an enrolment`);
  const { signKey, boxKey } = result.body;
  if (signKey !== header.signKey || agentIdOf(signKey) !== agent) {
    return refuse('results.mismatch', 'asks to be enrolled with another signing key than the one that signed it');
  }
  checkSigningKey(signKey);
  checkBoxKey(boxKey);
  const activation = judgeActivation(result.body, context);
  return { kind: 'enrolment', arrival: { hash, bytes, plain: body, result, activation }, known };
}

function mismatch(result: Result, header: { agent: string; sequence: number }): string | undefined {
  if (result.agent !== header.agent) return `says inside that it is of agent ${result.agent}, outside of ${header.agent}`;
  if (result.sequence !== header.sequence) return `is number ${result.sequence} inside and ${header.sequence} outside`;
  return undefined;
}

/** HMAC-SHA256 (RFC 2104) under the code's secret over purpose and both keys, compared in constant time. */
function judgeActivation(
  body: Extract<Result, { kind: 'enrol' }>['body'],
  context: Pick<OpenContext, 'activationSecrets' | 'now'>,
): Activation {
  const found = context.activationSecrets(body.activationId);
  if (found === undefined) return 'unknown';
  const [secret, expiresAt] = found instanceof Uint8Array ? [found, Number.POSITIVE_INFINITY] : [found.secret, found.expiresAt];
  const expected = createHmac('sha256', secret).update(`patchferry-enrol-1\n${body.signKey}\n${body.boxKey}`).digest();
  if (!timingSafeEqual(expected, Buffer.from(body.activationProof, 'hex'))) return 'invalid';
  return context.now <= expiresAt ? 'valid' : 'expired';
}
