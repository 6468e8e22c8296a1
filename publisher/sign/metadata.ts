// The next TUF metadata of the repository: which roles must be signed anew and why (pure), then their files.

import { metadataPath, type RepositoryFile } from '#manifests/repository';
import { sha256Of } from '#manifests/schema';
import {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  keyIdOf,
  type MetaInput,
  type Signed,
  type Signer,
  signMetadata,
  tufKeyOf,
} from '#manifests/trust';
import { DELEGATED_PATHS, type PublisherSettings, ROLES, type Role, type SiteRole } from '../home.ts';
import type { TargetDocument } from './documents.ts';
import type { KeyRegister, Keyring, RoleKeys } from './keyring.ts';
import type { Published } from './published.ts';

const DAY_MS = 86_400_000;
/** A role is signed anew when less than this share of its life is left. */
const RENEW_SHARE = 1 / 3;
/** The timestamp, when less than this share of its soft life is left. */
const RENEW_SOFT_SHARE = 1 / 2;

type DelegatedRole = keyof typeof DELEGATED_PATHS;
const DELEGATED_ROLES = Object.keys(DELEGATED_PATHS) as DelegatedRole[];
const TOP = ['root', 'targets', 'snapshot', 'timestamp'] as const;

type SignReason = 'first' | 'content' | 'keys' | 'renewal';

export interface RoleStep {
  readonly role: Role;
  readonly why: SignReason;
  readonly version: number;
  /** Milliseconds. */
  readonly expires: number;
  /** Keys the last published metadata names for the role, when they are others: they sign along, so that nobody is locked out. */
  readonly former: RoleKeys | undefined;
}

/** A site's own role: whose keys sign it, and its file as the site signed it. */
export interface SiteSigning {
  readonly role: SiteRole;
  /** Public keys of the delegation, hex; any one of them signs. */
  readonly keys: readonly string[];
  readonly paths: readonly string[];
  /** Null while the site has signed nothing, or nothing that holds. */
  readonly file: { readonly version: number; readonly bytes: Uint8Array } | null;
}

export interface PlanInput {
  readonly published: Published;
  readonly register: KeyRegister;
  readonly documents: readonly TargetDocument[];
  readonly settings: PublisherSettings;
  /** Highest version ever given out for a role, published or not. */
  readonly reserved: Readonly<Partial<Record<Role, number>>>;
  /** Milliseconds. */
  readonly now: number;
  /** Sign the timestamp anew even when nothing changed. */
  readonly refresh: boolean;
  /** Sites that may have a role; those that are published stay as they are when left out. */
  readonly sites?: readonly SiteSigning[] | undefined;
  /** Sign these roles alone, whatever else is due; every role unless told. */
  readonly only?: readonly Role[] | undefined;
}

