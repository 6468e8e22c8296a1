// What a plan is made from: the policy as it would be signed now, and the fleet as last known or made from a number.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generatedFleet, type SimHost, type SimPolicy, type SimRelease, type SiteRules, siteRules } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import type { Catalog, Group, PatchState, Roster, SignedHalt } from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';
import type { PublisherHome } from '../home.ts';
import { factsOf, type PolicySet, type ResolvedPolicy, resolvePolicy } from '../policy/index.ts';
import { type Knowledge, openFleet } from '../results/index.ts';
import { openOverlay, publishedPolicy, readPublished, takenOverlay } from '../sign/index.ts';
import { readKev } from '../sources/index.ts';

const DAY_MS = 86_400_000;
/** Runs older than this say nothing of how long a patch takes. */
const HISTORY_MS = 180 * DAY_MS;
/** A generated host lacks what was approved in the last so many days. */
const GENERATED_DAYS = 30;
/** What a host says it lacks, and would install once it may. */
const LACKING: ReadonlySet<PatchState> = new Set(['MISSING', 'FAILED', 'PENDING_APPROVAL']);
export const NO_SITE_NAME = '(no site)';

export interface PlanInput {
  readonly home: PublisherHome;
  readonly policy: PolicySet;
  readonly catalogs: readonly Catalog[];
  readonly roster: Roster;
  readonly knowledge: Knowledge;
  /** Milliseconds. */
  readonly from: number;
  readonly days: number;
  readonly signal: AbortSignal;
}

export interface PlannedPolicy {
  readonly sim: SimPolicy;
  readonly groups: ReadonlyMap<string, Group>;
  readonly remarks: readonly string[];
}

