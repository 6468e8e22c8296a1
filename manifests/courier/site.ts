// Who this closed side is: its name and the two keys it makes on first use. The relay and an agent without a relay share this.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import {
  type BoxKeyPair,
  generateBoxKey,
  generateSigningKey,
  memorySigner,
  readKeyFile,
  type Signer,
  writeKeyFile,
} from '#manifests/trust';
import type { SiteCard } from './card.ts';
import { fault } from './faults.ts';

export interface Site {
  readonly name: string;
  readonly card: SiteCard;
  readonly signer: Signer;
  readonly box: BoxKeyPair;
}

/**
 * Reads, or makes on first use, the keys of this site in `folder` (0700).
 * @throws courier.no-site, courier.other-name, trust.key-file
 */
export async function openSite(folder: string, name: string | undefined): Promise<Site> {
  const nameFile = join(folder, 'site');
  const known = readFileBounded(nameFile, 1_024);
  const before = known === undefined ? undefined : Buffer.from(known).toString('utf8').trim();
  const site = name ?? before;
  if (site === undefined) throw fault('no-site', 'this side has no name that a bundle could be for');
  if (before !== undefined && before !== site) {
    throw fault('other-name', `the keys here are those of the site ${before}, the settings say ${site}`, { where: nameFile });
  }
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const signFile = join(folder, 'sign.key');
  const boxFile = join(folder, 'box.key');
  if (!fs.existsSync(signFile)) writeKeyFile(signFile, { kind: 'sign', ...generateSigningKey() });
  if (!fs.existsSync(boxFile)) writeKeyFile(boxFile, { kind: 'box', ...generateBoxKey() });
  if (before === undefined) writeFileAtomic(nameFile, `${site}\n`);
  const sign = await readKeyFile(signFile);
  const box = await readKeyFile(boxFile);
  return {
    name: site,
    card: { site, signKey: sign.publicKey, boxKey: box.publicKey },
    signer: memorySigner(sign),
    box: { publicKey: box.publicKey, secretKey: box.secretKey },
  };
}
