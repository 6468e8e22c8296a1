// This host's own keys: made here, never leaving, 0600. The agent's id is the hash of the signing key.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { agentIdOf, generateBoxKey, generateSigningKey, readKeyFile, writeKeyFile } from '#manifests/trust';

export interface AgentKeys {
  readonly id: string;
  readonly sign: { readonly publicKey: string; readonly secretKey: Uint8Array };
  readonly box: { readonly publicKey: string; readonly secretKey: Uint8Array };
}

/** The keys, or undefined while this host has none. @throws trust.key-file */
export async function readKeys(folder: string): Promise<AgentKeys | undefined> {
  const names = { sign: join(folder, 'sign.key'), box: join(folder, 'box.key') };
  if (!fs.existsSync(names.sign) || !fs.existsSync(names.box)) return undefined;
  const sign = await readKeyFile(names.sign);
  const box = await readKeyFile(names.box);
  return { id: agentIdOf(sign.publicKey), sign, box };
}

/** The keys, made when there are none. Killed between the two files, the next call completes the pair. @throws trust.key-file */
export async function ensureKeys(folder: string): Promise<AgentKeys> {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const make = [
    { path: join(folder, 'sign.key'), kind: 'sign', generate: () => generateSigningKey() },
    { path: join(folder, 'box.key'), kind: 'box', generate: () => generateBoxKey() },
  ] as const;
  for (const { path, kind, generate } of make) if (!fs.existsSync(path)) writeKeyFile(path, { kind, ...generate() });
  const keys = await readKeys(folder);
  if (keys === undefined) throw new TypeError('keys that were just written are not there');
  return keys;
}
