// For tests: a small publisher that signs a real repository with real keys for one host, offering own software as archives.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { create } from 'tar';
import { utcSeconds } from '#manifests/platform/clock';
import { metadataPath, openPayloadStore, publishFiles, targetFilePath } from '#manifests/repository';
import {
  type Ack,
  type Catalog,
  type DocumentKind,
  type DocumentOf,
  decodePlain,
  encodeDocument,
  type Group,
  type Patch,
  type Result,
  type RosterAgent,
  type SignedDelegation,
  type SignedHalt,
  type SignedOverlay,
  type SignedRecall,
  type SignedWaiver,
  sha256Of,
  type WaiverAnswer,
} from '#manifests/schema';
import {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  envelopeHash,
  generateBoxKey,
  generateSigningKey,
  memorySigner,
  openEnvelope,
  type Signed,
  signMetadata,
} from '#manifests/trust';

const DAY = 86_400_000;
const PRODUCT = 'own-tool';

export interface Release {
  /** Name of the component, `tool` unless told. */
  readonly name?: string;
  readonly version: string;
  /** Content of the one file `tool` inside. */
  readonly content: string;
  /** The payload is what the catalog says it is, and yet no archive that can be unpacked. */
  readonly damaged?: boolean;
  readonly cves?: readonly string[];
  readonly urgency?: 'normal' | 'emergency';
  readonly deadline?: string;
}

export interface Publication {
  readonly releases: readonly Release[];
  readonly members: readonly RosterAgent[];
  readonly group?: Partial<Group>;
  readonly acks?: readonly Ack[];
  /** Signed by the halts role, whatever they say. */
  readonly stops?: readonly (SignedHalt | SignedRecall)[];
  /** Signed by the policy role. */
  readonly recalls?: readonly SignedRecall[];
  /** As they are: the approvals inside are the test's. */
  readonly waivers?: readonly SignedWaiver[];
  /** To requests for waivers. */
  readonly answers?: readonly WaiverAnswer[];
  /** Its overlay is signed with a key of the site. */
  readonly site?: { readonly delegation: SignedDelegation; readonly overlay: SignedOverlay };
  /** Further documents of the policy role, by target path. */
  readonly policy?: Readonly<Record<string, Uint8Array>>;
  /** TUF's own expiry, ms. */
  readonly expires?: number;
}

export interface TestPublisher {
  readonly repository: string;
  readonly rootFile: string;
  readonly recipient: { readonly publicKey: string; readonly secretKey: Uint8Array };
  publish(publication: Publication): Promise<void>;
}

/** A window that is always open, in one piece of a week. */
const ALWAYS: Group['windows'][number] = {
  name: 'always',
  days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
  start: '00:00',
  durationMinutes: 10_080,
  cutoffMinutes: 0,
  zone: 'UTC',
  validFrom: null,
  validUntil: null,
};

const DELEGATED = ['catalog', 'policy', 'roster', 'halts', 'waivers', 'site-yard'] as const;
const ROLES = ['root', 'targets', 'snapshot', 'timestamp', ...DELEGATED] as const;
type Role = (typeof ROLES)[number];

