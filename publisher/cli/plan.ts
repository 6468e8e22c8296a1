// `plan`: what will change where and when, simulated over the fleet as last known, or over one made from a number.
import { SIMULATION_LIMITS, type SimHost, simulateFleet } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { writeFileAtomic } from '#manifests/platform/files';
import { suggestion } from '#manifests/schema';
import { openCatalogStore } from '../catalog/index.ts';
import {
  type HostStart,
  knownFleet,
  madeUpFleet,
  type PlanMeta,
  plannedPolicy,
  planPage,
  planReport,
  planText,
} from '../plan/index.ts';
import { openKnowledge } from '../results/index.ts';
import { readRoster } from '../roster/index.ts';
import { homeOf, listOption, type Tools, table, textOption } from './common.ts';
import { policyOf } from './policy.ts';

const fault = defineFaults('plan', {
  number: { exit: EXIT.usage, next: 'Give a whole number in the range that is named.' },
  moment: { exit: EXIT.usage, next: 'Write it as 2026-01-31T00:00:00Z.' },
  'unknown-host': {
    exit: EXIT.usage,
    next: 'See `publisher agent list` for titles and ids; a host that never reported is in no plan.',
  },
});

export function planCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'plan',
      summary: 'Simulate the fleet over days: what installs when, how many at once, what is late, what collides',
      options: [
        { flags: '--days <number>', says: `so many days, at most ${SIMULATION_LIMITS.days}`, fallback: '60' },
        { flags: '--from <moment>', says: 'from this moment instead of now (2026-01-31T00:00:00Z)' },
        {
          flags: '--host <title-or-id>',
          says: 'also each start of this host, in UTC and in its own time (several times)',
          many: true,
        },
        { flags: '--site-limit <number>', says: 'more hosts of one site at work at once are a collision' },
        {
          flags: '--asleep <host=from/until>',
          says: 'this host is off from one moment to another (several times)',
          many: true,
        },
        {
          flags: '--generated <number>',
          says: 'a fleet of so many hosts made up over the groups of the policy, instead of the known one',
        },
        { flags: '--sites <number>', says: 'generated: over so many sites', fallback: '20' },
        { flags: '--seed <number>', says: 'generated: another number gives other hosts', fallback: '0' },
        { flags: '--html <file>', says: 'also write it as one page with a timeline' },
      ],
      examples: [
        {
          line: 'publisher plan',
          says: 'Sixty days, by the policy as it would be signed now. Exit 1 when a deadline would be missed.',
        },
        { line: 'publisher plan --host mail-1 --days 14', says: 'When one host installs what.' },
        {
          line: 'publisher plan --generated 100000 --seed 7 --html plan.html',
          says: 'What a policy would do to a large fleet, to look at.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const from = Math.floor((momentOf(textOption(context, 'from')) ?? tools.clock.now()) / 60_000) * 60_000;
        const days = numberOf(context, 'days', 1, SIMULATION_LIMITS.days) ?? 60;
        const siteLimit = numberOf(context, 'siteLimit', 1, 10_000_000);
        const count = numberOf(context, 'generated', 1, 10_000_000);
        const roster = readRoster(home.rosterFile);
        const knowledge = openKnowledge(home.storeFile);
        try {
          using catalog = openCatalogStore(home.catalogFolder);
          const catalogs = catalog.products().map((product) => catalog.catalogOf(product, tools.clock.now()));
          const policy = policyOf(home);
          const planned = await plannedPolicy({
            home,
            policy,
            catalogs,
            roster,
            knowledge,
            from,
            days,
            signal: context.signal,
          });
          const known = knownFleet(home.storeFile, planned.groups, roster, knowledge);
          const asked = hostsAsked(listOption(context, 'host'), known.hosts, known.titles);
          const asleep = asleepHosts(listOption(context, 'asleep'), known.hosts, known.titles);
          const sites = numberOf(context, 'sites', 1, 100_000) ?? 20;
          const seed = numberOf(context, 'seed', 0, 1_000_000) ?? 0;
          const made = count === undefined ? null : madeUpFleet(planned, { count, sites, seed, from });
          const starts: HostStart[] = [];
          const visit = (host: SimHost, release: { patch: string; deadline?: number | undefined }, start: number | null) => {
            if (!asked.has(host.agent)) return;
            const title = known.titles.get(host.agent) ?? host.agent;
            starts.push({ host: title, zone: host.zone, patch: release.patch, start, deadline: release.deadline ?? null });
          };
          const hosts =
            made?.hosts ??
            known.hosts.map((host) => (asleep.has(host.agent) ? { ...host, asleep: asleep.get(host.agent) } : host));
          const sim = simulateFleet(made === null ? planned.sim : { ...planned.sim, releases: made.releases }, hosts, {
            from,
            days,
            siteLimit,
            ...(asked.size === 0 ? {} : { visit }),
          });
          const meta: PlanMeta = {
            fleet: count === undefined ? 'as last known' : `made up, seed ${seed}`,
            unknown: made === null ? known.unknown : 0,
            remarks: planned.remarks,
            starts: starts.toSorted((a, b) => (a.start ?? Infinity) - (b.start ?? Infinity) || (a.patch < b.patch ? -1 : 1)),
          };
          const page = textOption(context, 'html');
          if (page !== undefined) writeFileAtomic(page, planPage(sim, meta, { siteLimit }));
          const late = sim.patches.some(({ missedDeadline }) => missedDeadline > 0);
          const text = planText(sim, meta, table);
          return {
            exit: late ? EXIT.findings : EXIT.done,
            text: page === undefined ? text : `${text}\n\npage written to ${page}`,
            report: { ...planReport(sim, meta) },
          };
        } finally {
          knowledge.close();
        }
      },
    },
  ];
}

