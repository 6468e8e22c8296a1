// From the authored baseline and a catalog to the frozen lists that are signed: AWS SSM semantics (field guide 1.1).
// What differs from SSM, and why, is in README.md of this folder.
import { defineFaults, EXIT } from '#manifests/errors';
import {
  type Baseline,
  type Catalog,
  COMPLIANCE_LEVELS,
  type ComplianceLevel,
  canonicalJson,
  type Kev,
  type Patch,
  type ResolvedBaseline,
  sha256Of,
} from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';
import { filterTest, listTest, type PatchTest } from './filters.ts';
import { type KevListing, kevIndex, kevOf } from './kev.ts';
import { overridesOf } from './overrides.ts';
import { APPROVED_LIST, REJECTED_LIST } from './standing.ts';
import { byText, counted, DAY_MS, momentOf, oneLine } from './text.ts';

const fault = defineFaults('decide', {
  'other-product': {
    exit: EXIT.usage,
    next: 'Resolve the baseline against the catalog of its own product.',
  },
});

/** Earlier in COMPLIANCE_LEVELS is higher. */
const higher = (a: ComplianceLevel, b: ComplianceLevel) => COMPLIANCE_LEVELS.indexOf(a) < COMPLIANCE_LEVELS.indexOf(b);

/** A `firstSeen` of this moment says that nobody knows when it was. */
export const UNKNOWN_MOMENT = '1970-01-01T00:00:00Z';

/** What hurries a patch; as it is signed. */
export interface Pressing {
  readonly urgency?: 'emergency';
  /** The last moment, `YYYY-MM-DDTHH:MM:SSZ`. */
  readonly deadline?: string;
}

/** What a baseline is resolved with, beside the catalog. */
export interface ResolveOptions {
  /** The KEV feed; without one nothing is listed. */
  readonly kev?: Kev | null | undefined;
}

/** What a baseline says about one patch; `at` is in milliseconds. */
export type BaselineDecision =
  | {
      readonly kind: 'approved';
      readonly level: ComplianceLevel;
      readonly explicit: boolean;
      readonly at: number;
      readonly rule: string;
      readonly reason: string;
      readonly pressing?: Pressing;
    }
  | {
      readonly kind: 'pending';
      readonly level: ComplianceLevel;
      readonly at: number;
      readonly rule: string;
      readonly reason: string;
      readonly pressing?: Pressing;
    }
  | { readonly kind: 'rejected'; readonly rule: string; readonly reason: string }
  | { readonly kind: 'not-in-baseline'; readonly reason: string };

/** What one rule says about one patch. */
type RuleAnswer =
  | { readonly kind: 'approved' | 'pending'; readonly at: number; readonly reason: string }
  | { readonly kind: 'no'; readonly reason: string };

type Rule = Baseline['spec']['rules'][number];

/**
 * Freezes a baseline at one instant: approved, pending (with the moment each becomes approved) and rejected patches,
 * each with its rule and reason, sorted by patch id. Patches no rule names are in none of the lists.
 * @param at milliseconds of trusted time
 * @param catalogSha256 hash of the catalog's plain document, where it is known already
 * @throws decide.other-product
 */
export function resolveBaseline(
  baseline: Baseline,
  catalog: Catalog,
  at: number,
  catalogSha256: string = sha256Of(canonicalJson(catalog)),
  options: ResolveOptions = {},
): ResolvedBaseline {
  const decisions = decideBaseline(baseline, catalog, at, options);
  const overridden = overridesOf(baseline, catalog);
  const resolved: ResolvedBaseline = {
    schema: 'patchferry/resolved-baseline',
    schemaVersion: 1,
    name: baseline.metadata.name,
    product: baseline.spec.product,
    baselineSha256: sha256Of(canonicalJson(baseline)),
    catalogSha256,
    evaluatedAt: momentOf(at),
    approved: [],
    pending: [],
    rejected: [],
    rejectedAction: baseline.spec.rejectedAction,
    availableSecurityUpdates: baseline.spec.availableSecurityUpdates,
    ...(overridden === undefined ? {} : { overrides: overridden }),
    ...(options.kev ? { kevAsOf: options.kev.fetchedAt } : {}),
  };
  for (const patch of [...decisions.keys()].toSorted(byText)) {
    const decision = decisions.get(patch);
    if (decision === undefined || decision.kind === 'not-in-baseline') continue;
    const { rule, reason } = decision;
    if (decision.kind === 'rejected') resolved.rejected.push({ patch, rule, reason });
    else if (decision.kind === 'pending') {
      {
        const { level, pressing } = decision;
        resolved.pending.push({ patch, rule, reason, level, approvesAt: momentOf(decision.at), ...pressing });
      }
    } else {
      const { level, explicit, pressing } = decision;
      resolved.approved.push({ patch, rule, reason, level, explicit, approvedAt: momentOf(decision.at), ...pressing });
    }
  }
  return resolved;
}

