// The decision of one host at one instant: findings with reasons, and what is to be done next. Pure: the same signed
// documents, inventory, memory and trusted time give the same bytes on every machine, in every zone and locale.
import {
  type Catalog,
  canonicalJson,
  type Group,
  type Inventory,
  PATCH_STATES,
  type Patch,
  type PatchFinding,
  type PatchState,
  type ResolvedBaseline,
  type ScanBody,
  sha256Of,
} from '#manifests/schema';
import { applicability, type Fit } from './applicable.ts';
import { nextAction } from './next.ts';
import { type Policy, policyOf } from './standing.ts';
import { type HostMemory, type Judgement, judge } from './states.ts';
import { type Candidate, replacements } from './superseded.ts';
import { byText, momentOf, oneLine } from './text.ts';
import { type WindowState, windowState } from './window.ts';

export interface DecideInput {
  readonly catalogs: readonly Catalog[];
  readonly baselines: readonly ResolvedBaseline[];
  /** The group this host is in; null means that it decides nothing and installs nothing. */
  readonly group: Group | null;
  readonly inventory: Inventory;
  readonly memory: HostMemory;
  /** Milliseconds of trusted time. */
  readonly at: number;
  readonly freshness: { readonly softExpired: boolean; readonly hardExpired: boolean };
}

/** One package to be installed. */
export interface InstallPackage {
  readonly name: string;
  readonly arch: string;
  readonly from: string | null;
  readonly to: string;
  readonly sha256: string;
  readonly size: number;
  readonly path: string;
  readonly repository: string;
  readonly patch: string;
  readonly format: Patch['format'];
}

/** A package that a baseline rejects with `block`: nothing may install it, nor anything that needs it. */
export interface BlockedPackage {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly patch: string;
  readonly baseline: string;
}

export interface Evaluation {
  readonly at: string;
  readonly product: string | null;
  readonly group: string | null;
  /** What it was decided by. */
  readonly baselines: readonly Pick<
    ResolvedBaseline,
    'name' | 'product' | 'baselineSha256' | 'catalogSha256' | 'evaluatedAt'
  >[];
  /** Patches of which something is (or, for own software, belongs) on the host, sorted by patch id. */
  readonly findings: readonly PatchFinding[];
  /** Of every patch of the catalogs; NOT_APPLICABLE holds those too that are not among the findings. */
  readonly counts: Readonly<Record<PatchState, number>>;
  /** Findings that make the host non-compliant: at level critical, else security patches, else the others. */
  readonly nonCompliant: { readonly critical: number; readonly security: number; readonly other: number };
  readonly compliant: boolean;
  readonly next: ScanBody['next'];
  /** Patch ids to install, now or when the window opens, sorted; empty when nothing may be installed. */
  readonly install: readonly string[];
  /** Their packages, sorted by name and architecture. */
  readonly packages: readonly InstallPackage[];
  /** `setDigest` of the two above: how a set is remembered that was taken back. */
  readonly digest: string;
  /** What an installation may not bring in, not even as a dependency; checked by `blockedIn`. */
  readonly blocked: readonly BlockedPackage[];
  readonly window: WindowState;
  readonly notes: readonly string[];
}

/** How a set is told from another: its patches and the exact packages that would come (trap 11). */
export function setDigest(set: Pick<Evaluation, 'install' | 'packages'>): string {
  const packages = set.packages.map(({ name, arch, to, sha256 }) => `${name}:${arch}=${to} ${sha256}`).toSorted();
  return sha256Of(canonicalJson({ patches: [...set.install].toSorted(), packages }));
}

/** Digest of patch ids alone: a set remembered by this is not tried again whatever its packages are. */
export function patchSetDigest(patches: readonly string[]): string {
  return sha256Of([...new Set(patches)].toSorted(byText).join('\n'));
}

/** Decides. Never throws for valid documents: what cannot be decided is a note, and then nothing is installed for it. */
export function evaluate(input: DecideInput): Evaluation {
  const { group, inventory, at, memory } = input;
  const policy = policyOf(group, input.baselines, at);
  const { applicable, others, notes } = applicability(input.catalogs, inventory);
  const candidates = applicable.map((one): Candidate => ({ ...one, standing: policy.standing(one.product, one.patch.id) }));
  const replaced = replacements(candidates);
  const ours = new Set(
    memory.installedByUs.flatMap(({ patch, boot, rebootNeeded }) =>
      boot === inventory.bootId && rebootNeeded !== false ? [patch] : [],
    ),
  );
  const failures = lastFailures(memory);

  const judged = candidates
    .map((candidate) => ({
      candidate,
      judgement: judge(candidate, {
        replaced: replaced.get(candidate) ?? NOTHING_REPLACED,
        rebootPending: ours.has(candidate.patch.id),
        failure: failures.get(candidate.patch.id),
        unapprovedIsCompliant: policy.baselineOf(candidate.product)?.availableSecurityUpdates !== 'non-compliant',
      }),
    }))
    .toSorted((a, b) => byText(a.candidate.patch.id, b.candidate.patch.id) || byText(a.candidate.product, b.candidate.product));

  const wanted = wantedSet(judged);
  const digest = setDigest(wanted);
  const takenBack = memory.rolledBack.find((one) => one.digest === digest || one.digest === patchSetDigest(wanted.install));
  const denied = takenBack !== undefined && wanted.install.length > 0 ? takenBack : undefined;
  const findings = judged.map(({ candidate, judgement }) => findingOf(candidate, judgement, denied));
  const window = windowState(group?.windows ?? [], at, inventory.zone);
  const mayInstall = denied === undefined && !input.freshness.hardExpired;
  const set = mayInstall ? wanted : { install: [], packages: [] };
  const counts = countStates(findings, others);
  return {
    at: momentOf(at),
    product: inventory.product,
    group: group?.name ?? null,
    baselines: (group?.baselines ?? []).flatMap(({ product }) => {
      const found = policy.baselineOf(product);
      if (found === undefined) return [];
      const { name, baselineSha256, catalogSha256, evaluatedAt } = found;
      return [{ name, product, baselineSha256, catalogSha256, evaluatedAt }];
    }),
    findings,
    counts,
    nonCompliant: countNonCompliant(judged, findings),
    compliant: findings.every(({ compliant }) => compliant),
    next: nextAction({ input, wanted: wanted.install.length, denied, window, findings }),
    ...set,
    digest: setDigest(set),
    blocked: blockedPackages(input.catalogs, policy),
    window,
    notes: [...policy.notes, ...notes],
  };
}

