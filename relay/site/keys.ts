// The keys of this relay: those of its card where it has a site, else one of its own, made on first use, to sign what it drops.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { openSite } from '#manifests/courier';
import { type BoxKeyPair, generateSigningKey, readKeyFile, type SigningKeyPair, writeKeyFile } from '#manifests/trust';
import type { RelayFolders } from '../settings.ts';

export interface RelayKeys {
  readonly sign: SigningKeyPair;
  /** Undefined without a site: nothing is ever sealed to such a relay. */
  readonly box: BoxKeyPair | undefined;
}

/** @throws courier.other-name, trust.key-file */
export async function relayKeys(folders: RelayFolders, site: string | undefined): Promise<RelayKeys> {
  if (site !== undefined) {
    const { box } = await openSite(folders.courier, site);
    return { sign: await readKeyFile(join(folders.courier, 'sign.key')), box };
  }
  const file = join(folders.state, 'relay.key');
  if (!fs.existsSync(file)) {
    fs.mkdirSync(folders.state, { recursive: true });
    writeKeyFile(file, { kind: 'sign', ...generateSigningKey() });
  }
  return { sign: await readKeyFile(file), box: undefined };
}
