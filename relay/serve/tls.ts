// TLS and mutual TLS of the relay's own server: its files are read, tried, and read anew when they are renewed.
import * as fs from 'node:fs';
import type * as https from 'node:https';
import type { Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { Log } from '#manifests/platform/log';
import { fault } from './faults.ts';

export interface TlsFiles {
  /** The certificate and those between it and its CA. */
  readonly cert: string;
  readonly key: string;
  /** CAs one of which must have signed each client's certificate (mutual TLS). */
  readonly clientCa?: string | undefined;
}

/** @throws serve.tls */
export function readTls({ cert, key, clientCa }: TlsFiles): https.ServerOptions {
  const read = (file: string) => {
    try {
      return fs.readFileSync(file);
    } catch (cause) {
      throw fault('tls', `cannot read ${file}: ${(cause as Error).message}`, { where: file, cause });
    }
  };
  const context = { cert: read(cert), key: read(key), minVersion: 'TLSv1.2' as const };
  // Whom the handshake would have to turn away gets an answer that says why, and nothing else: see `strangerOf`.
  const asked = clientCa === undefined ? {} : { ca: read(clientCa), requestCert: true, rejectUnauthorized: false };
  try {
    createSecureContext({ ...context, ...(clientCa === undefined ? {} : { ca: asked.ca }) });
  } catch (cause) {
    throw fault('tls', `${cert} and ${key} cannot be used: ${(cause as Error).message}`, { where: cert, cause });
  }
  return { ...context, ...asked };
}

/**
 * Why a client is no one that this relay talks to; undefined when it is. A session that is taken up again is judged like a new one.
 * Who shows this relay's own certificate has its key, so it is the web server that stands in front of it.
 */
export function strangerOf(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket)) return 'this is no TLS connection';
  const shown = socket.getPeerX509Certificate();
  if (shown === undefined) return 'this client shows no certificate';
  if (socket.authorized || shown.fingerprint256 === socket.getX509Certificate()?.fingerprint256) return undefined;
  const { authorizationError: error } = socket;
  const code = error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error);
  return code === 'CERT_HAS_EXPIRED'
    ? `the certificate of this client is over since ${shown.validTo}`
    : `the certificate of this client is not accepted (${code.slice(0, 100)})`;
}

/** Takes a renewed certificate up without a restart; one that cannot be used is logged and the old one stays. */
export function renew(server: https.Server, tls: TlsFiles, everyMs: number, log: Log): NodeJS.Timeout {
  const files = [tls.cert, tls.key, ...(tls.clientCa === undefined ? [] : [tls.clientCa])];
  const stamp = () => files.map((file) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0).join(' ');
  let known = stamp();
  return setInterval(() => {
    const now = stamp();
    if (now === known) return;
    known = now;
    try {
      server.setSecureContext(readTls(tls));
      log.info({ cert: tls.cert }, 'took up the renewed certificate');
    } catch (error) {
      log.error({ reason: (error as Error).message }, 'the renewed certificate cannot be used');
    }
  }, everyMs).unref();
}
