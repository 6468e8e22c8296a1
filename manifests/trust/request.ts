// Signed requests of agents: who asks, when, and what exactly, in one header beside a request that needs no secrecy.
import { createHash, sign } from 'node:crypto';
import { type SigningKeyPair, signingKeyObject } from './keys/pairs.ts';
import { tufKeyOf, verifyOne } from './verify/keys.ts';

/** The header's name, in lower case. */
export const REQUEST_HEADER = 'patchferry-signature';

export interface SignedRequest {
  readonly method: string;
  /** Without host and query, `/v1/pre-reboot`. */
  readonly path: string;
  readonly body: Uint8Array;
}

/** Who signed a request and when, as its header says; believed only after `verifyRequest`. */
export interface RequestHeader {
  readonly agent: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** 64 bytes, hex. */
  readonly signature: string;
}

function signedText({ method, path, body }: SignedRequest, agent: string, at: number): Buffer {
  const hash = createHash('sha256').update(body).digest('hex');
  return Buffer.from(`patchferry-request-v1\n${agent}\n${at}\n${method}\n${path}\n${hash}\n`);
}

/** The header's value: `v1 AGENT MILLISECONDS SIGNATURE`. @param at milliseconds since 1970, later at each request of an agent */
export function signRequest(request: SignedRequest, agent: string, key: SigningKeyPair, at: number): string {
  const signature = sign(null, signedText(request, agent, at), signingKeyObject(key)).toString('hex');
  return `v1 ${agent} ${at} ${signature}`;
}

/** Undefined for anything but a header of this form. */
export function parseRequestHeader(value: string): RequestHeader | undefined {
  const match = /^v1 ([0-9a-f]{32}) ([1-9]\d{0,15}) ([0-9a-f]{128})$/.exec(value);
  return match === null ? undefined : { agent: match[1] ?? '', at: Number(match[2]), signature: match[3] ?? '' };
}

/** Whether the agent with this key signed exactly this request. When it did, and whether before, is for the caller to judge. */
export function verifyRequest(request: SignedRequest, header: RequestHeader, signKey: string): boolean {
  return verifyOne(tufKeyOf(signKey), signedText(request, header.agent, header.at), header.signature);
}
