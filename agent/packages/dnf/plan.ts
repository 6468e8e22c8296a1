// What dnf would do for the approved packages, by its own resolver, and what of it policy and the administrator allow.
import type { Catalog } from '#manifests/schema';
import { isHeld, type RpmEntry, readRpmEntries, readRpmHolds } from '../../inventory/index.ts';
import { admit } from '../admit.ts';
import { fault } from '../host.ts';
import type { HostContext, InstallItem, InstallPlan, NamedVersion, PlannedPayload, PlanPolicy } from '../system.ts';
import { parseTransaction, problemsOf, type Row, type Transaction } from './output.ts';
import { parseTransaction5, problemsOf5 } from './output5.ts';
import { type DnfFolder, layOut, runDnf } from './repository.ts';

type KeptBack = InstallPlan['keptBack'][number];

/** Unpacked bytes of a new package by its packed ones, where no older version tells. */
const UNPACKED_FACTOR = 4;

export interface Wanted {
  readonly name: string;
  readonly arch: string;
  readonly to: string;
}

const keyOf = ({ name, arch }: { name: string; arch: string }) => `${name}:${arch}`;
const versionKey = ({ name, arch, to }: Wanted) => `${name}:${arch}=${to}`;
const wantedOf = ({ name, arch, version }: Omit<Row, 'repository'>): Wanted => ({ name, arch, to: version });

/** A package as dnf takes it on its command line: name-[epoch:]version-release.arch. */
export const nevra = ({ name, arch, to }: Wanted) => `${name}-${to}.${arch}`;

/** What dnf is asked to do: upgrading keeps its note of why a package is there; only what is not there at all is installed. */
function verbFor(wanted: readonly Wanted[], installed: readonly RpmEntry[]): 'upgrade' | 'install' {
  const names = new Set(installed.map(({ name }) => name));
  return wanted.every(({ name }) => names.has(name)) ? 'upgrade' : 'install';
}

/** The command that has exactly these versions installed. @param erasing whether other packages may be removed for it */
export function changeArguments(wanted: readonly Wanted[], installed: readonly RpmEntry[], erasing: boolean): string[] {
  return [verbFor(wanted, installed), ...(erasing ? ['--allowerasing'] : []), ...wanted.map(nevra)];
}

/** Simulates the installation of exactly these versions. @param erasing whether other packages may be removed for it */
export async function simulate(
  context: HostContext,
  dnf: DnfFolder,
  wanted: readonly Wanted[],
  installed: readonly RpmEntry[],
  erasing: boolean,
): Promise<{ ok: true; transaction: Transaction } | { ok: false; says: string }> {
  const nothing: Transaction = { installs: [], removals: [], downgrades: [], enabling: [] };
  if (wanted.length === 0) return { ok: true, transaction: nothing };
  const { stdout, stderr } = await runDnf(context, dnf, changeArguments(wanted, installed, erasing));
  const four = dnf.program.generation === 4;
  const transaction = four ? parseTransaction(stdout) : parseTransaction5(stdout);
  if (transaction === undefined) return { ok: false, says: four ? problemsOf(stdout, stderr) : problemsOf5(stderr) };
  const planned = new Set(transaction.installs.map((row) => versionKey(wantedOf(row))));
  const absent = wanted.filter((one) => !planned.has(versionKey(one)));
  if (absent.length > 0) {
    return { ok: false, says: `dnf would not install ${absent.map(nevra).join(', ').slice(0, 300)} (excluded or not listed)` };
  }
  return { ok: true, transaction };
}

/** What a set of items leads to beyond itself, and whether policy takes it. */
function judge(
  transaction: Transaction,
  items: readonly InstallItem[],
  policy: PlanPolicy,
): { extras: readonly Row[]; objection: string | null } {
  const wanted = new Set(items.map(versionKey));
  const extras = transaction.installs.filter((row) => !wanted.has(versionKey(wantedOf(row))));
  const names = (list: readonly { name: string }[]) =>
    list
      .map(({ name }) => name)
      .join(', ')
      .slice(0, 300);
  if (transaction.downgrades.length > 0) return { extras, objection: `dnf would downgrade ${names(transaction.downgrades)}` };
  if (transaction.enabling.length > 0) {
    const streams = transaction.enabling.join(', ').slice(0, 300);
    return { extras, objection: `dnf would enable the module stream ${streams}, which is the administrator's to do` };
  }
  if (transaction.removals.length > 0 && policy.removals === 'refuse') {
    return { extras, objection: `dnf would remove ${names(transaction.removals)}, which policy refuses` };
  }
  if (extras.length > 0 && policy.newDependencies === 'refuse') {
    return { extras, objection: `it needs ${names(extras)}, which is not approved and policy refuses new dependencies` };
  }
  return { extras, objection: null };
}

/** Every package of the catalogs' RPM repositories, by repository, name, architecture and version. */
function packagesOf(catalogs: readonly Catalog[]): Map<string, PlannedPayload> {
  const known = new Map<string, PlannedPayload>();
  for (const patch of catalogs.flatMap((catalog) => catalog.patches)) {
    if (patch.format !== 'rpm') continue;
    for (const { name, arch, version, sha256, size, path } of patch.packages)
      known.set(`${patch.repository} ${name}:${arch}=${version}`, { sha256, size, path });
  }
  return known;
}