const NOTHING_REPLACED: ReadonlyMap<string, string> = new Map();

interface Judged {
  readonly candidate: Candidate;
  readonly judgement: Judgement;
}

function lastFailures(memory: HostMemory): Map<string, { at: string; code: string }> {
  const last = new Map<string, { ms: number; at: string; code: string }>();
  for (const { patch, at, code } of memory.failed) {
    if ((last.get(patch)?.ms ?? Number.NEGATIVE_INFINITY) <= at) last.set(patch, { ms: at, at: momentOf(at), code });
  }
  return last;
}

function wantedSet(judged: readonly Judged[]): { install: string[]; packages: InstallPackage[] } {
  const install = new Set<string>();
  const packages: InstallPackage[] = [];
  for (const { candidate, judgement } of judged) {
    if (judgement.wanted.length === 0) continue;
    const { patch } = candidate;
    install.add(patch.id);
    for (const { item, installed } of judgement.wanted) {
      const { name, arch, version: to, sha256, size, path } = item;
      packages.push({
        name,
        arch,
        from: installed,
        to,
        sha256,
        size,
        path,
        repository: patch.repository,
        patch: patch.id,
        format: patch.format,
      });
    }
  }
  packages.sort((a, b) => byText(a.name, b.name) || byText(a.arch, b.arch) || byText(a.patch, b.patch));
  return { install: [...install].toSorted(byText), packages };
}

function findingOf(
  { patch, product, standing, fits }: Candidate,
  judgement: Judgement,
  denied: HostMemory['rolledBack'][number] | undefined,
): PatchFinding {
  const rolledBack = denied !== undefined && judgement.wanted.length > 0;
  return {
    patch: patch.id,
    product,
    state: rolledBack ? 'ROLLED_BACK' : judgement.state,
    compliant: judgement.compliant,
    level: standing.kind === 'approved' || standing.kind === 'pending' ? standing.level : 'unspecified',
    packages: fits
      .map(({ item, installed }: Fit) => ({ name: item.name, arch: item.arch, from: installed, to: item.version }))
      .toSorted((a, b) => byText(a.name, b.name) || byText(a.arch, b.arch)),
    reasons: rolledBack
      ? [
          oneLine(
            `installed with ${denied.patches.length} patches and taken back at ${momentOf(denied.at)}; not tried again until that set changes`,
          ),
          ...judgement.reasons,
        ]
      : [...judgement.reasons],
    changesAt: judgement.state === 'PENDING_APPROVAL' && standing.kind === 'pending' ? standing.approvesAt : null,
  };
}

function countStates(findings: readonly PatchFinding[], others: number): Record<PatchState, number> {
  const counts = Object.fromEntries(PATCH_STATES.map((state) => [state, 0])) as Record<PatchState, number>;
  for (const { state } of findings) counts[state] += 1;
  counts.NOT_APPLICABLE += others;
  return counts;
}

function countNonCompliant(judged: readonly Judged[], findings: readonly PatchFinding[]): Evaluation['nonCompliant'] {
  const counts = { critical: 0, security: 0, other: 0 };
  for (const [index, finding] of findings.entries()) {
    if (finding.compliant) continue;
    if (finding.level === 'critical') counts.critical += 1;
    else if (judged[index]?.candidate.patch.classification === 'security') counts.security += 1;
    else counts.other += 1;
  }
  return counts;
}

/** All packages of patches rejected with `block`, on the host or not: a dependency may be a package that is not there yet. */
function blockedPackages(catalogs: readonly Catalog[], policy: Policy): BlockedPackage[] {
  const blocked: BlockedPackage[] = [];
  for (const { product, patches } of catalogs) {
    const baseline = policy.baselineOf(product);
    if (baseline === undefined || baseline.rejectedAction !== 'block' || baseline.rejected.length === 0) continue;
    const rejected = new Set(baseline.rejected.map(({ patch }) => patch));
    for (const patch of patches) {
      if (!rejected.has(patch.id)) continue;
      for (const { name, arch, version } of patch.packages)
        blocked.push({ name, arch, version, patch: patch.id, baseline: baseline.name });
    }
  }
  return blocked.toSorted(
    (a, b) => byText(a.name, b.name) || byText(a.version, b.version) || byText(a.arch, b.arch) || byText(a.patch, b.patch),
  );
}
