// For tests: a small publisher that signs a real repository with real keys, and an agent that seals real results.
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { utcSeconds } from '#manifests/platform/clock';
import { metadataPath, openPayloadStore, publishFiles, targetFilePath } from '#manifests/repository';
import { type Catalog, encodeDocument, type ResolvedBaseline, type Roster } from '#manifests/schema';
import {
  agentIdOf,
  type BoxKeyPair,
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  generateBoxKey,
  generateSigningKey,
  memorySigner,
  type Signed,
  type SigningKeyPair,
  sealEnvelope,
  signMetadata,
} from '#manifests/trust';

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

const DAY = 86_400_000;

export interface TestPatch {
  readonly id: string;
  readonly bytes: Uint8Array;
  /** Listed as: */
  readonly as: 'approved' | 'pending' | 'neither';
  /** Named but not put into the publisher's store. */
  readonly absent?: boolean;
}

export interface TestContent {
  readonly patches: readonly TestPatch[];
  /** A vendor's index file. */
  readonly index?: Uint8Array;
  readonly agents?: readonly TestAgent[];
  readonly revoked?: readonly TestAgent[];
  /** What agents are called, by id; else their id. */
  readonly titles?: Readonly<Record<string, string>>;
  /** Where agents stand, by id. */
  readonly sites?: Readonly<Record<string, string>>;
  /** Further signed documents of the role `policy`, by path. */
  readonly policy?: Readonly<Record<string, Uint8Array>>;
  /** Further signed documents of the role `waivers` (here it may sign halts too), by path. */
  readonly others?: Readonly<Record<string, Uint8Array>>;
}

export interface TestPublisher {
  readonly folder: string;
  /** Path of the first root. */
  readonly root: string;
  readonly collector: BoxKeyPair;
  /** Writes the next version of everything. */
  publish(content: TestContent, options?: { softExpires?: number; expires?: number }): Promise<void>;
}

export interface TestAgent {
  readonly id: string;
  readonly signKey: SigningKeyPair;
  readonly boxKey: BoxKeyPair;
  result(sequence: number, body?: Uint8Array, kind?: 'result' | 'waiver-request'): Uint8Array;
  enrolment(): Uint8Array;
}

/** A publisher in `folder` (the repository is below it), with keys of its own. */
export async function makePublisher(folder: string, now: () => number = Date.now): Promise<TestPublisher> {
  const repository = join(folder, 'repository');
  const roles = ['root', 'targets', 'snapshot', 'timestamp', 'policy', 'catalog', 'waivers', 'roster'] as const;
  const signers = Object.fromEntries(roles.map((role) => [role, memorySigner(generateSigningKey())])) as Record<
    (typeof roles)[number],
    ReturnType<typeof memorySigner>
  >;
  const keysOf = (role: (typeof roles)[number]) => ({ keys: [signers[role].key], threshold: 1 });
  const collector = generateBoxKey();
  const far = now() + 400 * DAY;
  const root = await signMetadata(
    buildRoot({
      version: 1,
      expires: far,
      roles: { root: keysOf('root'), targets: keysOf('targets'), snapshot: keysOf('snapshot'), timestamp: keysOf('timestamp') },
    }),
    [signers.root],
  );
  fs.mkdirSync(folder, { recursive: true });
  const rootFile = join(folder, 'root.json');
  fs.writeFileSync(rootFile, root);
  let version = 0;
  const store = openPayloadStore(join(repository, 'payloads'));

  async function put(bytes: Uint8Array): Promise<{ sha256: string; size: number }> {
    const hash = sha256(bytes);
    await store.put(
      hash,
      bytes.length,
      (async function* () {
        yield bytes;
      })(),
    );
    return { sha256: hash, size: bytes.length };
  }

  return {
    folder: repository,
    root: rootFile,
    collector,
    async publish(content, { softExpires, expires = far } = {}) {
      version += 1;
      const at = utcSeconds(now());
      for (const patch of content.patches) if (patch.absent !== true) await put(patch.bytes);
      const index = await put(content.index ?? Buffer.from('Origin: test\n'));
      const documents: Record<'catalog' | 'policy' | 'roster' | 'waivers', Record<string, Uint8Array>> = {
        catalog: { 'catalogs/test-1.json.zst': encodeDocument('catalog', catalogOf(content, index, at)) },
        policy: {
          'policy/baselines/base.json.zst': encodeDocument('resolved-baseline', baselineOf(content, at)),
          ...content.policy,
        },
        roster: { 'roster/roster.json.zst': encodeDocument('roster', rosterOf(content, collector, at)) },
        waivers: { ...content.others },
      };
      const files: { path: string; bytes: Uint8Array }[] = [{ path: metadataPath('1.root.json'), bytes: root }];
      const meta: Record<string, { version: number; length: number; sha256: string }> = {};
      const add = async (role: (typeof roles)[number], signed: Signed) => {
        const bytes = await signMetadata(signed, [signers[role]]);
        files.push({ path: metadataPath(`${version}.${role}.json`), bytes });
        meta[role] = { version, length: bytes.length, sha256: sha256(bytes) };
      };
      for (const [role, each] of Object.entries(documents) as [keyof typeof documents, Record<string, Uint8Array>][]) {
        const targets = Object.entries(each).map(([path, bytes]) => ({ path, length: bytes.length, sha256: sha256(bytes) }));
        await add(role, buildTargets({ version, expires, targets }));
        for (const [path, bytes] of Object.entries(each)) files.push({ path: targetFilePath(path, sha256(bytes)), bytes });
      }
      await add(
        'targets',
        buildTargets({
          version,
          expires,
          delegations: [
            { name: 'catalog', ...keysOf('catalog'), paths: ['catalogs/*'] },
            { name: 'policy', ...keysOf('policy'), paths: ['policy/baselines/*', 'policy/groups/*', 'policy/sites/*'] },
            { name: 'waivers', ...keysOf('waivers'), paths: ['waivers/*', 'halts/*'] },
            { name: 'roster', ...keysOf('roster'), paths: ['roster/*'] },
          ],
        }),
      );
      const snapshot = await signMetadata(buildSnapshot({ version, expires, meta }), [signers.snapshot]);
      files.push({ path: metadataPath(`${version}.snapshot.json`), bytes: snapshot });
      const timestamp = await signMetadata(
        buildTimestamp({
          version,
          expires,
          snapshot: { version, length: snapshot.length, sha256: sha256(snapshot) },
          softExpires,
        }),
        [signers.timestamp],
      );
      publishFiles(repository, files, [{ path: metadataPath('timestamp.json'), bytes: timestamp }]);
    },
  };
}