/** Which roles have to be signed, in the order of `ROLES`; empty when everything is as it should be. */
export function planMetadata(input: PlanInput): RoleStep[] {
  const { published, settings, now } = input;
  const steps = new Map<Role, RoleStep>();
  const plan = (role: Role, why: SignReason) => {
    if (input.only !== undefined && !input.only.includes(role)) return;
    const version = published.files.get(role)?.version ?? 0;
    // A root follows on the last one without a gap (5.3.3); all others may skip versions that were reserved and lost.
    const above = role === 'root' ? version : Math.max(version, input.reserved[role] ?? 0);
    const signed = signedKeys(published, role);
    const former = signed !== undefined && !sameKeys(signed, input.register.roles[role]) ? signed : undefined;
    steps.set(role, { role, why, version: above + 1, expires: now + settings.expiresDays[role] * DAY_MS, former });
  };
  const old = (role: Role) => {
    const file = published.files.get(role);
    return file !== undefined && file.expires - now < settings.expiresDays[role] * DAY_MS * RENEW_SHARE;
  };
  const rekeyed = (role: Role) => {
    const signed = signedKeys(published, role);
    return signed !== undefined && !sameKeys(signed, input.register.roles[role]);
  };

  for (const role of DELEGATED_ROLES) {
    if (!published.files.has(role)) plan(role, 'first');
    else if (contentChanged(published, role, input.documents)) plan(role, 'content');
    else if (rekeyed(role)) plan(role, 'keys');
    else if (old(role)) plan(role, 'renewal');
  }
  if (!published.files.has('targets')) plan('targets', 'first');
  else if (rekeyed('targets') || DELEGATED_ROLES.some(rekeyed)) plan('targets', 'keys');
  else if (delegationsChanged(input)) plan('targets', 'content');
  else if (old('targets')) plan('targets', 'renewal');

  if (TOP.some(rekeyed)) plan('root', 'keys');
  else if (old('root')) plan('root', 'renewal');

  const belowSnapshot = [...steps.keys()].some((role) => role !== 'root') || sitesChanged(input);
  if (!published.files.has('snapshot')) plan('snapshot', 'first');
  else if (belowSnapshot) plan('snapshot', 'content');
  else if (rekeyed('snapshot')) plan('snapshot', 'keys');
  else if (old('snapshot')) plan('snapshot', 'renewal');

  const timestamp = published.files.get('timestamp');
  if (timestamp === undefined) plan('timestamp', 'first');
  else if (steps.has('snapshot')) plan('timestamp', 'content');
  else if (rekeyed('timestamp')) plan('timestamp', 'keys');
  else if (
    input.refresh ||
    softLeft(timestamp.signed, now) < settings.softExpiresDays * DAY_MS * RENEW_SOFT_SHARE ||
    old('timestamp')
  ) {
    plan('timestamp', 'renewal');
  }
  return ROLES.flatMap((role) => steps.get(role) ?? []);
}

/** Signs the roles of a plan. `files` may be written in any order; `last` makes them current, in its order. */
export async function signPlan(
  input: PlanInput,
  steps: readonly RoleStep[],
  keyring: Keyring,
  approved: ReadonlyMap<Role, Uint8Array> = new Map(),
): Promise<{ files: RepositoryFile[]; last: RepositoryFile[] }> {
  const { published, register, now } = input;
  const byRole = new Map(steps.map((step) => [step.role, step]));
  const meta: Record<string, MetaInput> = {};
  const files: RepositoryFile[] = [];
  const last: RepositoryFile[] = [];
  const common = ({ version, expires }: RoleStep) => ({ version, expires, signedAt: now });
  const keysOf = (role: Role) => ({ keys: register.roles[role].keys.map(tufKeyOf), threshold: register.roles[role].threshold });
  const write = async (step: RoleStep, signed: Signed) => {
    const bytes = approved.get(step.role) ?? (await signMetadata(signed, await signersOf(keyring, step)));
    const name = step.role === 'timestamp' ? 'timestamp.json' : `${step.version}.${step.role}.json`;
    const file = { path: metadataPath(name), bytes };
    if (step.role === 'timestamp' || step.role === 'root') last.push(file);
    else files.push(file);
    return { version: step.version, length: bytes.length, sha256: sha256Of(bytes) };
  };
  const settle = async (role: Role, build: (step: RoleStep) => Signed): Promise<MetaInput> => {
    const step = byRole.get(role);
    if (step !== undefined) return write(step, build(step));
    const file = published.files.get(role);
    return { version: file?.version ?? 0, length: file?.bytes.length ?? 0, sha256: sha256Of(file?.bytes ?? '') };
  };

  for (const role of DELEGATED_ROLES) {
    const targets = input.documents
      .filter((document) => document.role === role)
      .map(({ path, bytes, sha256 }) => ({ path, length: bytes.length, sha256 }));
    meta[role] = await settle(role, (step) => buildTargets({ ...common(step), targets }));
  }
  meta['targets'] = await settle('targets', (step) =>
    buildTargets({
      ...common(step),
      delegations: [
        ...DELEGATED_ROLES.map((name) => ({ name, ...keysOf(name), terminating: true, paths: DELEGATED_PATHS[name] })),
        ...delegatedSites(input).map(({ role, keys, paths }) => ({
          name: role,
          keys: keys.map(tufKeyOf),
          threshold: 1,
          terminating: true,
          paths,
        })),
      ],
    }),
  );
  // What a snapshot listed once stays listed (5.5.5), also after its delegation ended.
  for (const [name, entry] of listedBefore(published)) if (!(name in meta) && isSite(name)) meta[name] = entry;
  for (const { role, file } of input.sites ?? []) {
    if (file === null) continue;
    const { version, bytes } = file;
    meta[role] = { version, length: bytes.length, sha256: sha256Of(bytes) };
    if (published.files.get(role)?.version !== version) files.push({ path: metadataPath(`${version}.${role}.json`), bytes });
  }
  const snapshot = await settle('snapshot', (step) => buildSnapshot({ ...common(step), meta }));
  await settle('timestamp', (step) =>
    buildTimestamp({ ...common(step), snapshot, softExpires: now + input.settings.softExpiresDays * DAY_MS }),
  );
  // The root comes last of all: until then the old root holds, and what it names is signed by its keys and the new ones.
  const root = byRole.get('root');
  if (root !== undefined) await write(root, rootOf(register, root, now));
  return { files, last };
}

