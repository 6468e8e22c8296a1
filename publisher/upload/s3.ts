// The few requests to an S3-compatible store that uploading needs: list, get, put, delete. Path style, so that any server's own
// name and certificate do.
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { fault, UPLOAD_LIMITS } from './faults.ts';
import { EMPTY_SHA256, encodedPath, encodedQuery, type S3Credentials, type S3Request, signedHeaders } from './sigv4.ts';

export interface S3Place {
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
}

export interface S3Options extends S3Place {
  /** `https://s3.example.org`. */
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: S3Credentials;
  /** PEM of the only CAs accepted. */
  readonly ca?: string | undefined;
  readonly now: () => number;
  readonly signal?: AbortSignal | undefined;
}

export interface S3Object {
  /** Below the prefix. */
  readonly path: string;
  readonly size: number;
}

export interface S3Body {
  readonly sha256: string;
  readonly size: number;
  /** Anew for each try. */
  open(): Readable | Uint8Array;
}

export interface S3Store {
  list(): Promise<S3Object[]>;
  /** Undefined when it is not there. */
  get(path: string): Promise<Uint8Array | undefined>;
  /** The same with its ETag, where the store gives one. */
  read(path: string): Promise<{ readonly bytes: Uint8Array; readonly etag: string | undefined } | undefined>;
  put(path: string, body: S3Body, headers: Readonly<Record<string, string>>): Promise<void>;
  /** As `put`, under conditions among the headers; any of these statuses is an answer. */
  putWhere(path: string, body: S3Body, headers: Readonly<Record<string, string>>, fine: readonly number[]): Promise<number>;
  remove(path: string): Promise<void>;
  close(): Promise<void>;
}

/** `s3://bucket/prefix`. @throws upload.place */
export function parsePlace(text: string): S3Place {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/([A-Za-z0-9._/-]*))?$/.exec(text);
  const prefix = (match?.[2] ?? '').replace(/\/+$/, '');
  if (match === null || prefix.split('/').some((part) => part === '..' || part === '.'))
    throw fault('place', `${JSON.stringify(text.slice(0, 200))} is no place in an object store`);
  return { bucket: match[1] ?? '', prefix: prefix === '' ? '' : `${prefix}/` };
}

interface Answer {
  readonly status: number;
  readonly bytes: Buffer;
  readonly etag: string | undefined;
}

interface Asked {
  readonly method: S3Request['method'];
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: S3Body;
}

/** @throws upload.place for an address that is none */
export function openS3({ endpoint, bucket, prefix, region, credentials, ca, now, signal }: S3Options): S3Store {
  if (!/^https?:\/\/[^/?#@]+\/?$/.test(endpoint))
    throw fault('place', `${endpoint} is no address of a server`, { where: endpoint });
  const base = new URL(endpoint);
  const dispatcher = new Agent({
    connect: { timeout: UPLOAD_LIMITS.connectMs, ...(ca === undefined ? {} : { ca }) },
    headersTimeout: UPLOAD_LIMITS.answerMs,
  });

  async function once({ method, path, query = {}, headers = {}, body }: Asked): Promise<Answer> {
    const bodySha256 = body?.sha256 ?? EMPTY_SHA256;
    const signed = signedHeaders({ method, host: base.host, path, query, headers, bodySha256 }, credentials, region, now());
    const { host: _host, ...sent } = signed;
    const asked = encodedQuery(query);
    const answer = await request(`${base.origin}${encodedPath(path)}${asked === '' ? '' : `?${asked}`}`, {
      method,
      dispatcher,
      headers: body === undefined ? sent : { ...sent, 'content-length': String(body.size) },
      body: body?.open() ?? null,
      signal: signal ?? null,
    });
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > UPLOAD_LIMITS.answerBytes) throw new Error('an answer that is longer than it can be');
      chunks.push(chunk);
    }
    const { etag } = answer.headers;
    return { status: answer.statusCode, bytes: Buffer.concat(chunks), etag: typeof etag === 'string' ? etag : undefined };
  }

  /** Tries again what may be better then: a line that broke, a store that is busy. */
  async function ask(asked: Asked, fine: readonly number[]): Promise<Answer> {
    const where = `${base.origin}${asked.path}`;
    for (let tries = 1; ; tries += 1) {
      let says: string;
      try {
        const answer = await once(asked);
        if (fine.includes(answer.status)) return answer;
        says = `${asked.method} ${where}: status ${answer.status}${wordsOf(answer.bytes)}`;
        if (answer.status < 500 && answer.status !== 429) throw fault('refused', says, { where });
      } catch (error) {
        if (signal?.aborted === true || (error as { code?: string }).code === 'upload.refused') throw error;
        says = `${asked.method} ${where}: ${(error as Error).message}`;
      }
      if (tries >= UPLOAD_LIMITS.tries) throw fault('unreachable', says, { where });
      await pause(UPLOAD_LIMITS.firstRetryMs * 2 ** (tries - 1), undefined, signal === undefined ? {} : { signal });
    }
  }

  const keyOf = (path: string) => `/${bucket}/${prefix}${path}`;
  return {
    async list() {
      const found: S3Object[] = [];
      for (let token: string | undefined; ; ) {
        const query = { 'list-type': '2', prefix, ...(token === undefined ? {} : { 'continuation-token': token }) };
        const { bytes } = await ask({ method: 'GET', path: `/${bucket}`, query }, [200]);
        const page = bytes.toString('utf8');
        for (const [, entry = ''] of page.matchAll(/<Contents>(.*?)<\/Contents>/gs)) {
          const key = textIn(entry, 'Key');
          if (key.startsWith(prefix)) found.push({ path: key.slice(prefix.length), size: Number(textIn(entry, 'Size')) });
        }
        const next = textIn(page, 'NextContinuationToken');
        if (textIn(page, 'IsTruncated') !== 'true' || next === '' || found.length > UPLOAD_LIMITS.listed) return found;
        token = next;
      }
    },
    async get(path) {
      const { status, bytes } = await ask({ method: 'GET', path: keyOf(path) }, [200, 404]);
      return status === 404 ? undefined : bytes;
    },
    async read(path) {
      const { status, bytes, etag } = await ask({ method: 'GET', path: keyOf(path) }, [200, 404]);
      return status === 404 ? undefined : { bytes, etag };
    },
    async putWhere(path, body, headers, fine) {
      return (await ask({ method: 'PUT', path: keyOf(path), body, headers }, fine)).status;
    },
    async put(path, body, headers) {
      await ask({ method: 'PUT', path: keyOf(path), body, headers }, [200, 201]);
    },
    async remove(path) {
      await ask({ method: 'DELETE', path: keyOf(path) }, [200, 202, 204, 404]);
    },
    close: () => dispatcher.close(),
  };
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The text of the first element of this name in a flat answer; empty when there is none. */
function textIn(xml: string, name: string): string {
  const start = xml.indexOf(`<${name}>`);
  const end = xml.indexOf(`</${name}>`, start);
  if (start < 0 || end < 0) return '';
  return xml
    .slice(start + name.length + 2, end)
    .replaceAll(/&([a-z]+);/g, (whole, entity: string) => ENTITIES[entity] ?? whole);
}

/** What the store itself says, in one line. */
function wordsOf(bytes: Buffer): string {
  const text = bytes.toString('utf8').slice(0, 4_000);
  const words = [textIn(text, 'Code'), textIn(text, 'Message')].filter((part) => part !== '').join(': ');
  return words === '' ? '' : ` (${words.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 300)})`;
}
