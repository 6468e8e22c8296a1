// What an origin is: a place that offers a repository. And all limits of transferring, with their units.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('transfer', {
  address: { exit: EXIT.usage, next: 'Give an http:// or https:// address without a query, or the path of a folder.' },
  unreachable: { exit: EXIT.unreachable, next: 'Check the address, the line, and that the other side is running.' },
  timeout: { exit: EXIT.unreachable, next: 'The other side did not answer in time; another one is used where there is one.' },
  slow: {
    exit: EXIT.unreachable,
    next: 'The other side sends below the minimum rate; another one is used where there is one.',
  },
  cut: { exit: EXIT.unreachable, next: 'Try again: what has arrived is kept and the rest is asked for.' },
  tls: { exit: EXIT.refused, next: 'Check that the other side serves https at this address and port.' },
  'tls-authority': {
    exit: EXIT.refused,
    next: 'Name the CA of the other side in the settings (ca), or have it use a certificate of a CA that is accepted here.',
  },
  'tls-expired': {
    exit: EXIT.refused,
    next: 'Renew the certificate of the other side; set the clock of this host if it is wrong.',
  },
  'tls-name': {
    exit: EXIT.refused,
    next: 'Use a name in the settings that the certificate holds, or have a certificate made for this one.',
  },
  'tls-client': {
    exit: EXIT.refused,
    next: "Give this side's cert and key in the settings, signed by a CA that the other side accepts (clientCa), and not over.",
  },
  'proxy-file': { exit: EXIT.usage, next: 'Give the path of a file that this user may read (proxy: passwordFile).' },
  proxy: { exit: EXIT.unreachable, next: 'Check the address, user and password of the proxy in the settings.' },
  status: { exit: EXIT.unreachable, next: "Look at the other side's log for this request." },
  redirect: { exit: EXIT.refused, next: 'Give the address that the redirect leads to, if you trust it, in the settings.' },
  encoding: { exit: EXIT.refused, next: 'Have the other side (or the proxy before it) send files as they are.' },
  portal: {
    exit: EXIT.refused,
    next: 'Something on the line answers with a web page (a login portal?); sign in there or go around it.',
  },
  'too-large': {
    exit: EXIT.refused,
    next: 'The other side offers more bytes than the signed or stated limit; use another one.',
  },
  size: { exit: EXIT.refused, next: 'The other side offers another length than was signed; use another one or repair it.' },
  hash: {
    exit: EXIT.refused,
    next: 'The bytes are not what was signed; use another relay, and repair this one (relay verify).',
  },
  range: { exit: EXIT.refused, next: 'The other side answers ranges wrongly; use another one.' },
  missing: { exit: EXIT.refused, next: 'The other side does not have this file (yet); use another one, or let it sync first.' },
  'not-a-repository': { exit: EXIT.unreachable, next: 'Check the path, and that the medium is mounted.' },
  'no-post': { exit: EXIT.usage, next: 'Results go to a relay by HTTP or into an inbox folder; this origin takes none.' },
  'all-refused': { exit: EXIT.refused, next: 'Read the reason for each one above; nothing was changed.' },
  'all-failed': { exit: EXIT.unreachable, next: 'Read the reason for each one above.' },
  unwritable: { exit: EXIT.usage, next: 'Check free space, permissions, and that the file system is writable.' },
});

/** Limits of transferring. Each can be set lower or higher for one origin. */
export const TRANSFER_LIMITS = {
  /** Milliseconds to establish a connection (TCP and TLS). */
  connectMs: 15_000,
  /** Milliseconds from the request to the last header of the answer. */
  headersMs: 30_000,
  /** Milliseconds in which at least `minimumBytesPerSecond * windowMs / 1000` bytes must come (S13). */
  windowMs: 20_000,
  /** Bytes a second below which a transfer is given up, averaged over a window. */
  minimumBytesPerSecond: 128,
  /** Redirects followed, all on the same host (S22). */
  redirects: 4,
  /** Bytes of all headers of an answer. */
  headerBytes: 16_384,
  /** Bytes of an answer to a POST that are read. */
  answerBytes: 65_536,
  /** Milliseconds an idle connection is kept for the next request. */
  keepAliveMs: 10_000,
  /** Connections to one origin at a time. */
  connections: 4,
} as const;

export type TransferLimits = { readonly [K in keyof typeof TRANSFER_LIMITS]: number };

export type Received =
  | { readonly kind: 'found'; readonly bytes: Uint8Array; readonly etag: string | undefined }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'missing' };

/** Small files into memory. Paths are relative to the repository's root, `metadata/timestamp.json`. */
export interface Fetcher {
  /**
   * @param options.limitBytes nothing beyond it is read (S12).
   * @param options.etag what this origin (or another of the same repository) said last time; `unchanged` then costs no body.
   * @throws transfer.*
   */
  fetchSmall(
    path: string,
    options: { limitBytes: number; etag?: string | undefined; signal?: AbortSignal | undefined },
  ): Promise<Received>;
  /** The same of a file whose hash and length are known, where it can be taken up after a cut. @throws transfer.* */
  fetchKnown?(path: string, want: Want, options?: { signal?: AbortSignal | undefined }): Promise<Received>;
}

export interface Want {
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

export interface DownloadOptions {
  /** Told the number of new bytes, for progress. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface PostOptions {
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Statuses from 500, or 408 and 429, whose words the caller wants to read; others mean that this place cannot be used now. */
  readonly answers?: readonly number[];
}

export interface Origin extends Fetcher {
  /** The address or folder, for messages. */
  readonly name: string;
  /**
   * Fetches a file whose hash and size are known to `destination`: resumed from `destination.part` after a cut, never
   * more than `want.size` bytes, checked, flushed, renamed. @throws transfer.*
   */
  download(path: string, want: Want, destination: string, options?: DownloadOptions): Promise<void>;
  /** Sends bytes; any status below 500 but 408 and 429 is an answer, and those that the caller says. @throws transfer.* */
  post(path: string, body: Uint8Array, options?: PostOptions): Promise<{ status: number; body: Uint8Array }>;
  /**
   * The next request goes over a new connection, and to the next address where the name has several: another relay may stand there.
   */
  renew?(): void;
  /** Closes kept connections. */
  close(): Promise<void>;
}

const PAGE = /^\s*(?:<!doctype html|<html|<head|<body|<script|<meta)/i;

/** Whether bytes are the start of a web page: what a captive portal sends in place of a file (S20). */
export function looksLikePage(bytes: Uint8Array): boolean {
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0; // a UTF-8 byte order mark
  return PAGE.test(Buffer.from(bytes.subarray(start, start + 512)).toString('latin1'));
}