/** The metadata of a delegated role, unsigned: what approvers put their signatures to. */
export function unsignedRole(input: PlanInput, { role, version, expires }: RoleStep): Promise<Uint8Array> {
  const targets = input.documents
    .filter((document) => document.role === role)
    .map(({ path, bytes, sha256 }) => ({ path, length: bytes.length, sha256 }));
  return signMetadata(buildTargets({ version, expires, signedAt: input.now, targets }), []);
}

/** The root that names these keys. */
export function rootOf(
  register: KeyRegister,
  { version, expires }: Pick<RoleStep, 'version' | 'expires'>,
  now: number,
): Signed {
  const roles = Object.fromEntries(
    TOP.map((role) => [role, { keys: register.roles[role].keys.map(tufKeyOf), threshold: register.roles[role].threshold }]),
  ) as Record<(typeof TOP)[number], { keys: ReturnType<typeof tufKeyOf>[]; threshold: number }>;
  return buildRoot({ version, expires, signedAt: now, roles });
}

async function signersOf(keyring: Keyring, { role, former }: RoleStep): Promise<Signer[]> {
  const { keys, threshold } = keyring.register.roles[role];
  const signers = await keyring.signers(role, keys, threshold);
  if (former === undefined) return signers;
  // A new root needs the old root's threshold (5.3.4). For the others the old keys only bridge the moment of change, so a
  // lost one is no hindrance.
  const bridging = former.keys.filter((key) => !keys.includes(key));
  const kept = former.keys.length - bridging.length;
  const least = role === 'root' ? Math.max(0, former.threshold - kept) : 0;
  return [...signers, ...(await keyring.signers(role, bridging, least))];
}

/** Keys and threshold that the published metadata names for a role. */
export function signedKeys(published: Published, role: Role): RoleKeys | undefined {
  const isTop = (TOP as readonly Role[]).includes(role);
  const signed = published.files.get(isTop ? 'root' : 'targets')?.signed as
    | {
        keys?: TufKeys;
        roles?: Record<string, TufRole>;
        delegations?: { keys: TufKeys; roles: (TufRole & { name: string })[] };
      }
    | undefined;
  const entry = isTop ? signed?.roles?.[role] : signed?.delegations?.roles.find(({ name }) => name === role);
  const keys = isTop ? signed?.keys : signed?.delegations?.keys;
  if (entry === undefined || keys === undefined) return undefined;
  return { threshold: entry.threshold, keys: entry.keyids.flatMap((id) => keys[id]?.keyval.public ?? []) };
}

type TufKeys = Record<string, { keyval: { public: string } }>;
type TufRole = { keyids: string[]; threshold: number };