/** As `resolveBaseline`, for every patch of the catalog by its id, also for those the baseline does not name. @throws decide.other-product */
export function decideBaseline(
  baseline: Baseline,
  catalog: Catalog,
  at: number,
  { kev }: ResolveOptions = {},
): Map<string, BaselineDecision> {
  const { spec, metadata } = baseline;
  const listed = kevIndex(kev);
  if (spec.product !== catalog.product) {
    throw fault('other-product', `baseline "${metadata.name}" is for ${spec.product}, the catalog is of ${catalog.product}`, {
      where: metadata.name,
    });
  }
  const rejects = listTest(spec.rejected);
  const rejected = new Map<Patch, string>();
  for (const patch of catalog.patches) {
    const entry = rejects(patch);
    if (entry !== null) rejected.set(patch, entry);
  }
  const approved = listTest(spec.approved);
  const global = filterTest(spec.globalFilters, catalog, listed);
  const rules = spec.rules.map((rule) => ({ rule, test: filterTest(rule.filters, catalog, listed) }));
  const starts = rules.map(({ rule, test }) =>
    spec.carryDelay && 'afterDays' in rule.approve && rule.approve.afterDays > 0
      ? delayStarts(
          catalog.patches,
          rule.approve.afterDays,
          (patch) => counts(rule, patch) && global(patch) && test(patch) && !rejected.has(patch),
        )
      : undefined,
  );

  const decide = (patch: Patch): BaselineDecision => {
    const no = rejected.get(patch);
    if (no !== undefined) return { kind: 'rejected', rule: REJECTED_LIST, reason: oneLine(`"${no}" is on the rejected list`) };
    const yes = approved(patch);
    const heldOff = yes !== null && patch.classification !== 'security' && !spec.approvedNonSecurity;
    if (yes !== null && !heldOff) {
      const reason = oneLine(`"${yes}" is on the approved list`);
      return {
        kind: 'approved',
        level: spec.approvedComplianceLevel,
        explicit: true,
        at,
        rule: APPROVED_LIST,
        reason,
      };
    }
    let best: Extract<BaselineDecision, { kind: 'approved' | 'pending' }> | undefined;
    const why: string[] = heldOff
      ? [`"${yes}" is on the approved list, which is for security patches (approvedNonSecurity)`]
      : [];
    if (!global(patch)) why.push('globalFilters leave it out');
    else {
      for (const [index, { rule, test }] of rules.entries()) {
        if (!counts(rule, patch) || !test(patch)) continue;
        const answer = askRule(rule, patch, at, spec.undated, starts[index]);
        if (answer.kind === 'no') {
          why.push(`rule "${rule.name}": ${answer.reason}`);
          continue;
        }
        const pressing = pressingOf(rule, answer.at, kevOf(patch, listed));
        const reason = oneLine(pressing.says === '' ? answer.reason : `${answer.reason}; ${pressing.says}`);
        const mine = { level: rule.complianceLevel, at: answer.at, rule: rule.name, reason, pressing: pressing.fields };
        best = better(
          best,
          answer.kind === 'approved' ? { kind: 'approved', explicit: false, ...mine } : { kind: 'pending', ...mine },
        );
      }
    }
    return best ?? { kind: 'not-in-baseline', reason: oneLine(why.length === 0 ? 'no rule is for it' : why.join('; ')) };
  };
  return new Map(catalog.patches.map((patch) => [patch.id, decide(patch)]));
}

type Standing = Extract<BaselineDecision, { kind: 'approved' | 'pending' }>;

/** APPROVED beats PENDING. Of approvals the highest level counts, since the earliest moment; of delays the one that ends first. */
function better(a: Standing | undefined, b: Standing): Standing {
  if (a === undefined) return b;
  if (a.kind !== b.kind) return a.kind === 'approved' ? a : b;
  if (a.kind === 'pending') return b.at < a.at || (b.at === a.at && higher(b.level, a.level)) ? b : a;
  const winner = higher(b.level, a.level) ? b : a;
  return { ...winner, at: Math.min(a.at, b.at), pressing: hurried(a.pressing, b.pressing) };
}

/** Of several rules that approve, an emergency of any of them is one, and the first deadline counts. */
function hurried(a: Pressing = {}, b: Pressing = {}): Pressing {
  const deadline = [a.deadline, b.deadline].filter((one) => one !== undefined).toSorted()[0];
  return {
    ...(a.urgency === undefined && b.urgency === undefined ? {} : { urgency: 'emergency' }),
    ...(deadline === undefined ? {} : { deadline }),
  };
}

/** @param approvedAt milliseconds at which the rule approves it */
function pressingOf(rule: Rule, approvedAt: number, listing: KevListing | undefined): { fields: Pressing; says: string } {
  const ends: number[] = [];
  const says: string[] = [];
  if (rule.urgency === 'emergency') says.push('emergency: neither delay nor rings');
  if (rule.deadline?.afterDays !== undefined) ends.push(approvedAt + rule.deadline.afterDays * DAY_MS);
  if (rule.deadline?.kevDue !== undefined && listing !== undefined) {
    ends.push(listing.dueBy);
    says.push(`${listing.cve} is known to be exploited, due by ${momentOf(listing.dueBy)}`);
  }
  const end = ends.length === 0 ? undefined : Math.min(...ends);
  return {
    fields: {
      ...(rule.urgency === 'emergency' ? { urgency: 'emergency' } : {}),
      ...(end === undefined ? {} : { deadline: momentOf(end) }),
    },
    says: says.join('; '),
  };
}

