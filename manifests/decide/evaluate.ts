// The decision of one host at one instant: findings with reasons, and what is to be done next. Pure: the same signed
// documents, inventory, memory and trusted time give the same bytes on every machine, in every zone and locale.
import {
  canonicalJson,
  PATCH_STATES,
  type PatchFinding,
  type PatchState,
  type Purpose,
  type SignedRecall,
  sha256Of,
} from '#manifests/schema';
import { applicability, type Fit, lacking } from './applicable.ts';
import { blockedPackages } from './blocked.ts';
import type { DecideInput, Evaluation, InstallPackage } from './evaluation.ts';
import { scheduleOf, whoOf } from './host.ts';
import { nextAction } from './next.ts';
import { siteRules } from './overlay.ts';
import { recallSays, recallsOf, rollbackOrder, stopsOf } from './recall.ts';
import { type Hold, holdsOf, isEmergency, isOverdue, releasedAt } from './release.ts';
import { planOf, rollbackWaits, windowsOf } from './schedule.ts';
import { type Policy, policyOf, RECALL, type Standing } from './standing.ts';
import { type HostMemory, type Judgement, judge } from './states.ts';
import { type Candidate, replacements } from './superseded.ts';
import type { Who } from './targeting.ts';
import { byText, momentOf, oneLine } from './text.ts';
import { hostWaivers, waiverCover, waiverNotices } from './waiver.ts';

export type { BlockedPackage, DecideInput, Evaluation, HeldPatch, InstallPackage } from './evaluation.ts';

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
  const who = whoOf(input);
  const labels = who.labels ?? {};
  const lists = policyOf(group, input.baselines, at, { facts: inventory, labels });
  const recalls = recallsOf(input.recalls ?? [], who);
  const { applicable, others, notes } = applicability(input.catalogs, inventory);
  const candidates = applicable.map(
    (one): Candidate => ({ ...one, standing: standingOf(lists, one.product, one.patch.id, recalls(one.patch.id)) }),
  );
  const replaced = replacements(candidates);
  const ours = new Set(
    memory.installedByUs.flatMap(({ patch, boot, rebootNeeded }) =>
      boot === inventory.bootId && rebootNeeded !== false ? [patch] : [],
    ),
  );
  const failures = lastFailures(memory);
  const waivers = hostWaivers(input.waivers ?? [], group?.waivers, who, input.controls ?? [], at, inventory.zone);
  const cover = waiverCover(waivers);

  const judged = candidates
    .map((candidate): Judged => {
      const [recall] = recalls(candidate.patch.id);
      const covered = waivers.length === 0 ? undefined : cover(candidate.patch);
      const judgement = judge(candidate, {
        replaced: replaced.get(candidate) ?? NOTHING_REPLACED,
        rebootPending: ours.has(candidate.patch.id),
        failure: failures.get(candidate.patch.id),
        unapprovedIsCompliant: lists.baselineOf(candidate.product)?.availableSecurityUpdates !== 'non-compliant',
        recalled: recall === undefined || recall.action === 'warn' ? undefined : recallSays(recall),
        waived: covered === undefined || covered.by.length === 0 ? undefined : covered.by.map(({ says }) => says),
      });
      return { candidate, judgement, recall, waivedUntil: covered?.until ?? null, besides: covered?.others ?? [] };
    })
    .toSorted((a, b) => byText(a.candidate.patch.id, b.candidate.patch.id) || byText(a.candidate.product, b.candidate.product));

  const site = siteRules(input.site, who, at);
  const stops = stopsOf(input.halts ?? [], who, at);
  const schedule = scheduleOf(input, site);
  const chosen = chooseSet(judged, input, { who: schedule.who, site, stops, lists });
  const windows = windowsOf(schedule);
  const plan = planOf(
    chosen.wanted.map(({ candidate }) => ({
      patch: candidate.patch.id,
      emergency: isEmergency(candidate) || chosen.overridden(candidate),
      overdue: isOverdue(candidate, at),
    })),
    schedule,
    windows,
  );
  const planned = new Set(plan.patches);
  const wanted = packageSet(chosen.wanted.filter(({ candidate }) => planned.has(candidate.patch.id)));
  const digest = setDigest(wanted);
  const takenBack = memory.rolledBack.find((one) => one.digest === digest || one.digest === patchSetDigest(wanted.install));
  const denied = takenBack !== undefined && wanted.install.length > 0 ? takenBack : undefined;
  const held = new Map(chosen.held.map((one) => [one.judged, one.holds]));
  const findings = judged.map((one) =>
    findingOf(one, held.get(one) ?? [], planned.has(one.candidate.patch.id) ? denied : undefined, at),
  );
  const set = denied === undefined ? wanted : { install: [], packages: [] };
  const counts = countStates(findings, others);
  const back = rollbackOrder(
    judged.flatMap(({ candidate, judgement, recall }) =>
      judgement.state === 'RECALLED_INSTALLED' && recall !== undefined ? [{ patch: candidate.patch.id, recall }] : [],
    ),
    input.waysBack ?? [],
    at,
  );
  const stop = stops.find(({ halt }) => halt.patches.length === 0 && halt.stops.includes('install'))?.says ?? null;
  const backWaits = back.order === null ? null : rollbackWaits(windows, stop);
  const stopped = (purpose: Purpose) => stops.some(({ halt }) => halt.patches.length === 0 && halt.stops.includes(purpose));
  const missing = new Set(
    judged.flatMap(({ candidate }, index) => (LACKING.has(findings[index]?.state ?? 'INSTALLED') ? [candidate.patch] : [])),
  );
  return {
    at: momentOf(at),
    product: inventory.product,
    group: group?.name ?? null,
    baselines: lists.products.flatMap((product) => {
      const found = lists.baselineOf(product);
      if (found === undefined) return [];
      const { name, baselineSha256, catalogSha256, evaluatedAt } = found;
      return [{ name, product, baselineSha256, catalogSha256, evaluatedAt }];
    }),
    findings,
    counts,
    nonCompliant: countNonCompliant(judged, findings),
    compliant: findings.every(({ compliant }) => compliant),
    next: nextAction({
      input,
      wanted: wanted.install.length,
      denied,
      window: plan.window,
      findings,
      held: chosen.held.map(({ holds }) => holds),
      expired: chosen.expired,
      wait: plan.wait,
      rollback: back.order,
      rollbackWaits: backWaits,
      stop,
    }),
    ...set,
    digest: setDigest(set),
    blocked: blockedPackages(input.catalogs, lists, recalls),
    window: plan.window,
    lane: plan.lane,
    windows: { download: windows.download, install: windows.install, reboot: windows.reboot },
    mayReboot: windows.reboot.open && !stopped('reboot'),
    mayDownload: (windows.download.open || (plan.lane !== 'window' && plan.window.open)) && !stopped('download'),
    estimateMs: plan.estimateMs,
    held: chosen.held.map(({ judged: { candidate }, holds }) => ({
      patch: candidate.patch.id,
      product: candidate.product,
      holds,
    })),
    urgent: chosen.wanted.filter(({ candidate }) => isEmergency(candidate)).map(({ candidate }) => candidate.patch.id),
    overdue: judged.flatMap(({ candidate, judgement }) =>
      judgement.wanted.length > 0 && isOverdue(candidate, at) ? [candidate.patch.id] : [],
    ),
    rollback: back.order,
    rollbackWaits: backWaits,
    halts: stops.map(({ halt, says }) => ({ name: halt.name, stops: halt.stops, says })),
    warnings: [
      ...judged.flatMap(({ candidate, recall }) =>
        recall?.action === 'warn' ? [oneLine(`${candidate.patch.id} ${recallSays(recall)}`)] : [],
      ),
      ...back.notes,
    ],
    notices: waiverNotices(
      waivers,
      (waiver) => {
        const test = waiverCover([{ waiver, standing: 'in-force', from: 0, until: 0, says: '' }]);
        return [...missing].some((patch) => test(patch).by.length > 0);
      },
      at,
    ),
    hooks: site.hooks,
    site: { applied: site.applied, refused: site.refused },
    notes: [...lists.notes, ...notes, ...plan.notes],
  };
}