export async function makePublisher(folder: string): Promise<TestPublisher> {
  const repository = join(folder, 'repository');
  const signers = new Map(ROLES.map((role) => [role, memorySigner(generateSigningKey())]));
  const signer = (role: Role) => {
    const found = signers.get(role);
    if (found === undefined) throw new Error(role);
    return found;
  };
  const keys = (role: Role) => ({ keys: [signer(role).key], threshold: 1 });
  const recipient = generateBoxKey();
  const far = Date.now() + 400 * DAY;
  const root = await signMetadata(
    buildRoot({
      version: 1,
      expires: far,
      roles: { root: keys('root'), targets: keys('targets'), snapshot: keys('snapshot'), timestamp: keys('timestamp') },
    }),
    [signer('root')],
  );
  const rootFile = join(folder, 'root.json');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(rootFile, root);
  const store = openPayloadStore(join(repository, 'payloads'));
  let version = 0;

  return {
    repository,
    rootFile,
    recipient,
    async publish(publication) {
      const { releases, members, group = {}, acks = [], policy = {}, expires = far } = publication;
      version += 1;
      const at = utcSeconds(Date.now() - 1_000);
      const patches: Patch[] = [];
      for (const release of releases) {
        const bytes = release.damaged === true ? Buffer.from(release.content) : await archiveOf(folder, release);
        const sha256 = sha256Of(bytes);
        const file = join(folder, `.in-${sha256}`);
        fs.writeFileSync(file, bytes);
        await store.put(sha256, bytes.length, file, { move: true });
        patches.push(patchOf(release, sha256, bytes.length, at));
      }
      const approved = patches.map(({ id }, index) => ({
        patch: id,
        rule: 'all',
        reason: 'own software',
        level: 'high' as const,
        explicit: false,
        approvedAt: at,
        urgency: releases[index]?.urgency ?? ('normal' as const),
        ...(releases[index]?.deadline === undefined ? {} : { deadline: releases[index].deadline }),
      }));
      const catalog: Catalog = {
        schema: 'patchferry/catalog',
        schemaVersion: 1,
        product: PRODUCT,
        generatedAt: at,
        repositories: [
          { name: 'own', format: 'folder', suite: '', components: [], architectures: [], indexes: [], syncedAt: at },
        ],
        patches,
      };
      const documents: [Role, string, Uint8Array][] = [
        ['catalog', `catalogs/${PRODUCT}.json.zst`, encodeDocument('catalog', catalog)],
        [
          'policy',
          'policy/baselines/own.json.zst',
          encodeDocument('resolved-baseline', {
            schema: 'patchferry/resolved-baseline',
            schemaVersion: 1,
            name: 'own',
            product: PRODUCT,
            baselineSha256: sha256Of('baseline'),
            catalogSha256: sha256Of('catalog'),
            evaluatedAt: at,
            approved,
            pending: [],
            rejected: [],
            rejectedAction: 'block',
            availableSecurityUpdates: 'compliant',
          }),
        ],
        ['policy', 'policy/groups/site.json.zst', encodeDocument('group', groupOf(at, group))],
        ...Object.entries(policy).map(([path, bytes]): [Role, string, Uint8Array] => ['policy', path, bytes]),
        [
          'roster',
          'roster/roster.json.zst',
          encodeDocument('roster', {
            schema: 'patchferry/roster',
            schemaVersion: 1,
            signedAt: at,
            agents: [...members],
            recipients: [{ name: 'collector', boxKey: recipient.publicKey }],
          }),
        ],
        [
          'roster',
          'roster/acks.json.zst',
          encodeDocument('acks', { schema: 'patchferry/acks', schemaVersion: 1, signedAt: at, acks: [...acks] }),
        ],
      ];
      await write([...documents, ...exceptional(publication)], expires);
    },
  };

  async function write(documents: readonly [Role, string, Uint8Array][], expires: number): Promise<void> {
    const files = [{ path: metadataPath('1.root.json'), bytes: root }];
    const meta: Record<string, { version: number; length: number; sha256: string }> = {};
    const add = async (role: Role, signed: Signed) => {
      const bytes = await signMetadata(signed, [signer(role)]);
      files.push({ path: metadataPath(`${version}.${role}.json`), bytes });
      meta[role] = { version, length: bytes.length, sha256: sha256Of(bytes) };
    };
    for (const role of DELEGATED) {
      const own = documents.filter(([owner]) => owner === role);
      const targets = own.map(([, path, bytes]) => ({ path, length: bytes.length, sha256: sha256Of(bytes) }));
      await add(role, buildTargets({ version, expires, targets }));
      for (const [, path, bytes] of own) files.push({ path: targetFilePath(path, sha256Of(bytes)), bytes });
    }
    await add(
      'targets',
      buildTargets({
        version,
        expires,
        delegations: [
          { name: 'catalog', ...keys('catalog'), paths: ['catalogs/*'] },
          {
            name: 'policy',
            ...keys('policy'),
            paths: ['policy/baselines/*', 'policy/groups/*', 'policy/recalls/*', 'policy/sites/*'],
          },
          { name: 'roster', ...keys('roster'), paths: ['roster/*'] },
          { name: 'halts', ...keys('halts'), paths: ['halts/*'] },
          { name: 'waivers', ...keys('waivers'), paths: ['waivers/*', 'answers/*'] },
          { name: 'site-yard', ...keys('site-yard'), paths: ['sites/yard/*'] },
        ],
      }),
    );
    const snapshot = await signMetadata(buildSnapshot({ version, expires, meta }), [signer('snapshot')]);
    files.push({ path: metadataPath(`${version}.snapshot.json`), bytes: snapshot });
    const named = { version, length: snapshot.length, sha256: sha256Of(snapshot) };
    const timestamp = await signMetadata(
      buildTimestamp({ version, expires, signedAt: Math.min(Date.now(), expires) - 1_000, snapshot: named }),
      [signer('timestamp')],
    );
    publishFiles(repository, files, [{ path: metadataPath('timestamp.json'), bytes: timestamp }]);
  }
}