/** Plans the items with the host's own dnf; see PackageSystem.plan. @throws packages.* when dnf or the metadata is at fault */
export async function planDnf(items: readonly InstallItem[], policy: PlanPolicy, context: HostContext): Promise<InstallPlan> {
  const entries = (await readRpmEntries(context.root)) ?? [];
  const there = new Set(entries.map(({ name, arch, version }) => `${name}:${arch}=${version}`));
  const holds = readRpmHolds(context.root);
  const keptBack: KeptBack[] = [];
  const empty: InstallPlan = {
    format: 'rpm',
    items: [],
    newPackages: [],
    removals: [],
    keptBack,
    payloads: [],
    changes: [],
    refused: null,
    diskBytes: 0,
    touches: [],
  };
  const possible = items.filter((item) => {
    if (item.format !== 'rpm' || there.has(versionKey(item))) return false;
    const held = entries.some((entry) => keyOf(entry) === keyOf(item) && isHeld(holds, entry));
    const says = "held by the administrator (exclude or versionlock in the host's dnf settings)";
    if (held) keptBack.push({ name: item.name, arch: item.arch, says });
    return !held;
  });
  const refused = () => {
    const says = keptBack.map((kept) => `${kept.name}: ${kept.says}`).join('; ');
    return says === '' ? empty : { ...empty, refused: { code: 'packages.kept-back', says: says.slice(0, 2_000) } };
  };
  if (possible.length === 0) return refused();

  const erasing = policy.removals === 'allow';
  const dnf = await layOut(context, new Set(possible.map(({ repository }) => repository)), [], !erasing);
  const groups = Map.groupBy(possible, ({ patch }) => patch);
  const { admitted, keptBack: others } = await admit([...groups.values()], async (some) => {
    const result = await simulate(context, dnf, some, entries, erasing);
    return result.ok ? objectionTo(result.transaction, some, policy, context) : result.says;
  });
  keptBack.push(...others);
  if (admitted.length === 0) return refused();

  const final = await simulate(context, dnf, admitted, entries, erasing);
  if (!final.ok) throw fault('dnf-failed', `dnf took the plan and then refused it: ${final.says}`, { where: dnf.folder });
  return planOf(final.transaction, admitted, entries, keptBack, context);
}

/** Policy's word, and besides: what a plan needs must be in the catalogs, or its bytes could not be had. */
function objectionTo(
  transaction: Transaction,
  items: readonly InstallItem[],
  policy: PlanPolicy,
  context: HostContext,
): string | null {
  const { extras, objection } = judge(transaction, items, policy);
  if (objection !== null) return objection;
  const known = packagesOf(context.catalogs);
  const unknown = extras.filter((row) => !known.has(`${row.repository} ${versionKey(wantedOf(row))}`));
  if (unknown.length === 0) return null;
  return `it needs ${unknown
    .map((row) => nevra(wantedOf(row)))
    .join(', ')
    .slice(0, 300)}, which the catalog does not have`;
}

function planOf(
  transaction: Transaction,
  items: readonly InstallItem[],
  entries: readonly RpmEntry[],
  keptBack: readonly KeptBack[],
  context: HostContext,
): InstallPlan {
  const known = packagesOf(context.catalogs);
  const approved = new Map(items.map((item) => [versionKey(item), item]));
  const newPackages: (NamedVersion & PlannedPayload)[] = [];
  const payloads: PlannedPayload[] = [];
  const changes: InstallPlan['changes'][number][] = [];
  let grows = 0;
  let largest = 0;
  for (const row of transaction.installs) {
    const { name, arch, version } = row;
    const key = versionKey(wantedOf(row));
    const item = approved.get(key);
    const payload = item ?? known.get(`${row.repository} ${key}`);
    if (payload === undefined) throw fault('dnf-failed', `dnf wants ${key}, which no catalog has`, { where: name });
    const { sha256, size, path } = payload;
    payloads.push({ sha256, size, path });
    if (item === undefined) newPackages.push({ name, arch, version, sha256, size, path });
    const before = entries.findLast((entry) => keyOf(entry) === keyOf(row)) ?? entries.findLast((entry) => entry.name === name);
    const bytes = Math.max(before?.installedBytes ?? 0, size * UNPACKED_FACTOR);
    grows += bytes - (before === undefined || before.installOnly ? 0 : before.installedBytes);
    largest = Math.max(largest, bytes);
    changes.push({ name, arch, from: before?.version ?? null, to: version });
  }
  for (const { name, arch, version } of transaction.removals) {
    // A kernel that makes room for a new one: the package itself stays, in newer versions.
    if (!changes.some((change) => change.name === name && change.arch === arch))
      changes.push({ name, arch, from: version, to: null });
  }
  const boot = transaction.installs.some(({ name }) => name.startsWith('kernel'));
  return {
    format: 'rpm',
    items,
    newPackages,
    removals: transaction.removals,
    keptBack,
    payloads,
    changes,
    refused: null,
    // rpm keeps old and new files side by side while it works.
    diskBytes: Math.max(0, grows) + largest,
    touches: ['/etc', '/usr', '/var', ...(boot ? ['/boot'] : [])],
  };
}