const LACKING: ReadonlySet<PatchState> = new Set([
  'MISSING',
  'FAILED',
  'HELD',
  'ROLLED_BACK',
  'PENDING_APPROVAL',
  'AVAILABLE_SECURITY_UPDATE',
]);

/** A recall that takes a patch out of use comes before what any list says. */
export function standingOf(lists: Policy, product: string, patch: string, recalls: readonly SignedRecall[]): Standing {
  const [recall] = recalls;
  if (recall === undefined || recall.action === 'warn') return lists.standing(product, patch);
  return {
    kind: 'rejected',
    rule: RECALL,
    reason: recallSays(recall),
    block: true,
    baseline: lists.baselineOf(product)?.name ?? '',
  };
}

interface ChosenSet {
  /** What nothing holds back, with the packages to bring. */
  readonly wanted: readonly { readonly candidate: Candidate; readonly fits: readonly Fit[] }[];
  readonly held: readonly { readonly judged: Judged; readonly holds: readonly Hold[] }[];
  /** Patches left out because the documents have expired. */
  readonly expired: number;
  overridden(candidate: Candidate): boolean;
}

function chooseSet(
  judged: readonly Judged[],
  { group, at, choice, freshness }: DecideInput,
  parts: {
    readonly who: Who | null;
    readonly site: ReturnType<typeof siteRules>;
    readonly stops: ReturnType<typeof stopsOf>;
    readonly lists: Policy;
  },
): ChosenSet {
  const replacing = new Set(
    judged.flatMap(({ judgement, recall }) =>
      judgement.state === 'RECALLED_INSTALLED' && recall?.action === 'replace' && recall.replaceWith !== null
        ? [recall.replaceWith]
        : [],
    ),
  );
  const overrides = new Map(
    parts.lists.products.flatMap((product) => {
      const baseline = parts.lists.baselineOf(product);
      const list = baseline?.overrides;
      if (baseline === undefined || list === undefined || at >= Date.parse(list.until)) return [];
      return [[product, { ...list, baseline: baseline.name, ids: new Set(list.patches.map(({ patch }) => patch)) }] as const];
    }),
  );
  const overridden = ({ patch, product, standing }: Candidate) =>
    standing.kind !== 'rejected' && (replacing.has(patch.id) || (overrides.get(product)?.ids.has(patch.id) ?? false));
  const wanted: { candidate: Candidate; fits: readonly Fit[] }[] = [];
  const held: { judged: Judged; holds: readonly Hold[] }[] = [];
  let expired = 0;
  for (const one of judged) {
    const { candidate, judgement } = one;
    const over = overridden(candidate);
    const ready = candidate.fits.filter(lacking);
    const fits = judgement.wanted.length > 0 || !over || ready.some((fit) => fit.held) ? judgement.wanted : ready;
    if (fits.length === 0 || group === null) continue;
    const only = overrides.get(candidate.product);
    const holds = holdsOf(candidate, {
      group,
      who: parts.who,
      at,
      site: parts.site,
      stops: parts.stops,
      choice: choice ?? null,
      onlyOverrides: only?.mode === 'only' ? { baseline: only.baseline, until: only.until } : null,
      overridden: over,
    });
    if (holds.length > 0) held.push({ judged: one, holds });
    else if (freshness.hardExpired && !replacing.has(candidate.patch.id)) expired += 1;
    else wanted.push({ candidate, fits });
  }
  return { wanted, held, expired, overridden };
}

