// What a publication of policy would change, in words: lists of baselines that came out differently, fields of groups, recalls and
// delegations that come and go. Pure.
import { canonicalJson, type Group, type ResolvedBaseline } from '#manifests/schema';

/** Patches named one by one in a line; of more, the number is told. */
const NAMED = 12;
const VALUE_CHARACTERS = 160;

/** Documents of the policy role by path. */
export interface PolicyDocuments {
  readonly baselines: ReadonlyMap<string, ResolvedBaseline>;
  readonly groups: ReadonlyMap<string, Group>;
}

/** Lines for a person; none when nothing of substance differs. @param others paths of other documents that come, change or go */
export function describeChange(
  before: PolicyDocuments,
  after: PolicyDocuments,
  others: readonly { readonly path: string; readonly state: string }[],
): string[] {
  return [
    ...byName(before.baselines, after.baselines, 'baseline', baselineLines),
    ...byName(before.groups, after.groups, 'group', groupLines),
    ...others.filter(({ state }) => state !== 'same').map(({ path, state }) => `${path}: ${state}`),
  ];
}

function byName<D>(
  before: ReadonlyMap<string, D>,
  after: ReadonlyMap<string, D>,
  word: string,
  differ: (a: D, b: D) => string[],
): string[] {
  return [...new Set([...before.keys(), ...after.keys()])].toSorted().flatMap((name) => {
    const old = before.get(name);
    const now = after.get(name);
    if (old === undefined) return [`${word} ${name}: new`];
    if (now === undefined) return [`${word} ${name}: removed`];
    return differ(old, now).map((says) => `${word} ${name}: ${says}`);
  });
}

type Decision = 'approved' | 'pending' | 'rejected';

function baselineLines(before: ResolvedBaseline, after: ResolvedBaseline): string[] {
  const decisions = (one: ResolvedBaseline) => {
    const found = new Map<string, Decision>();
    for (const decision of ['approved', 'pending', 'rejected'] as const)
      for (const { patch } of one[decision]) found.set(patch, decision);
    return found;
  };
  const old = decisions(before);
  const now = decisions(after);
  const moves = new Map<string, string[]>();
  for (const patch of [...new Set([...old.keys(), ...now.keys()])].toSorted()) {
    const [from, to] = [old.get(patch) ?? 'not named', now.get(patch) ?? 'not named'];
    if (from === to) continue;
    const move = `${from} → ${to}`;
    moves.set(move, [...(moves.get(move) ?? []), patch]);
  }
  const lines = [...moves].map(([move, patches]) => `${move}: ${listed(patches)}`);
  const dates = changedDates(before, after);
  if (dates.length > 0) lines.push(`other dates or deadlines: ${listed(dates)}`);
  const rest = fieldLines(before, after, ['approved', 'pending', 'rejected', ...DATES]);
  return [...lines, ...rest];
}

/** Patches that stay in their list with another date, deadline, urgency or level. */
function changedDates(before: ResolvedBaseline, after: ResolvedBaseline): string[] {
  const old = new Map([...before.approved, ...before.pending].map((one) => [one.patch, one]));
  return [...after.approved, ...after.pending].flatMap((one) => {
    const then = old.get(one.patch);
    if (then === undefined || 'approvedAt' in then !== 'approvedAt' in one) return [];
    return canonicalJson({ ...then, reason: '', rule: '' }) === canonicalJson({ ...one, reason: '', rule: '' })
      ? []
      : [one.patch];
  });
}

/** What only says when, or by which bytes. */
const DATES = ['evaluatedAt', 'signedAt', 'catalogSha256', 'baselineSha256', 'kevAsOf', 'timings'];

function groupLines(before: Group, after: Group): string[] {
  return fieldLines(before, after, DATES);
}

function fieldLines(before: object, after: object, without: readonly string[]): string[] {
  const old = new Map<string, unknown>(Object.entries(before));
  const now = new Map<string, unknown>(Object.entries(after));
  return [...new Set([...old.keys(), ...now.keys()])].toSorted().flatMap((field) => {
    if (without.includes(field)) return [];
    const [was, is] = [canonicalJson(old.get(field) ?? null), canonicalJson(now.get(field) ?? null)];
    return was === is ? [] : [`${field}: ${short(was)} → ${short(is)}`];
  });
}

const short = (text: string) => (text.length <= VALUE_CHARACTERS ? text : `${text.slice(0, VALUE_CHARACTERS)}…`);

function listed(patches: readonly string[]): string {
  const names = patches.slice(0, NAMED).join(', ');
  return patches.length <= NAMED ? names : `${names} and ${patches.length - NAMED} more`;
}
