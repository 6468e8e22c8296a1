// For tests: CAs, and certificates signed by them, made by openssl.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { run } from '#manifests/platform/process';

export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Pair {
  /** @param names as in subjectAltName; @param days below zero: it is over */
  issue(name: string, names?: string, days?: number): Promise<Pair>;
}

async function openssl(...words: string[]): Promise<void> {
  const { code, stderr } = await run('openssl', words, { timeoutMs: 30_000 });
  if (code !== 0) throw new Error(`openssl ended with ${code}: ${stderr}`);
}
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** @param folder is there */
export async function makeAuthority(folder: string, name: string): Promise<Authority> {
  const own = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await openssl('req', '-x509', ...EC, '-days', '60', '-keyout', own.key, '-out', own.cert, '-subj', `/CN=${name}`);
  return {
    ...own,
    async issue(of, names = 'DNS:localhost,IP:127.0.0.1', days = 60) {
      const pair = { cert: join(folder, `${of}.pem`), key: join(folder, `${of}.key`) };
      const [request, extra] = [join(folder, `${of}.csr`), join(folder, `${of}.ext`)];
      fs.writeFileSync(extra, `subjectAltName=${names}\n`);
      await openssl('req', '-new', ...EC, '-keyout', pair.key, '-out', request, '-subj', `/CN=${of}`);
      const signer = ['-CA', own.cert, '-CAkey', own.key, '-CAcreateserial'];
      await openssl('x509', '-req', '-in', request, ...signer, '-days', String(days), '-extfile', extra, '-out', pair.cert);
      fs.chmodSync(pair.key, 0o600);
      return pair;
    },
  };
}
