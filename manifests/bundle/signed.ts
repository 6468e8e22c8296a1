// Small signed JSON files: index, marker of a medium, list of what is on it, receipt. One frame, one domain each, one form of bytes.
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { z } from 'zod';
import { canonicalJson } from '#manifests/schema';
import type { Signer } from '#manifests/trust';
import { fault } from './faults.ts';

/** What a signature is for; a signature of one kind of file never counts for another. */
export type Domain = 'index' | 'medium' | 'parts' | 'receipt';

/** Whose signature counts: these Ed25519 public keys (hex), or `any`, only to show what a file says. */
export type Keys = readonly string[] | 'any';

export interface Signed<T> {
  readonly body: T;
  /** The key that signed, hex. */
  readonly key: string;
}

const messageOf = (domain: Domain, body: unknown) => Buffer.from(`patchferry bundle ${domain}\n${canonicalJson(body)}`, 'utf8');

/** The bytes of a signed file. @throws bundle.name when the signer is none of Ed25519 */
export async function signedBytes(domain: Domain, body: unknown, signer: Signer): Promise<Buffer> {
  if (signer.key.keytype !== 'ed25519') {
    throw fault('name', `bundles are signed with Ed25519; this signer has ${signer.key.keytype}`);
  }
  const value = Buffer.from(await signer.sign(messageOf(domain, body))).toString('hex');
  return Buffer.from(`${canonicalJson({ body, signature: { key: signer.key.keyval.public, value } })}\n`, 'utf8');
}

/**
 * Reads and checks a signed file: canonical bytes only (no second member of a name, no odd number, nothing behind it), signed by
 * one of `keys`, of the shape `schema`. @throws bundle.malformed, bundle.unsigned, bundle.signature
 */
export function readSigned<S extends z.ZodType>(
  domain: Domain,
  bytes: Uint8Array,
  options: { readonly schema: S; readonly keys: Keys; readonly where: string; readonly prepare?: (body: unknown) => void },
): Signed<z.infer<S>> {
  const { where, keys } = options;
  const malformed = (message: string, cause?: unknown) => fault('malformed', `${where}: ${message}`, { where, cause });
  let file: { body?: unknown; signature?: { key?: unknown; value?: unknown } };
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    file = JSON.parse(text) as typeof file;
  } catch (cause) {
    throw malformed('is not JSON', cause);
  }
  if (typeof file !== 'object' || file === null || file.body === undefined) throw malformed('is no signed file of patchferry');
  const key = file.signature?.key;
  const value = file.signature?.value;
  if (typeof key !== 'string' || typeof value !== 'string') throw fault('unsigned', `${where} is not signed`, { where });
  if (!/^[0-9a-f]{64}$/.test(key) || !/^[0-9a-f]{128}$/.test(value)) throw malformed('its signature has no valid form');
  // Deep nesting would overflow the walk below; JSON.parse itself is iterative.
  if (depthOf(text) > DEPTH) throw malformed(`is nested deeper than ${DEPTH} levels`);
  let canonical: string;
  try {
    canonical = `${canonicalJson({ body: file.body, signature: { key, value } })}\n`;
  } catch (cause) {
    throw malformed('holds a number that is none', cause); // 1e999 is read as infinity
  }
  if (canonical !== text) throw malformed('is not in canonical form');
  if (keys !== 'any' && !keys.includes(key)) {
    throw fault('unsigned', `${where} is signed by the key ${key.slice(0, 16)}…, which does not count here`, { where });
  }
  if (!holds(key, messageOf(domain, file.body), value)) {
    throw fault('signature', `the signature on ${where} does not hold: it was changed after it was signed`, { where });
  }
  options.prepare?.(file.body);
  const parsed = options.schema.safeParse(file.body);
  if (!parsed.success) {
    const rows = parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || '(file)'}: ${issue.message}`);
    throw malformed(rows.join('; '));
  }
  return { body: parsed.data, key };
}

const DEPTH = 16;

function depthOf(text: string): number {
  let depth = 0;
  let most = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (quoted) {
      if (code === 0x5c) at++;
      else if (code === 0x22) quoted = false;
    } else if (code === 0x22) quoted = true;
    else if (code === 0x7b || code === 0x5b) most = Math.max(most, ++depth);
    else if (code === 0x7d || code === 0x5d) depth--;
  }
  return most;
}

/** Ed25519 (RFC 8032) by node:crypto, which is strict about S. */
function holds(keyHex: string, message: Uint8Array, signatureHex: string): boolean {
  let key: KeyObject;
  try {
    const x = Buffer.from(keyHex, 'hex').toString('base64url');
    key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  } catch {
    return false;
  }
  return verify(null, message, key, Buffer.from(signatureHex, 'hex'));
}
