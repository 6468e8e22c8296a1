// Why: one patch, package, source or CVE on one host, step by step, from the same data as the decision. The agent and the
// publisher print the same text.
import type { Catalog, Group, Inventory, Patch, PatchFinding, SignedRecall } from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';
import { type DecideInput, type Evaluation, standingOf } from './evaluate.ts';
import { whoOf } from './host.ts';
import { siteRules } from './overlay.ts';
import { recallSays, recallsOf } from './recall.ts';
import { type Hold, releasedAt } from './release.ts';
import { turnOf } from './rollout.ts';
import { type Policy, policyOf, type Standing } from './standing.ts';
import { standingSays } from './states.ts';
import type { Who } from './targeting.ts';
import { byText, counted, fewOf, inZone, momentOf } from './text.ts';
import { hostWaivers, type WaiverCover, waiverCover } from './waiver.ts';
import type { WindowState } from './window.ts';

export const EXPLAIN_LIMITS = {
  /** Patches told in full, newest first; of more, the number is told. */
  patches: 20,
} as const;

export type ExplainStep =
  | 'applicability'
  | 'rule'
  | 'dates'
  | 'recall'
  | 'waiver'
  | 'ring'
  | 'state'
  | 'held back'
  | 'window'
  | 'reboot'
  | 'next';

export interface PatchExplanation {
  readonly patch: string;
  readonly product: string;
  readonly title: string;
  readonly cves: readonly string[];
  readonly state: PatchFinding['state'];
  readonly compliant: boolean;
  readonly steps: readonly { readonly step: ExplainStep; readonly says: string }[];
  /** When this changes by itself, where that is known. */
  readonly changesAt: string | null;
}

export interface Explanation {
  readonly query: string;
  /** How the query was found: by patch id, by CVE or advisory, by source, by binary package, or not at all. */
  readonly foundBy: 'patch' | 'flaw' | 'source' | 'package' | 'nothing';
  readonly patches: readonly PatchExplanation[];
  /** Found, but too many to tell. */
  readonly left: number;
  /** The same for people. */
  readonly text: string;
}

interface Match {
  readonly patch: Patch;
  readonly product: string;
}

/** Explains what `evaluation`, made from `input`, says about a query. Names are exact; CVEs and advisories in any case. */
export function explain(evaluation: Evaluation, input: DecideInput, query: string): Explanation {
  const asked = query.trim();
  const { foundBy, matches } = find(input.catalogs, asked);
  const ordered = matches.toSorted(newestFirst);
  const about = aboutOf(input);
  const patches = ordered.slice(0, EXPLAIN_LIMITS.patches).map((match) => explainPatch(match, evaluation, input, about));
  const left = ordered.length - patches.length;
  return { query: asked, foundBy, patches, left, text: textOf(asked, patches, left, evaluation, input.inventory) };
}

function find(catalogs: readonly Catalog[], query: string): { foundBy: Explanation['foundBy']; matches: Match[] } {
  const flaw = query.toUpperCase();
  const tests: readonly (readonly [Explanation['foundBy'], (patch: Patch) => boolean])[] = [
    ['patch', (patch) => patch.id === query],
    ['flaw', (patch) => [...patch.cves, ...patch.advisories].some((id) => id.toUpperCase() === flaw)],
    ['source', (patch) => patch.source === query],
    ['package', (patch) => patch.packages.some(({ name }) => name === query)],
  ];
  for (const [foundBy, test] of tests) {
    const matches = catalogs.flatMap(({ product, patches }) => patches.filter(test).map((patch) => ({ patch, product })));
    if (matches.length > 0) return { foundBy, matches };
  }
  return { foundBy: 'nothing', matches: [] };
}

function newestFirst(a: Match, b: Match): number {
  const bySource = byText(a.product, b.product) || byText(a.patch.source, b.patch.source);
  return bySource || comparatorFor(a.patch.format)(b.patch.version, a.patch.version) || byText(a.patch.id, b.patch.id);
}

/** What is looked up for every patch told. */
interface About {
  readonly who: Who;
  readonly lists: Policy;
  readonly recalls: (patch: string) => readonly SignedRecall[];
  readonly cover: (patch: Patch) => WaiverCover;
  readonly ringPercent: number;
}

function aboutOf(input: DecideInput): About {
  const { group, inventory, at } = input;
  const who = whoOf(input);
  const waivers = hostWaivers(input.waivers ?? [], group?.waivers, who, input.controls ?? [], at, inventory.zone);
  return {
    who,
    lists: policyOf(group, input.baselines, at, { facts: inventory, labels: who.labels }),
    recalls: recallsOf(input.recalls ?? [], who),
    cover: waiverCover(waivers),
    ringPercent: siteRules(input.site, who, at).ringPercent,
  };
}