/** An agent with keys of its own. */
export function makeAgent(recipient: BoxKeyPair): TestAgent {
  const signKey = generateSigningKey();
  const boxKey = generateBoxKey();
  const id = agentIdOf(signKey.publicKey);
  const common = { agent: id, signKey, recipients: [recipient.publicKey] };
  return {
    id,
    signKey,
    boxKey,
    result: (sequence, body = randomBytes(100), kind = 'result') => sealEnvelope({ ...common, kind, sequence, body }),
    enrolment: () => sealEnvelope({ ...common, kind: 'enrolment', sequence: 0, body: randomBytes(100) }),
  };
}

function catalogOf({ patches }: TestContent, index: { sha256: string; size: number }, at: string): Catalog {
  return {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product: 'test-1',
    generatedAt: at,
    repositories: [
      {
        name: 'vendor',
        format: 'apt',
        suite: 'test',
        components: ['main'],
        architectures: ['amd64'],
        indexes: [{ ...index, path: 'dists/test/InRelease' }],
        syncedAt: at,
      },
    ],
    patches: patches.map(({ id, bytes }) => ({
      id,
      format: 'deb',
      source: id.split('@')[0] ?? id,
      version: id.split('@')[1] ?? '1',
      title: id,
      classification: 'security',
      severity: 'high',
      section: 'main',
      priority: 'optional',
      repository: 'vendor',
      cves: [],
      advisories: [],
      firstSeen: at,
      released: null,
      updated: null,
      packages: [
        {
          name: id.split('@')[0] ?? id,
          version: id.split('@')[1] ?? '1',
          arch: 'all',
          sha256: sha256(bytes),
          size: bytes.length,
          path: `pool/${id.replace('@', '_')}.deb`,
        },
      ],
    })),
  };
}

function baselineOf({ patches }: TestContent, at: string): ResolvedBaseline {
  const row = (patch: string) => ({ patch, rule: 'all', reason: 'test', level: 'high' as const });
  const ids = (as: TestPatch['as']) => patches.filter((patch) => patch.as === as).map(({ id }) => id);
  return {
    schema: 'patchferry/resolved-baseline',
    schemaVersion: 1,
    name: 'base',
    product: 'test-1',
    baselineSha256: sha256('baseline'),
    catalogSha256: sha256('catalog'),
    evaluatedAt: at,
    approved: ids('approved').map((id) => ({ ...row(id), explicit: false, approvedAt: at })),
    pending: ids('pending').map((id) => ({ ...row(id), approvesAt: at })),
    rejected: [],
    rejectedAction: 'block',
    availableSecurityUpdates: 'compliant',
  };
}

function rosterOf(
  { agents = [], revoked = [], titles = {}, sites = {} }: TestContent,
  collector: BoxKeyPair,
  at: string,
): Roster {
  const row = ({ id, signKey, boxKey }: TestAgent, status: 'approved' | 'revoked') => ({
    id,
    title: titles[id] ?? id,
    group: 'all',
    labels: {},
    ...(sites[id] === undefined ? {} : { site: sites[id] }),
    signKey: signKey.publicKey,
    boxKey: boxKey.publicKey,
    status,
    since: at,
  });
  return {
    schema: 'patchferry/roster',
    schemaVersion: 1,
    signedAt: at,
    agents: [...agents.map((agent) => row(agent, 'approved')), ...revoked.map((agent) => row(agent, 'revoked'))],
    recipients: [{ name: 'collector', boxKey: collector.publicKey }],
  };
}