/** Without `nonSecurity` a rule is for security patches alone (SSM: EnableNonSecurity). */
function counts(rule: Rule, patch: Patch): boolean {
  return rule.nonSecurity || patch.classification === 'security';
}

/** Where the delay of a patch counts from, and the earlier patch it took that over from (trap 2). */
interface DelayStart {
  readonly from: number;
  readonly since: string;
}

function askRule(
  rule: Rule,
  patch: Patch,
  at: number,
  undated: 'now' | 'never',
  starts: Map<string, DelayStart> | undefined,
): RuleAnswer {
  if ('untilDate' in rule.approve) return askUntilDate(rule.approve.untilDate, patch, at, undated);
  const afterDays = rule.urgency === 'emergency' ? 0 : rule.approve.afterDays;
  const seen = seenAt(patch);
  if (seen === undefined) return withoutDate(undated, at);
  const of = patch.firstSeen === UNKNOWN_MOMENT ? 'dated by the vendor' : 'first seen';
  if (afterDays === 0) return { kind: 'approved', at: Math.min(seen, at), reason: `at once (${of} ${momentOf(seen)})` };
  const start = starts?.get(patch.id) ?? { from: seen, since: patch.id };
  const approvesAt = delayEnd(start.from, afterDays);
  const since = start.since === patch.id ? `it was ${of}` : `${start.since}, which it replaces, was first seen`;
  return {
    kind: at >= approvesAt ? 'approved' : 'pending',
    at: approvesAt,
    reason: `${counted(afterDays, 'day')} after ${since} (${momentOf(start.from)})`,
  };
}

/** Approved *after* the whole delay: the first second past it (SSM: released 18:00:00 plus 7 days is approved after 18:00:00). */
function delayEnd(from: number, days: number): number {
  return from + days * DAY_MS + 1_000;
}

/** Up to 23:59:59Z of the day by the vendor's own dates, the later one; where there are none, by when it was first seen. */
function askUntilDate(date: string, patch: Patch, at: number, undated: 'now' | 'never'): RuleAnswer {
  const dates = [patch.released, patch.updated].flatMap((moment) => (moment === null ? [] : [Date.parse(moment)]));
  const dated = dates.length > 0 ? Math.max(...dates) : seenAt(patch);
  if (dated === undefined) return withoutDate(undated, at);
  const of = dates.length > 0 ? 'dated by the vendor' : 'first seen';
  if (dated < Date.parse(`${date}T00:00:00Z`) + DAY_MS)
    return { kind: 'approved', at: dated, reason: `${of} ${momentOf(dated)}, not after ${date}` };
  return { kind: 'no', reason: `${of} ${momentOf(dated)}, after ${date}` };
}

function withoutDate(undated: 'now' | 'never', at: number): RuleAnswer {
  if (undated === 'now')
    return { kind: 'approved', at, reason: 'nobody knows a date of it, which counts as no delay (undated: now)' };
  return { kind: 'no', reason: 'nobody knows a date of it (undated: never)' };
}

/** When this publisher first saw it, else the vendor's date; undefined when nobody knows. */
function seenAt(patch: Patch): number | undefined {
  const known = patch.firstSeen === UNKNOWN_MOMENT ? (patch.released ?? patch.updated) : patch.firstSeen;
  return known === null ? undefined : Date.parse(known);
}

/**
 * Trap 2: a delay must not start anew each time a patch is replaced, or a monthly update with a long delay never comes.
 * A patch that replaces one of the same source whose delay was still running takes over where that delay counts from;
 * one that comes after the earlier was approved starts its own.
 */
function delayStarts(patches: readonly Patch[], days: number, isFor: PatchTest): Map<string, DelayStart> {
  const bySource = new Map<string, Patch[]>();
  for (const patch of patches) {
    if (!isFor(patch) || seenAt(patch) === undefined) continue;
    const key = `${patch.format} ${patch.source}`;
    const list = bySource.get(key);
    if (list === undefined) bySource.set(key, [patch]);
    else list.push(patch);
  }
  const starts = new Map<string, DelayStart>();
  for (const list of bySource.values()) {
    if (list.length < 2) continue;
    const compare = comparatorFor(list[0]?.format ?? 'deb');
    let earlier: DelayStart | undefined;
    for (const patch of list.toSorted((a, b) => compare(a.version, b.version) || byText(a.id, b.id))) {
      const seen = seenAt(patch) ?? 0;
      const carried = earlier !== undefined && earlier.from <= seen && seen < delayEnd(earlier.from, days);
      const start: DelayStart = carried && earlier !== undefined ? earlier : { from: seen, since: patch.id };
      starts.set(patch.id, start);
      earlier = start;
    }
  }
  return starts;
}
