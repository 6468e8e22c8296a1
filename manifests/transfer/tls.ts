// This side's end of TLS: which CAs are believed, and the certificate that it shows itself. Files are looked at before each use,
// so that a renewed certificate needs no restart. Integrity never rests on this: what arrives is checked by its own signatures.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import * as fs from 'node:fs';
import { createSecureContext, getCACertificates, rootCertificates, type SecureContext } from 'node:tls';
import { defineFaults, EXIT, isFault, type PatchferryError } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import type { TlsFiles } from '#manifests/schema';

const fault = defineFaults('tls', {
  file: { exit: EXIT.usage, next: 'Give the path of a PEM file that this user may read, without a passphrase on the key.' },
  'key-mode': { exit: EXIT.usage, next: 'Take the key away from others (chmod 600), and replace it if they may have read it.' },
  mismatch: { exit: EXIT.usage, next: 'Give the certificate and the very key that it was made for.' },
});

export const TLS_LIMITS = {
  /** Bytes of a PEM file. */
  fileBytes: 4 * 1024 * 1024,
  /** From so many milliseconds before its end on a certificate is told to be renewed. */
  renewMs: 21 * 86_400_000,
} as const;

/** What is read of the files, and held against each other. */
interface TlsMaterial {
  readonly ca: string | undefined;
  readonly own: { readonly cert: string; readonly key: string; readonly certificate: X509Certificate } | undefined;
}

/** Reads and checks. @throws tls.file, tls.key-mode, tls.mismatch */
function readTls({ ca, cert, key }: TlsFiles): TlsMaterial {
  const authorities = ca === undefined ? undefined : readPem(ca);
  if (ca !== undefined && authorities !== undefined) certificatesOf(ca, authorities);
  if (cert === undefined || key === undefined) return { ca: authorities, own: undefined };
  const chain = readPem(cert);
  const [certificate] = certificatesOf(cert, chain);
  if (certificate === undefined) throw fault('file', `${cert} holds no certificate`, { where: cert });
  const mode = fs.statSync(key, { throwIfNoEntry: false })?.mode ?? 0;
  // A group may read it, as Debian's ssl-cert does; Windows has no such modes.
  if (process.platform !== 'win32' && (mode & 0o037) !== 0) {
    throw fault('key-mode', `${key} is open to others: its mode is ${(mode & 0o777).toString(8)}`, { where: key });
  }
  const secret = readPem(key);
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(secret));
  } catch (cause) {
    throw fault('file', `${key} holds no key that can be used: ${(cause as Error).message}`, { where: key, cause });
  }
  if (!fits) throw fault('mismatch', `${key} is not the key of the certificate in ${cert}`, { where: key });
  return { ca: authorities, own: { cert: chain, key: secret, certificate } };
}

function readPem(file: string): string {
  try {
    const { size } = fs.statSync(file);
    if (size > TLS_LIMITS.fileBytes) throw new Error(`it has more than ${TLS_LIMITS.fileBytes} bytes`);
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    throw fault('file', `cannot read ${file}: ${(cause as Error).message}`, { where: file, cause });
  }
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** @throws tls.file when there is none, or one cannot be read */
function certificatesOf(file: string, text: string): X509Certificate[] {
  const found = text.match(PEM) ?? [];
  try {
    if (found.length === 0) throw new Error('there is none in it');
    return found.map((pem) => new X509Certificate(pem));
  } catch (cause) {
    throw fault('file', `${file} holds no certificates that can be used: ${(cause as Error).message}`, { where: file, cause });
  }
}

/** The CAs that this machine believes; Node's own list where the machine has none. */
function systemAuthorities(): string[] {
  const system = getCACertificates('system');
  return [...new Set(system.length > 0 ? system : rootCertificates)];
}

/** One end of TLS for several origins. The same context comes for as long as the files are the same. */
export interface TlsEnd {
  /** @throws tls.*, as long as there was never anything that could be used */
  context(): SecureContext;
}

/**
 * @param onTrouble told once for each change of the files that cannot be used; what was there before stays in use
 */
export function openTls(files: TlsFiles, onTrouble: (trouble: PatchferryError) => void = () => undefined): TlsEnd {
  const named = [files.ca, files.cert, files.key].filter((file) => file !== undefined);
  const stamp = () =>
    named
      .map((file) => fs.statSync(file, { throwIfNoEntry: false }))
      .map((facts) => (facts === undefined ? '-' : `${facts.ino} ${facts.mtimeMs} ${facts.size} ${facts.mode}`))
      .join(' ');
  let known: { readonly stamp: string; readonly context: SecureContext } | undefined;
  return {
    context() {
      const now = stamp();
      if (known?.stamp === now) return known.context;
      try {
        const { ca, own } = readTls(files);
        const context = createSecureContext({
          ca: ca ?? systemAuthorities(),
          minVersion: 'TLSv1.2',
          ...(own === undefined ? {} : { cert: own.cert, key: own.key }),
        });
        known = { stamp: now, context };
        return context;
      } catch (error) {
        if (known === undefined || !isFault(error)) throw error;
        known = { stamp: now, context: known.context };
        onTrouble(error);
        return known.context;
      }
    },
  };
}

/** One thing that `doctor` says of certificates. */
export interface TlsFinding {
  readonly ok: boolean;
  readonly says: string;
  /** Empty when all is well. */
  readonly next: string;
}

/**
 * What is to be said of these files at a moment (ms): unreadable, open to others, not fitting, over, soon over.
 * @param whose for the text: `this host`, say
 */
export function inspectTls(files: TlsFiles, now: number, whose: string): TlsFinding[] {
  let material: TlsMaterial;
  try {
    material = readTls(files);
  } catch (error) {
    if (!isFault(error)) throw error;
    return [{ ok: false, says: `${error.code}: ${error.message}`, next: error.next }];
  }
  const { ca, own } = material;
  const authorities = files.ca === undefined || ca === undefined ? [] : certificatesOf(files.ca, ca);
  return [
    ...(own === undefined ? [] : [ageOf(`the certificate of ${whose} (${files.cert ?? ''})`, own.certificate, now)]),
    ...authorities.map((each) => ageOf(`the CA ${nameOf(each)} (${files.ca ?? ''})`, each, now)),
  ];
}

function ageOf(what: string, { validFromDate, validToDate }: X509Certificate, now: number): TlsFinding {
  const [from, to] = [validFromDate.getTime(), validToDate.getTime()];
  const next = 'Renew it and put the new one in its place; no restart is needed.';
  if (now >= to) return { ok: false, says: `${what} is over since ${utcSeconds(to)}`, next };
  if (now < from) return { ok: false, says: `${what} is not valid before ${utcSeconds(from)}`, next: 'Look at the clock too.' };
  if (now >= to - TLS_LIMITS.renewMs) return { ok: false, says: `${what} ends at ${utcSeconds(to)}`, next };
  return { ok: true, says: `${what} is good until ${utcSeconds(to)}`, next: '' };
}

const nameOf = ({ subject, fingerprint256 }: X509Certificate) =>
  /(?:^|\n)CN=(.*)$/m.exec(subject)?.[1]?.slice(0, 200) ?? fingerprint256;