function explainPatch({ patch, product }: Match, evaluation: Evaluation, input: DecideInput, about: About): PatchExplanation {
  const finding = evaluation.findings.find((one) => one.patch === patch.id && one.product === product);
  const recalls = about.recalls(patch.id);
  const standing = standingOf(about.lists, product, patch.id, recalls);
  const rule = standingSays(standing);
  const wanted = finding !== undefined && ['MISSING', 'FAILED'].includes(finding.state);
  const holds = evaluation.held.find((one) => one.patch === patch.id && one.product === product)?.holds ?? [];
  const told = new Set([...holds.map(({ says }) => says), ...recalls.map(recallSays)]);
  const steps: { step: ExplainStep; says: string }[] = [
    { step: 'applicability', says: applicabilitySays(patch, product, finding, input.inventory) },
    { step: 'rule', says: rule },
    { step: 'dates', says: datesSay(patch, standing, input.at) },
    ...recalls.map((recall): { step: ExplainStep; says: string } => ({ step: 'recall', says: recallSays(recall) })),
    ...waiverSteps(about.cover(patch)),
    ...ringSteps(patch, standing, input, about),
    {
      step: 'state',
      says: finding === undefined ? 'NOT_APPLICABLE: it does not concern this host' : stateSays(finding, rule, told),
    },
  ];
  for (const { says } of holds) steps.push({ step: 'held back', says });
  if (wanted || finding?.state === 'PENDING_APPROVAL') {
    steps.push({ step: 'window', says: windowSays(evaluation.window) });
    if (input.group !== null) steps.push({ step: 'reboot', says: rebootSays(input.group, evaluation) });
  }
  if (finding !== undefined) steps.push({ step: 'next', says: nextSays(finding, evaluation, holds) });
  return {
    patch: patch.id,
    product,
    title: patch.title,
    cves: patch.cves,
    state: finding?.state ?? 'NOT_APPLICABLE',
    compliant: finding?.compliant ?? true,
    steps,
    changesAt: finding?.changesAt ?? (wanted ? evaluation.next.at : null),
  };
}

function applicabilitySays(patch: Patch, product: string, finding: PatchFinding | undefined, inventory: Inventory): string {
  if (finding !== undefined) {
    const each = finding.packages.map(({ name, arch, from, to }) => `${name}:${arch} ${from ?? 'not there'}, fixed in ${to}`);
    return `concerns ${counted(each.length, 'package')} of this host: ${fewOf(each)}`;
  }
  if (patch.format !== 'archive' && product !== inventory.product) {
    return `it is for ${product}; this host is ${inventory.product ?? 'of an unknown product'}`;
  }
  const names = new Set(inventory.packages.map(({ name }) => name));
  const here = patch.packages.filter(({ name }) => names.has(name));
  const streams = [...new Set(here.flatMap(({ modules }) => modules ?? []))];
  if (inventory.modules !== undefined && here.length > 0) {
    const enabled = inventory.modules.length === 0 ? 'none' : fewOf(inventory.modules);
    if (streams.length > 0) return `it is of module ${fewOf(streams)}, which is not enabled on this host (enabled: ${enabled})`;
    return `it is of no module, and an enabled module of this host has packages of its names (enabled: ${enabled})`;
  }
  return `none of its packages is on this host (${fewOf([...new Set(patch.packages.map(({ name }) => name))])})`;
}

function waiverSteps({ by, others }: WaiverCover): { step: ExplainStep; says: string }[] {
  return [...by.map(({ says }) => says), ...others].map((says) => ({ step: 'waiver', says }));
}

function ringSteps(
  patch: Patch,
  standing: Standing,
  { group, at, who }: DecideInput,
  about: About,
): { step: ExplainStep; says: string }[] {
  if (group?.rollout === undefined || standing.kind !== 'approved') return [];
  if (standing.urgency === 'emergency') return [{ step: 'ring', says: 'an emergency: it waits for no ring' }];
  if (who === null || who === undefined) return [];
  const { says } = turnOf(group.rollout, about.who, patch.id, Date.parse(standing.since), at, about.ringPercent);
  return [{ step: 'ring', says }];
}

