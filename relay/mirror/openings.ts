// When the hosts of this relay will need payloads: the next openings of their groups' windows, and what these groups' baselines
// approve. Pure.
import { purposeState } from '#manifests/decide';
import { decodeDocument, type Group, type Roster } from '#manifests/schema';
import { type Documents, type Selection, type WantedPayload, wantedPayloads } from './wanted.ts';

/** Whose windows count, and by which clock a window in zone `host` is reckoned. */
export interface Here {
  /** Name of this site; its hosts by the roster are this relay's. */
  readonly site: string | undefined;
  /** Agents that were heard here lately. */
  readonly heard: ReadonlySet<string>;
  readonly zone: string;
}

export interface Opening {
  readonly group: string;
  readonly window: string;
  /** Milliseconds; not later than the moment asked about when it is open already. */
  readonly opensAt: number;
  readonly baselines: readonly string[];
}

export interface GroupDocuments {
  readonly groups: Group[];
  roster: Roster | undefined;
}

/** Adds a document to what decides about openings. @throws document.* */
export function readGroupInto(documents: GroupDocuments, path: string, bytes: Uint8Array): void {
  if (/^policy\/groups\/[^/]+\.json\.zst$/.test(path)) documents.groups.push(decodeDocument('group', bytes, path));
  if (path === 'roster/roster.json.zst') documents.roster = decodeDocument('roster', bytes, path);
}

/** Groups with hosts at this relay; while none is known to be here, all. */
export function groupsHere({ groups, roster }: GroupDocuments, { site, heard }: Here): readonly Group[] {
  const here = new Set(
    (roster?.agents ?? [])
      .filter((agent) => agent.status === 'approved' && ((site !== undefined && agent.site === site) || heard.has(agent.id)))
      .map(({ group }) => group),
  );
  return here.size === 0 ? groups : groups.filter(({ name }) => here.has(name));
}

/** The next opening of each group, the earliest first; a group without one has none. @param at milliseconds */
export function openingsOf(groups: readonly Group[], at: number, zone: string): Opening[] {
  return groups
    .flatMap((group): Opening[] => {
      const baselines = [...group.baselines, ...(group.choose ?? [])].map(({ baseline }) => baseline);
      // Hosts stage in windows for downloads where there are any, and else in the window itself.
      const states = (['download', 'install'] as const).map((purpose) => purposeState(group.windows, purpose, at, zone));
      const opens = states
        .filter(({ name }) => name !== null && name !== 'any time')
        .map(({ open, opensAt, name }) => ({ window: name ?? '', opensAt: open ? at : (opensAt ?? Number.POSITIVE_INFINITY) }))
        .filter(({ opensAt }) => Number.isFinite(opensAt))
        .toSorted((a, b) => a.opensAt - b.opensAt)[0];
      return opens === undefined ? [] : [{ group: group.name, ...opens, baselines }];
    })
    .toSorted((a, b) => a.opensAt - b.opensAt || (a.group < b.group ? -1 : 1));
}

export interface StagedPayload extends WantedPayload {
  readonly opening: Opening;
}

/** What is needed for these openings, in their order, each payload once, vendors' indexes first within each. */
export function neededFor(
  openings: readonly Opening[],
  { catalogs, baselines }: Documents,
  selection: Selection,
): StagedPayload[] {
  const payloads =
    selection.payloads === 'on-demand' ? 'missing' : selection.payloads === 'all' ? 'approved' : selection.payloads;
  const found = new Map<string, StagedPayload>();
  for (const opening of openings) {
    const named = baselines.filter(({ name }) => opening.baselines.includes(name));
    const products = new Set(named.map(({ product }) => product));
    const own = { catalogs: catalogs.filter(({ product }) => products.has(product)), baselines: named };
    for (const payload of wantedPayloads(own, { ...selection, payloads }))
      if (!found.has(payload.sha256)) found.set(payload.sha256, { ...payload, opening });
  }
  return [...found.values()];
}

/** The payloads in the order of the openings that need them; indexes first, what nobody waits for last. */
export function inOrderOfNeed(wanted: readonly WantedPayload[], needed: readonly StagedPayload[]): WantedPayload[] {
  const rank = new Map(needed.map(({ sha256 }, index) => [sha256, index]));
  const of = ({ sha256, required }: WantedPayload) => (required ? -1 : (rank.get(sha256) ?? needed.length));
  return wanted.toSorted((a, b) => of(a) - of(b));
}
