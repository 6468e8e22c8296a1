// A small signed APT repository for tests: real OpenPGP keys made on the spot, real files, a web server that counts. Tests only.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as openpgp from 'openpgp';

/** When the tests' world is: all keys are made the day before. */
export const T0 = Date.UTC(2026, 5, 1, 12, 0, 0);

const DAY = 86_400_000;

export interface MockKey {
  readonly secret: openpgp.PrivateKey;
  readonly publicBytes: Uint8Array;
}

export async function mockKey(options: { expiresAfterMs?: number } = {}): Promise<MockKey> {
  const { privateKey } = await openpgp.generateKey({
    type: 'ecc',
    curve: 'ed25519Legacy',
    userIDs: [{ name: 'Test archive', email: 'archive@example.org' }],
    date: new Date(T0 - DAY),
    format: 'object',
    ...(options.expiresAfterMs === undefined ? {} : { keyExpirationTime: options.expiresAfterMs / 1000 }),
  });
  return { secret: privateKey, publicBytes: privateKey.toPublic().write() };
}

export interface MockPackage {
  readonly name: string;
  readonly version: string;
  readonly arch?: string;
  readonly source?: string;
  readonly content?: string;
  /** Lines that replace or go beside the usual ones; undefined leaves a field out. */
  readonly fields?: Readonly<Record<string, string | undefined>>;
}

export interface MockRelease {
  readonly date?: number;
  readonly validUntil?: number | null;
  readonly suite?: string;
  readonly codename?: string;
  readonly byHash?: boolean;
  readonly packages?: readonly MockPackage[];
  /** Changes the text of the Release before it is signed. */
  readonly edit?: (text: string) => string;
  /** Changes the text of Packages before it is hashed. */
  readonly editPackages?: (text: string) => string;
}

export const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

const rfc1123 = (at: number) => new Date(at).toUTCString().replace('GMT', 'UTC');

export function stanzaOf(item: MockPackage): string {
  const arch = item.arch ?? 'amd64';
  const content = item.content ?? `${item.name} ${item.version}`;
  const usual: Record<string, string | undefined> = {
    Package: item.name,
    Source: item.source,
    Version: item.version,
    Architecture: arch,
    Filename: `pool/main/${item.name[0]}/${item.name}/${item.name}_${item.version.replace(/^\d+:/, '')}_${arch}.deb`,
    Size: String(content.length),
    SHA256: sha256(content),
    Section: 'utils',
    Priority: 'optional',
    Description: `The ${item.name} of a test\n with a longer text\n .\n in paragraphs`,
    ...item.fields,
  };
  return Object.entries(usual)
    .filter(([, value]) => value !== undefined)
    .map(([field, value]) => `${field}: ${value}\n`)
    .join('');
}

/** Writes (or replaces) the suite in `root` and gives what InRelease and Packages.gz are now. */
export async function writeMockRepository(
  root: string,
  keys: readonly MockKey[],
  release: MockRelease = {},
): Promise<{ inRelease: string }> {
  const suite = release.suite ?? 'test-security';
  const packages = release.packages ?? [
    { name: 'alpha', version: '1.0-1' },
    { name: 'libalpha1', version: '1.0-1+b1', source: 'alpha (1.0-1)' },
    { name: 'alpha-doc', version: '1.0-1', arch: 'all', source: 'alpha' },
    { name: 'beta', version: '2:3.4~rc1-5' },
  ];
  const text = packages.map(stanzaOf).join('\n');
  const plain = Buffer.from(release.editPackages?.(text) ?? text);
  const packed = gzipSync(plain, { level: 9 });
  const base = join(root, 'dists', suite);
  const folder = join(base, 'main', 'binary-amd64');
  fs.rmSync(folder, { recursive: true, force: true });
  const write = (path: string, data: Uint8Array | string) => {
    fs.mkdirSync(dirname(path), { recursive: true });
    fs.writeFileSync(path, data);
  };
  write(join(folder, 'Packages.gz'), packed);
  if (release.byHash !== false) write(join(folder, 'by-hash', 'SHA256', sha256(packed)), packed);
  for (const item of packages) {
    const path = /^Filename: (\S+)$/m.exec(stanzaOf(item))?.[1] ?? '';
    if (/^pool\/(?!.*\.\.)/.test(path)) write(join(root, path), item.content ?? `${item.name} ${item.version}`);
  }
  const date = release.date ?? T0 - 3_600_000;
  const validUntil = release.validUntil === undefined ? date + 7 * DAY : release.validUntil;
  const lines = [
    'Origin: Test',
    'Label: Test',
    `Suite: ${suite}`,
    `Codename: ${release.codename ?? suite}`,
    `Date: ${rfc1123(date)}`,
    ...(validUntil === null ? [] : [`Valid-Until: ${rfc1123(validUntil)}`]),
    ...(release.byHash === false ? [] : ['Acquire-By-Hash: yes']),
    'Architectures: amd64',
    'Components: main',
    'SHA256:',
    ` ${sha256(plain)} ${plain.length} main/binary-amd64/Packages`,
    ` ${sha256(packed)} ${packed.length} main/binary-amd64/Packages.gz`,
  ];
  const signed = `${lines.join('\n')}\n`;
  const inRelease = await clearsign(release.edit?.(signed) ?? signed, keys, Math.min(date, T0));
  write(join(base, 'InRelease'), inRelease);
  return { inRelease };
}

export async function clearsign(text: string, keys: readonly MockKey[], at: number): Promise<string> {
  const message = await openpgp.createCleartextMessage({ text });
  const signed = await openpgp.sign({ message, signingKeys: keys.map(({ secret }) => secret), date: new Date(at) });
  return `${signed.replaceAll('\r\n', '\n').trimEnd()}\n`;
}

export interface MockServer {
  readonly url: string;
  /** `GET path status` of every request so far. */
  readonly requests: string[];
  /** Answers instead of the file, when it returns true. */
  intercept: (path: string, request: http.IncomingMessage, response: http.ServerResponse) => boolean;
  close(): Promise<void>;
}

/** Serves a folder as an ordinary mirror does: strong ETag or only a date, 304, 404. */
export async function serveMock(root: string, options: { etags?: boolean; modified?: string } = {}): Promise<MockServer> {
  const requests: string[] = [];
  const server = http.createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').slice(1));
    response.on('finish', () => requests.push(`${request.method} ${path} ${response.statusCode}`));
    if (mock.intercept(path, request, response)) return;
    const file = join(root, path);
    if (!fs.existsSync(file) || !fs.statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    const bytes = fs.readFileSync(file);
    const etag = `"${sha256(bytes).slice(0, 16)}"`;
    if (options.etags !== false && request.headers['if-none-match'] === etag) {
      response.writeHead(304, { etag }).end();
      return;
    }
    if (options.modified !== undefined && request.headers['if-modified-since'] === options.modified) {
      response.writeHead(304).end();
      return;
    }
    const validators = {
      ...(options.etags === false ? {} : { etag }),
      ...(options.modified === undefined ? {} : { 'last-modified': options.modified }),
    };
    response.writeHead(200, { 'content-length': bytes.length, ...validators }).end(bytes);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve());
  });
  const mock: MockServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    intercept: () => false,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return mock;
}