function stateSays(finding: PatchFinding, rule: string, told: ReadonlySet<string>): string {
  const reasons = finding.reasons.filter((reason) => reason !== rule && !told.has(reason));
  return `${finding.state}${finding.compliant ? '' : ' (not compliant)'}: ${reasons.join('; ')}`;
}

function rebootSays(group: Group, { windows }: Evaluation): string {
  if (group.reboot === 'never') return `group ${group.name} never reboots: it counts as installed after the next boot`;
  const { reboot } = windows;
  if (reboot.open) return `if it is needed, in window ${reboot.name}, open now`;
  return reboot.opensAt === null
    ? 'if it is needed, but no window for it is to come'
    : `if it is needed, in window ${reboot.name} from ${inZone(reboot.opensAt, reboot.zone ?? 'UTC')}`;
}

function datesSay(patch: Patch, standing: Standing, at: number): string {
  const dates = [`first seen ${patch.firstSeen}`];
  if (patch.released !== null) dates.push(`released ${patch.released}`);
  if (patch.updated !== null) dates.push(`updated ${patch.updated}`);
  if (standing.kind === 'approved') dates.push(`approved since ${standing.since}`);
  if (standing.kind === 'pending') dates.push(`approved from ${standing.approvesAt}`);
  if ((standing.kind === 'approved' || standing.kind === 'pending') && standing.deadline !== undefined)
    dates.push(
      at >= Date.parse(standing.deadline) ? `overdue since ${standing.deadline}` : `to be installed by ${standing.deadline}`,
    );
  return dates.join(', ');
}

function windowSays(window: WindowState): string {
  const notes = window.notes.length === 0 ? '' : ` (${window.notes.join('; ')})`;
  if (window.open) {
    const until = `window ${window.name} is open until ${inZone(window.closesAt, window.zone)}`;
    return `${until}; new work starts until ${inZone(window.startsUntil, window.zone)}${notes}`;
  }
  if (window.opensAt === null) return `no maintenance window is to come${notes}`;
  return `window ${window.name} opens ${inZone(window.opensAt, window.zone ?? 'UTC')}${notes}`;
}

function nextSays(finding: PatchFinding, evaluation: Evaluation, holds: readonly Hold[]): string {
  const released = holds.length === 0 ? 0 : releasedAt(holds);
  if (released === null) return 'it waits until what holds it back is withdrawn';
  if (released > 0) return `it is released at ${momentOf(released)}, and then installed in a window`;
  switch (finding.state) {
    case 'MISSING':
    case 'FAILED':
      return evaluation.next.says;
    case 'PENDING_APPROVAL':
      return `it is approved by itself at ${finding.changesAt}, and then installed in a window`;
    case 'HELD':
      return 'it is installed once the hold is taken off on the host';
    case 'ROLLED_BACK':
      return 'it is tried again once the set it belongs to changes';
    case 'INSTALLED_PENDING_REBOOT':
      return 'it counts as installed after the next boot';
    case 'INSTALLED_REJECTED':
      return 'it stays until it is taken off by hand or a newer version is approved';
    case 'EXCEPTED':
      return finding.changesAt === null
        ? 'it is excepted'
        : `it is excepted until ${finding.changesAt}, and MISSING from then on`;
    case 'RECALLED_INSTALLED':
      return evaluation.rollback?.says ?? 'it stays until it is replaced, or taken off by hand';
    case 'AVAILABLE_SECURITY_UPDATE':
      return 'it is installed only if a baseline approves it';
    default:
      return 'nothing';
  }
}

function textOf(
  query: string,
  patches: readonly PatchExplanation[],
  left: number,
  evaluation: Evaluation,
  inventory: Inventory,
): string {
  const lines = [`${query} on ${inventory.hostname}, as of ${evaluation.at}`];
  if (patches.length === 0) {
    lines.push('', 'No patch, CVE, source or package of this name is in the catalogs of this host.');
    for (const { name, arch, version } of inventory.packages) {
      if (name === query) lines.push(`The package is installed (${name}:${arch} ${version}), and no patch is known for it.`);
    }
  }
  for (const { patch, product, title, cves, steps } of patches) {
    lines.push('', `${patch}  ${title === '' ? product : `${title} (${product})`}`);
    if (cves.length > 0) lines.push(`  fixes          ${fewOf(cves, 8)}`);
    for (const { step, says } of steps) lines.push(`  ${step.padEnd(14)} ${says}`);
  }
  if (left > 0) lines.push('', `… and ${counted(left, 'older patch', 'older patches')}; ask for one by its id.`);
  return `${lines.join('\n')}\n`;
}
