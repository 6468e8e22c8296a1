// Why: one patch, package, source or CVE on one host, step by step, from the same data as the decision. The agent and the
// publisher print the same text.
import type { Catalog, Inventory, Patch, PatchFinding } from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';
import type { DecideInput, Evaluation } from './evaluate.ts';
import { type Policy, policyOf, type Standing } from './standing.ts';
import { standingSays } from './states.ts';
import { byText, counted, fewOf, momentOf } from './text.ts';
import type { WindowState } from './window.ts';

export const EXPLAIN_LIMITS = {
  /** Patches told in full, newest first; of more, the number is told. */
  patches: 20,
} as const;

export type ExplainStep = 'applicability' | 'rule' | 'dates' | 'state' | 'window' | 'next';

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
  const policy = policyOf(input.group, input.baselines, input.at);
  const patches = ordered.slice(0, EXPLAIN_LIMITS.patches).map((match) => explainPatch(match, evaluation, input, policy));
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

function explainPatch({ patch, product }: Match, evaluation: Evaluation, input: DecideInput, policy: Policy): PatchExplanation {
  const finding = evaluation.findings.find((one) => one.patch === patch.id && one.product === product);
  const standing = policy.standing(product, patch.id);
  const rule = standingSays(standing);
  const wanted = finding !== undefined && ['MISSING', 'FAILED'].includes(finding.state);
  const steps: { step: ExplainStep; says: string }[] = [
    { step: 'applicability', says: applicabilitySays(patch, product, finding, input.inventory) },
    { step: 'rule', says: rule },
    { step: 'dates', says: datesSay(patch, standing) },
    {
      step: 'state',
      says:
        finding === undefined
          ? 'NOT_APPLICABLE: it does not concern this host'
          : `${finding.state}${finding.compliant ? '' : ' (not compliant)'}: ${finding.reasons.filter((reason) => reason !== rule).join('; ')}`,
    },
  ];
  if (wanted || finding?.state === 'PENDING_APPROVAL') steps.push({ step: 'window', says: windowSays(evaluation.window) });
  if (finding !== undefined) steps.push({ step: 'next', says: nextSays(finding, evaluation) });
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
  return `none of its packages is on this host (${fewOf([...new Set(patch.packages.map(({ name }) => name))])})`;
}

function datesSay(patch: Patch, standing: Standing): string {
  const dates = [`first seen ${patch.firstSeen}`];
  if (patch.released !== null) dates.push(`released ${patch.released}`);
  if (patch.updated !== null) dates.push(`updated ${patch.updated}`);
  if (standing.kind === 'approved') dates.push(`approved since ${standing.since}`);
  if (standing.kind === 'pending') dates.push(`approved from ${standing.approvesAt}`);
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

function nextSays(finding: PatchFinding, evaluation: Evaluation): string {
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
    case 'AVAILABLE_SECURITY_UPDATE':
      return 'it is installed only if a baseline approves it';
    default:
      return 'nothing';
  }
}

/** `2026-03-29T01:00:00Z`, and the wall time of the zone beside it. */
function inZone(at: number, zone: string): string {
  const utc = momentOf(at);
  if (zone === 'UTC') return utc;
  const wall = Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone).toPlainDateTime();
  return `${utc} (${wall.toString({ smallestUnit: 'minute' }).replace('T', ' ')} ${zone})`;
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
