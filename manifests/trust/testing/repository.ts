// A repository in memory that signs for real, for tests: honest by default, and able to sign anything at all.
import { createHash, hash, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { secretKey } from '../envelope/primitives.ts';
import { generateSigningKey } from '../keys/pairs.ts';
import { memorySigner, type Signer } from '../keys/signers.ts';
import type { Fetcher } from '../refresh.ts';
import { canonicalBytes } from '../verify/canonical.ts';
import type { Kind } from '../verify/forms.ts';
import type { Json, JsonObject } from '../verify/json.ts';
import {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  type DelegationInput,
  type Signed,
  type TargetsInput,
} from '../write/build.ts';
import { sortedBytes } from '../write/bytes.ts';

export const T0 = Date.parse('2026-01-01T00:00:00Z');
export const DAY = 86_400_000;

/** A signer made from a text, so that every run has the same keys. */
export function signerOf(seed: string): Signer {
  const pair = generateSigningKey(() => createHash('sha256').update(`test key ${seed}`).digest());
  const key = secretKey(pair, 'Ed25519');
  // node:crypto instead of tweetnacl: the same signatures a hundred times faster, and these tests make very many.
  return { ...memorySigner(pair), sign: (message) => Promise.resolve(Uint8Array.from(sign(null, message, key))) };
}

/** Signs any object with whoever is given, whatever a writer would say to it. */
export async function signRaw(signed: Json, signers: readonly Signer[]): Promise<Uint8Array> {
  const message = canonicalBytes(signed);
  const signatures = [];
  for (const signer of signers)
    signatures.push({ keyid: signer.keyId, sig: Buffer.from(await signer.sign(message)).toString('hex') });
  return sortedBytes({ signatures, signed });
}

export interface RoleOfTest {
  signers: Signer[];
  threshold: number;
}
export interface DelegatedOfTest extends RoleOfTest {
  name: string;
  by?: string;
  paths?: string[];
  pathHashPrefixes?: string[];
  terminating?: boolean;
}
/** Without a prototype: a role may be named `constructor`. */
const bare = <T extends object>(value: T): T => Object.assign(Object.create(null) as T, value);

type Change = (signed: JsonObject) => Json;

/** Settings of the next publication are plain fields; `publish` turns them into files. */
export class TestRepository {
  readonly files = new Map<string, Uint8Array>();
  readonly requests: string[] = [];
  now = T0;
  consistent = true;
  roles: Record<Kind, RoleOfTest> = {
    root: { signers: [signerOf('root1'), signerOf('root2'), signerOf('root3')], threshold: 2 },
    targets: { signers: [signerOf('targets')], threshold: 1 },
    snapshot: { signers: [signerOf('snapshot')], threshold: 1 },
    timestamp: { signers: [signerOf('timestamp')], threshold: 1 },
  };
  delegated: DelegatedOfTest[] = [];
  bins: (RoleOfTest & { bits: number; prefix: string }) | undefined;
  /** Contents by role and path. */
  contents = new Map<string, Map<string, string>>([['targets', new Map()]]);
  versions: Record<string, number> = bare({ root: 0, timestamp: 0, snapshot: 0, targets: 0 });
  lifetimes: Record<string, number> = bare({ root: 365 * DAY, timestamp: 7 * DAY, snapshot: 30 * DAY, targets: 90 * DAY });
  /** What an attacker or a broken publisher does to the signed part of a role before it is signed. */
  readonly changes = new Map<string, Change>();
  /** Metadata without lengths and hashes in snapshot and timestamp. */
  bare = false;
  private rootSigners: readonly Signer[] = [];

  add(path: string, content = `content of ${path}`, role = 'targets'): this {
    const list = this.contents.get(role) ?? new Map<string, string>();
    this.contents.set(role, list.set(path, content));
    return this;
  }
  delegate(role: DelegatedOfTest): this {
    this.delegated.push(role);
    if (!this.contents.has(role.name)) this.contents.set(role.name, new Map());
    return this;
  }

  async publishRoot(extraSigners: readonly Signer[] = this.rootSigners): Promise<Uint8Array> {
    const version = ++(this.versions as { root: number }).root;
    const keysOf = ({ signers, threshold }: RoleOfTest) => ({ keys: signers.map(({ key }) => key), threshold });
    const roles = {
      root: keysOf(this.roles.root),
      targets: keysOf(this.roles.targets),
      snapshot: keysOf(this.roles.snapshot),
      timestamp: keysOf(this.roles.timestamp),
    };
    const expires = this.now + this.life('root');
    const signed = buildRoot({ version, expires, signedAt: this.now, roles, consistentSnapshot: this.consistent });
    const own = this.roles.root.signers;
    const signers = [...new Map([...extraSigners, ...own].map((item) => [item.keyId, item])).values()];
    this.rootSigners = own;
    const bytes = await signRaw(this.changed('root', signed), signers);
    this.files.set(`metadata/${version}.root.json`, bytes);
    return bytes;
  }

  async publish(only?: 'timestamp'): Promise<this> {
    if (this.versions['root'] === 0) await this.publishRoot();
    if (only === undefined) await this.publishTargets();
    await this.publishTimestamp();
    return this;
  }

  private async publishTargets(): Promise<void> {
    const meta: Record<string, { version: number; length?: number; sha256?: string }> = bare({});
    for (const [name, list] of this.contents) {
      const input: TargetsInput = {
        version: this.next(name),
        expires: this.now + this.life(name),
        signedAt: this.now,
        targets: [...list].map(([path, content]) => ({
          path,
          length: Buffer.byteLength(content),
          sha256: hash('sha256', content),
        })),
        ...this.delegationsOf(name),
      };
      const bytes = await signRaw(this.changed(name, buildTargets(input)), this.signersOf(name));
      this.put(name, input.version, bytes);
      meta[name] = this.bare
        ? { version: input.version }
        : { version: input.version, length: bytes.length, sha256: hash('sha256', bytes) };
      for (const [path, content] of list) this.putTarget(path, content);
    }
    const version = this.next('snapshot');
    const snapshot = buildSnapshot({ version, expires: this.now + this.life('snapshot'), signedAt: this.now, meta });
    this.put('snapshot', version, await signRaw(this.changed('snapshot', snapshot), this.roles.snapshot.signers));
  }

  async publishTimestamp(): Promise<void> {
    const version = this.versions['snapshot'] ?? 0;
    const bytes = this.get('snapshot', version);
    const snapshot = this.bare ? { version } : { version, length: bytes.length, sha256: hash('sha256', bytes) };
    const expires = this.now + this.life('timestamp');
    const softExpires = this.now + this.life('timestamp') / 2;
    const timestamp = buildTimestamp({ version: this.next('timestamp'), expires, signedAt: this.now, softExpires, snapshot });
    this.files.set(
      'metadata/timestamp.json',
      await signRaw(this.changed('timestamp', timestamp), this.roles.timestamp.signers),
    );
  }

  private next(name: string): number {
    this.versions[name] = (this.versions[name] ?? 0) + 1;
    return this.versions[name];
  }
  private life(name: string): number {
    return this.lifetimes[name] ?? this.lifetimes['targets'] ?? 0;
  }
  private changed(name: string, signed: Signed): Json {
    return this.changes.get(name)?.(structuredClone(signed) as JsonObject) ?? signed;
  }
  private signersOf(name: string): readonly Signer[] {
    if (name === 'targets') return this.roles.targets.signers;
    return this.delegated.find((item) => item.name === name)?.signers ?? this.bins?.signers ?? [];
  }
  private delegationsOf(name: string): Pick<TargetsInput, 'delegations' | 'bins'> {
    const keysOf = ({ signers, threshold }: RoleOfTest) => ({ keys: signers.map(({ key }) => key), threshold });
    if (name === 'targets' && this.bins !== undefined) {
      return { bins: { ...keysOf(this.bins), bits: this.bins.bits, prefix: this.bins.prefix } };
    }
    const roles = this.delegated.filter(({ by }) => (by ?? 'targets') === name);
    if (roles.length === 0) return {};
    return {
      delegations: roles.map(
        ({ name: role, paths, pathHashPrefixes, terminating, ...rest }): DelegationInput => ({
          name: role,
          ...keysOf(rest),
          terminating: terminating ?? false,
          ...(paths !== undefined && { paths }),
          ...(pathHashPrefixes !== undefined && { pathHashPrefixes }),
        }),
      ),
    };
  }
  pathOf(name: string, version: number): string {
    return `metadata/${this.consistent ? `${version}.` : ''}${encodeURIComponent(name)}.json`;
  }
  put(name: string, version: number, bytes: Uint8Array): void {
    this.files.set(this.pathOf(name, version), bytes);
  }
  get(name: string, version = this.versions[name] ?? 0): Uint8Array {
    const path =
      name === 'root'
        ? `metadata/${version}.root.json`
        : name === 'timestamp'
          ? 'metadata/timestamp.json'
          : this.pathOf(name, version);
    return this.files.get(path) ?? new Uint8Array(0);
  }
  targetPath(path: string, content: string): string {
    const parts = path.split('/');
    const base = parts.pop() ?? '';
    return ['targets', ...parts, this.consistent ? `${hash('sha256', content)}.${base}` : base].join('/');
  }
  putTarget(path: string, content: string): void {
    this.files.set(this.targetPath(path, content), Buffer.from(content));
  }

  /** Serves the files as they are now; answers 304 to an equal ETag. Does not enforce limits: the client must. */
  readonly fetcher: Fetcher = {
    fetchSmall: (path, { etag }) => {
      this.requests.push(path);
      const bytes = this.files.get(path);
      if (bytes === undefined) return Promise.resolve({ kind: 'missing' });
      const tag = hash('sha256', bytes);
      return Promise.resolve(tag === etag ? { kind: 'unchanged' } : { kind: 'found', bytes, etag: tag });
    },
  };
}

/** A temporary folder for one test, removed after it. */
export function temporaryFolder(context: { after(fn: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'patchferry-trust-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
