// AWS Signature Version 4 for S3, by its published description ("Authenticating Requests: Using the Authorization Header"). Pure.
import { createHash, createHmac } from 'node:crypto';

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

export interface S3Request {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  /** As in the Host header. */
  readonly host: string;
  /** Path with slashes, not encoded yet: `/bucket/metadata/timestamp.json`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Beside host and the ones made here; names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** SHA-256 of the body, hex. */
  readonly bodySha256: string;
}

export const EMPTY_SHA256 = createHash('sha256').update('').digest('hex');

/** As S3 wants names encoded: everything but letters, digits and `-._~`. */
export function encodedPart(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}

export const encodedPath = (path: string): string => path.split('/').map(encodedPart).join('/');

/** Query in the order and encoding that is signed. */
export function encodedQuery(query: Readonly<Record<string, string>> = {}): string {
  return Object.entries(query)
    .map(([name, value]) => [encodedPart(name), encodedPart(value)] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** The headers to send: what was given, what is signed, and the signature. @param at milliseconds */
export function signedHeaders(
  request: S3Request,
  credentials: S3Credentials,
  region: string,
  at: number,
): Record<string, string> {
  const stamp = new Date(at).toISOString().replaceAll(/[:-]|\.\d{3}/g, '');
  const day = stamp.slice(0, 8);
  const headers: Record<string, string> = {
    ...request.headers,
    host: request.host,
    'x-amz-content-sha256': request.bodySha256,
    'x-amz-date': stamp,
    ...(credentials.sessionToken === undefined ? {} : { 'x-amz-security-token': credentials.sessionToken }),
  };
  const names = Object.keys(headers).toSorted();
  const canonical = [
    request.method,
    encodedPath(request.path),
    encodedQuery(request.query),
    ...names.map((name) => `${name}:${(headers[name] ?? '').trim().replaceAll(/ +/g, ' ')}`),
    '',
    names.join(';'),
    request.bodySha256,
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', stamp, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();
  const key = [day, region, 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${credentials.secretAccessKey}`);
  const signature = hmac(key, text).toString('hex');
  return {
    ...headers,
    authorization: `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope},SignedHeaders=${names.join(';')},Signature=${signature}`,
  };
}