/** @throws plan.unknown-host */
function hostsAsked(names: readonly string[], hosts: readonly SimHost[], titles: ReadonlyMap<string, string>): Set<string> {
  return new Set(names.map((name) => hostNamed(name, hosts, titles)));
}

function hostNamed(name: string, hosts: readonly SimHost[], titles: ReadonlyMap<string, string>): string {
  const found = hosts.find(
    ({ agent }) => titles.get(agent) === name || (name.length >= 4 && agent.startsWith(name.toLowerCase())),
  );
  if (found !== undefined) return found.agent;
  const known = hosts.flatMap(({ agent }) => titles.get(agent) ?? []);
  throw fault('unknown-host', `the plan has no host "${name}"${suggestion(name, known)}`, { where: name });
}

/** `--asleep mail-1=2026-03-01T00:00:00Z/2026-03-08T00:00:00Z`. @throws plan.unknown-host, plan.moment */
function asleepHosts(
  given: readonly string[],
  hosts: readonly SimHost[],
  titles: ReadonlyMap<string, string>,
): Map<string, { since: number; wokeAt: number }> {
  return new Map(
    given.map((text) => {
      const [name = '', span = ''] = text.split('=');
      const [since, wokeAt] = span.split('/').map((part) => momentOf(part) ?? Number.NaN);
      if (since === undefined || wokeAt === undefined || !(wokeAt > since))
        throw fault('moment', `${JSON.stringify(text)} is no HOST=FROM/UNTIL`, { where: '--asleep' });
      return [hostNamed(name, hosts, titles), { since, wokeAt }];
    }),
  );
}

function momentOf(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const at = Date.parse(given);
  if (Number.isNaN(at)) throw fault('moment', `${JSON.stringify(given)} is no moment`, { where: given });
  return at;
}

function numberOf(context: CommandContext, option: string, least: number, most: number): number | undefined {
  const given = textOption(context, option);
  if (given === undefined) return undefined;
  const value = /^\d{1,9}$/.test(given) ? Number(given) : Number.NaN;
  if (!(value >= least && value <= most))
    throw fault('number', `${option}: ${JSON.stringify(given)} is no number from ${least} to ${most}`, { where: option });
  return value;
}