function sameKeys(a: RoleKeys, b: RoleKeys): boolean {
  const ids = (keys: RoleKeys) =>
    keys.keys
      .map((key) => keyIdOf(tufKeyOf(key)))
      .toSorted()
      .join();
  return a.threshold === b.threshold && ids(a) === ids(b);
}

function contentChanged(published: Published, role: Role, documents: readonly TargetDocument[]): boolean {
  const wanted = documents.filter((document) => document.role === role);
  const here = [...published.targets.values()].filter((target) => target.role === role);
  return here.length !== wanted.length || wanted.some(({ path, sha256 }) => published.targets.get(path)?.sha256 !== sha256);
}

/** Whether the published delegations are others, or allow other paths, than what would be signed now. */
function delegationsChanged(input: PlanInput): boolean {
  const { delegations } = (input.published.files.get('targets')?.signed ?? {}) as {
    delegations?: { keys: TufKeys; roles: (TufRole & { name: string; paths?: string[] })[] };
  };
  const pathsOf = (role: string) => delegations?.roles.find(({ name }) => name === role)?.paths ?? [];
  const other = (a: readonly string[], b: readonly string[]) => a.toSorted().join() !== b.toSorted().join();
  if (DELEGATED_ROLES.some((role) => other(pathsOf(role), DELEGATED_PATHS[role]))) return true;
  if (input.sites === undefined) return false;
  const wanted = delegatedSites(input);
  const here = delegations?.roles.filter(({ name }) => isSite(name)) ?? [];
  return (
    other(
      here.map(({ name }) => name),
      wanted.map(({ role }) => role),
    ) ||
    wanted.some(({ role, keys, paths }) => {
      const ids = here.find(({ name }) => name === role)?.keyids ?? [];
      return (
        other(pathsOf(role), paths) ||
        other(
          ids,
          keys.map((key) => keyIdOf(tufKeyOf(key))),
        )
      );
    })
  );
}

const isSite = (role: string): role is SiteRole => role.startsWith('site-');

/**
 * Sites that are delegated: those whose file is here and holds, and those that have never signed. A site whose listed file does
 * not hold (its key was changed) is left out until it has signed anew, or every host would refuse the whole repository.
 */
function delegatedSites({ published, sites }: PlanInput): readonly SiteSigning[] {
  const listed = listedBefore(published);
  if (sites !== undefined) return sites.filter(({ role, file }) => file !== null || !listed.has(role));
  const { delegations } = (published.files.get('targets')?.signed ?? {}) as {
    delegations?: { keys: TufKeys; roles: (TufRole & { name: string; paths?: string[] })[] };
  };
  return (delegations?.roles ?? []).flatMap(({ name, keyids, paths }) =>
    isSite(name)
      ? [
          {
            role: name,
            keys: keyids.flatMap((id) => delegations?.keys[id]?.keyval.public ?? []),
            paths: paths ?? [],
            file: null,
          },
        ]
      : [],
  );
}

/** Whether a site has signed something that is not published yet. */
function sitesChanged({ published, sites }: PlanInput): boolean {
  const listed = listedBefore(published);
  return (sites ?? []).some(({ role, file }) => file !== null && listed.get(role)?.version !== file.version);
}

/** What the published snapshot lists, by role. */
function listedBefore(published: Published): Map<string, MetaInput> {
  const { meta = {} } = (published.files.get('snapshot')?.signed ?? {}) as {
    meta?: Record<string, { version: number; length?: number; hashes?: { sha256?: string } }>;
  };
  return new Map(
    Object.entries(meta).map(([name, { version, length, hashes }]) => [
      name.replace(/\.json$/, ''),
      {
        version,
        ...(length === undefined ? {} : { length }),
        ...(hashes?.sha256 === undefined ? {} : { sha256: hashes.sha256 }),
      },
    ]),
  );
}

function softLeft(signed: Readonly<Record<string, unknown>>, now: number): number {
  const at = Date.parse(String(signed['softExpires']));
  return Number.isNaN(at) ? 0 : at - now;
}