const NOTHING_REPLACED: ReadonlyMap<string, string> = new Map();

interface Judged {
  readonly candidate: Candidate;
  readonly judgement: Judgement;
  /** The strongest recall of it. */
  readonly recall: SignedRecall | undefined;
  readonly waivedUntil: number | null;
  /** Waivers that name it and do not count. */
  readonly besides: readonly string[];
}

function lastFailures(memory: HostMemory): Map<string, { at: string; code: string }> {
  const last = new Map<string, { ms: number; at: string; code: string }>();
  for (const { patch, at, code } of memory.failed) {
    if ((last.get(patch)?.ms ?? Number.NEGATIVE_INFINITY) <= at) last.set(patch, { ms: at, at: momentOf(at), code });
  }
  return last;
}

function packageSet(wanted: ChosenSet['wanted']): { install: string[]; packages: InstallPackage[] } {
  const install = new Set<string>();
  const packages: InstallPackage[] = [];
  for (const { candidate, fits } of wanted) {
    const { patch } = candidate;
    install.add(patch.id);
    for (const { item, installed } of fits) {
      const { name, arch, version: to, sha256, size, path } = item;
      const { repository, format } = patch;
      packages.push({ name, arch, from: installed, to, sha256, size, path, repository, patch: patch.id, format });
    }
  }
  packages.sort((a, b) => byText(a.name, b.name) || byText(a.arch, b.arch) || byText(a.patch, b.patch));
  return { install: [...install].toSorted(byText), packages };
}

function findingOf(
  { candidate: { patch, product, standing, fits }, judgement, recall, waivedUntil, besides }: Judged,
  holds: readonly Hold[],
  denied: HostMemory['rolledBack'][number] | undefined,
  at: number,
): PatchFinding {
  const rolledBack = denied !== undefined && judgement.wanted.length > 0;
  const reasons = [...judgement.reasons, ...besides, ...holds.map(({ says }) => says)];
  if (recall?.action === 'warn') reasons.push(recallSays(recall));
  const { deadline } = standing.kind === 'approved' || standing.kind === 'pending' ? standing : {};
  if (deadline !== undefined && judgement.wanted.length > 0)
    reasons.push(at >= Date.parse(deadline) ? `overdue since ${deadline}` : `to be installed by ${deadline}`);
  if (rolledBack) {
    const says = `installed with ${denied.patches.length} patches and taken back at ${momentOf(denied.at)}; not tried again until that set changes`;
    reasons.unshift(says);
  }
  return {
    patch: patch.id,
    product,
    state: rolledBack ? 'ROLLED_BACK' : judgement.state,
    compliant: judgement.compliant,
    level: standing.kind === 'approved' || standing.kind === 'pending' ? standing.level : 'unspecified',
    packages: fits
      .map(({ item, installed }: Fit) => ({ name: item.name, arch: item.arch, from: installed, to: item.version }))
      .toSorted((a, b) => byText(a.name, b.name) || byText(a.arch, b.arch)),
    reasons: reasons.slice(0, REASONS).map(oneLine),
    changesAt: changesAt(standing, judgement, holds, waivedUntil),
  };
}

/** The result schema takes no more. */
const REASONS = 20;

function changesAt(
  standing: Standing,
  { state }: Judgement,
  holds: readonly Hold[],
  waivedUntil: number | null,
): string | null {
  if (state === 'PENDING_APPROVAL' && standing.kind === 'pending') return standing.approvesAt;
  if (state === 'EXCEPTED') return waivedUntil === null ? null : momentOf(waivedUntil);
  const released = holds.length === 0 ? null : releasedAt(holds);
  return released === null ? null : momentOf(released);
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