/** Halts, recalls, waivers and what a site adds, as documents with the role that signs each. */
function exceptional({
  stops = [],
  recalls = [],
  waivers = [],
  answers = [],
  site,
}: Publication): [Role, string, Uint8Array][] {
  return [
    ...stops.map((stop): [Role, string, Uint8Array] => [
      'halts',
      `halts/${stop.name}.json.zst`,
      'stops' in stop ? encodeDocument('halt', stop) : encodeDocument('recall', stop),
    ]),
    ...recalls.map((one): [Role, string, Uint8Array] => [
      'policy',
      `policy/recalls/${one.name}.json.zst`,
      encodeDocument('recall', one),
    ]),
    ...waivers.map((one): [Role, string, Uint8Array] => [
      'waivers',
      `waivers/${one.name}.json.zst`,
      encodeDocument('waiver', one),
    ]),
    ...(answers.length === 0
      ? []
      : ([
          [
            'waivers',
            'answers/waivers.json.zst',
            encodeDocument('waiver-answers', { schema: 'patchferry/waiver-answers', schemaVersion: 1, answers: [...answers] }),
          ],
        ] satisfies [Role, string, Uint8Array][])),
    ...(site === undefined
      ? []
      : ([
          ['policy', 'policy/sites/yard.json.zst', encodeDocument('site-delegation', site.delegation)],
          ['site-yard', 'sites/yard/overlay.json.zst', encodeDocument('site-overlay', site.overlay)],
        ] satisfies [Role, string, Uint8Array][])),
  ];
}

async function archiveOf(folder: string, { content }: Release): Promise<Buffer> {
  const place = fs.mkdtempSync(join(folder, 'pack-'));
  fs.writeFileSync(join(place, 'tool'), content);
  const chunks: Buffer[] = [];
  for await (const chunk of create({ cwd: place, gzip: true, portable: true, mtime: new Date(0) }, ['tool']))
    chunks.push(chunk);
  fs.rmSync(place, { recursive: true });
  return Buffer.concat(chunks);
}

function patchOf({ name = 'tool', version, cves = [] }: Release, sha256: string, size: number, at: string): Patch {
  return {
    id: `${name}@${version}`,
    format: 'archive',
    source: name,
    version,
    title: `${name} ${version}`,
    classification: 'security',
    severity: 'high',
    section: '',
    priority: '',
    repository: 'own',
    cves: [...cves],
    advisories: [],
    firstSeen: at,
    released: null,
    updated: null,
    packages: [{ name, version, arch: 'all', sha256, size, path: `${name}-${version}.tar.gz` }],
  };
}

function groupOf(at: string, changes: Partial<Group>): Group {
  return {
    schema: 'patchferry/group',
    schemaVersion: 1,
    name: 'site',
    signedAt: at,
    baselines: [{ product: PRODUCT, baseline: 'own' }],
    windows: [ALWAYS],
    reboot: 'never',
    health: [],
    wayBack: 'required',
    pollMinutes: 60,
    freeBytes: 0,
    newDependencies: 'allow',
    removals: 'refuse',
    ...changes,
  };
}

/** A roster entry for an agent with these keys. */
export function memberOf(agent: { id: string; signKey: string; boxKey: string }): RosterAgent {
  return { ...agent, title: 'a host', group: 'site', labels: {}, status: 'approved', since: utcSeconds(Date.now() - 60_000) };
}

/** Opens what arrived, in order of sequence; the same envelope twice counts once. */
export function openAll(envelopes: readonly Uint8Array[], publisher: TestPublisher): { hash: string; result: Result }[] {
  const byHash = new Map(envelopes.map((bytes) => [envelopeHash(bytes), bytes]));
  return [...byHash]
    .map(([hash, bytes]) => ({ hash, result: read('result', openEnvelope(bytes, { recipient: publisher.recipient }).body) }))
    .toSorted((a, b) => a.result.sequence - b.result.sequence);
}

function read<K extends DocumentKind>(kind: K, bytes: Uint8Array): DocumentOf<K> {
  return decodePlain(kind, bytes, 'a sealed result');
}

/** An activation code that is well formed; what it proves is the publisher's matter. */
export function anyCode(): string {
  return Array.from(randomBytes(40), (byte) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[byte & 31]).join('');
}