/** The policy as a publish at `from` would sign it, with what was opened before. @throws policy.invalid, policy-resolve.no-catalog */
export async function plannedPolicy(input: PlanInput): Promise<PlannedPolicy> {
  const { home, policy, catalogs, roster, knowledge, from, days } = input;
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-plan-'));
  try {
    const published = await readPublished(home, scratch, input.signal);
    const signed = { kev: readKev(home.feedsFolder), ...(await publishedPolicy(published)) };
    const facts = factsOf(signed, roster, knowledge, utcSeconds(from - HISTORY_MS));
    const resolved = resolvePolicy(policy, catalogs, from, facts);
    const groups = new Map(resolved.groups.map((group) => [group.name, group]));
    const remarks: string[] = [];
    return {
      sim: {
        groups,
        releases: releasesOf(resolved, catalogs, from + days * DAY_MS),
        sites: sitesOf(home, resolved, roster, from, remarks),
        halts: resolved.stops.filter((stop): stop is SignedHalt => 'stops' in stop),
      },
      groups,
      remarks,
    };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** Approved patches, and those that become approved before the end; recalled ones are not installed. */
function releasesOf({ baselines, recalls, stops }: ResolvedPolicy, catalogs: readonly Catalog[], until: number): SimRelease[] {
  const taken = new Set([...recalls, ...stops].flatMap((one) => ('action' in one && one.action !== 'warn' ? one.patches : [])));
  const known = new Map(
    catalogs.flatMap(({ product, patches }) => patches.map((patch) => [`${product} ${patch.id}`, patch] as const)),
  );
  return baselines.flatMap(({ name: list, product, approved, pending }) =>
    [
      ...approved.map((one) => ({ ...one, at: Date.parse(one.approvedAt) })),
      ...pending.map((one) => ({ ...one, at: Date.parse(one.approvesAt) })),
    ].flatMap(({ patch, at, urgency, deadline }): SimRelease[] =>
      at >= until || taken.has(patch)
        ? []
        : [
            {
              patch,
              product,
              list,
              approvedAt: at,
              emergency: urgency === 'emergency',
              deadline: deadline === undefined ? undefined : Date.parse(deadline),
              about: known.get(`${product} ${patch}`),
            },
          ],
    ),
  );
}

/** Rules of sites whose overlay holds; hosts with labels of their own may be taken out of it by the site, which a plan leaves aside. */
function sitesOf(
  home: PublisherHome,
  { delegations }: ResolvedPolicy,
  roster: Roster,
  at: number,
  remarks: string[],
): Map<string, SiteRules> {
  const rules = new Map<string, SiteRules>();
  for (const delegation of delegations) {
    const { site } = delegation;
    const taken = takenOverlay(home, site);
    if (taken === undefined || !roster.agents.some((one) => one.site === site)) continue;
    try {
      const { overlay } = openOverlay(taken, delegation, at);
      rules.set(site, siteRules({ delegation, overlay }, { agent: '', site, labels: overlay.labels }, at));
    } catch (error) {
      if (!isFault(error)) throw error;
      remarks.push(error.message);
    }
  }
  return rules;
}

export interface KnownFleet {
  readonly hosts: readonly SimHost[];
  readonly titles: ReadonlyMap<string, string>;
  /** Approved hosts that have never reported: what they lack is not known, and they are not in the plan. */
  readonly unknown: number;
}

/** The hosts of the roster as last known. */
export function knownFleet(
  storeFile: string,
  groups: ReadonlyMap<string, Group>,
  roster: Roster,
  knowledge: Knowledge,
): KnownFleet {
  const approved = roster.agents.filter(({ status }) => status === 'approved');
  const titles = new Map(approved.map(({ id, title }) => [id, title]));
  if (!fs.existsSync(storeFile)) return { hosts: [], titles, unknown: approved.length };
  const lacks = new Map<string, Set<string>>();
  for (const { agent, patch, state } of knowledge.states()) {
    if (!LACKING.has(state)) continue;
    const set = lacks.get(agent) ?? new Set();
    set.add(patch);
    lacks.set(agent, set);
  }
  const choices = knowledge.ownerChoices();
  const fleet = openFleet(storeFile);
  try {
    const facts = new Map(fleet.hosts().map((record) => [record.agent, record]));
    const hosts = approved.flatMap(({ id, group, site, labels }): SimHost[] => {
      const record = facts.get(id);
      if (record?.facts === null || record?.facts === undefined || record.evidenceAt === null) return [];
      const choice = choices.get(id);
      return [
        {
          agent: id,
          group,
          site: site ?? NO_SITE_NAME,
          zone: record.facts.zone,
          product: record.facts.product ?? '',
          labels,
          lists: listsOf(groups.get(group)),
          lacks: lacks.get(id) ?? new Set(),
          ...(choice === undefined
            ? {}
            : {
                choice: {
                  window: choice.window,
                  deferUntil: choice.deferUntil === null ? null : Date.parse(choice.deferUntil),
                },
              }),
        },
      ];
    });
    return { hosts, titles, unknown: approved.length - hosts.length };
  } finally {
    fleet.close();
  }
}

/** Baselines a group may use, each once. */
function listsOf(group: Group | undefined): string[] {
  const used = [...(group?.baselines ?? []), ...(group?.choose ?? [])];
  return [...new Set(used.map(({ baseline }) => baseline))];
}

/** Of what is approved already, the newest of each source: what a host that is behind installs. What is to come stays. */
function newestOnly(releases: readonly SimRelease[], from: number): SimRelease[] {
  const newest = new Map<string, SimRelease>();
  const keyOf = ({ list, product, about }: SimRelease) => `${list ?? product} ${about?.source}`;
  const due = (one: SimRelease) => one.about !== undefined && one.approvedAt <= from;
  for (const one of releases) {
    const before = newest.get(keyOf(one))?.about;
    if (!due(one) || one.about === undefined) continue;
    if (before === undefined || comparatorFor(one.about.format)(one.about.version, before.version) > 0)
      newest.set(keyOf(one), one);
  }
  return releases.filter((one) => !due(one) || newest.get(keyOf(one)) === one);
}

/** A fleet made from numbers, over the groups of the policy: what was approved lately or will be is what its hosts lack. */
export function madeUpFleet(
  { sim, groups }: PlannedPolicy,
  {
    count,
    sites,
    seed,
    from,
  }: { readonly count: number; readonly sites: number; readonly seed: number; readonly from: number },
): { readonly hosts: Iterable<SimHost>; readonly releases: readonly SimRelease[] } {
  const names = [...groups.keys()].toSorted();
  const lists = new Map(names.map((name) => [name, listsOf(groups.get(name))]));
  const releases = newestOnly(
    sim.releases.filter(({ approvedAt }) => approvedAt >= from - GENERATED_DAYS * DAY_MS),
    from,
  );
  function* hosts(): Generator<SimHost> {
    for (const host of generatedFleet(count, { sites, groups: names, product: '', seed }))
      yield { ...host, lists: lists.get(host.group) ?? [] };
  }
  return { hosts: { [Symbol.iterator]: hosts }, releases };
}
