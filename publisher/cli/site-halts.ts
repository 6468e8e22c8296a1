// `site halts`, `site lift`: what relays of a site stopped by themselves, and the line in the delegation that ends it.
import * as fs from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { signedDelegationOf } from '#manifests/decide';
import { defineFaults, EXIT, isFault } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { writeFileAtomic } from '#manifests/platform/files';
import type { SignedDelegation } from '#manifests/schema';
import type { PublisherHome } from '../home.ts';
import { type RelayRecords, readRecords } from '../results/index.ts';
import { argument, homeOf, type Tools, table, withLock } from './common.ts';
import { policyOf } from './policy.ts';

const fault = defineFaults('site-halt', {
  unknown: { exit: EXIT.usage, next: '`publisher site halts` lists them with their names.' },
  delegation: { exit: EXIT.usage, next: 'Write its id under `lifted` in the delegation of the site, and publish.' },
});

export function siteHaltCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'site halts',
      summary: 'List what relays of sites have stopped by themselves, and results that relays had to drop',
      examples: [{ line: 'publisher site halts', says: 'As collected. In force until it is lifted.' }],
      run(context) {
        const home = homeOf(context, tools);
        const { halts, dropped } = recordsOf(home, tools.clock.now());
        const rows = halts.map((each) => [
          each.site,
          each.name,
          each.state,
          each.signedAt,
          each.groups.join(', ') || 'all',
          each.reason,
        ]);
        const drops = dropped.map((each) => [
          each.agent,
          String(each.results),
          rangesOf(each.dropped),
          each.why,
          each.signedAt,
          by(each),
        ]);
        return Promise.resolve({
          exit: halts.some(({ state }) => state === 'in-force') ? EXIT.findings : EXIT.done,
          text: [
            halts.length === 0
              ? 'no site has halted itself'
              : table(['SITE', 'HALT', 'STATE', 'SINCE', 'GROUPS', 'REASON'], rows),
            ...(dropped.length === 0 ? [] : ['', table(['AGENT', 'DROPPED', 'NUMBERS', 'WHY', 'SIGNED', 'BY'], drops)]),
          ].join('\n'),
          report: { schema: 'patchferry/site-halts', schemaVersion: 1, halts, dropped },
        });
      },
    },
    {
      name: 'site lift',
      summary: 'End a halt that a site’s own relay signed: written into the delegation, for the policy role to sign',
      args: [
        { name: '<site>', says: 'name of the site' },
        { name: '<halt>', says: 'name of the halt, as `site halts` shows it' },
      ],
      examples: [
        {
          line: 'publisher site lift ward-7 fuse-careful && publisher publish',
          says: 'Hosts go on at their next poll; failures before now count no more.',
        },
      ],
      run(context) {
        const home = homeOf(context, tools);
        const [site, name] = [argument(context, 0), argument(context, 1)];
        return withLock(home, 'site lift', () => {
          const found = recordsOf(home, tools.clock.now()).halts.filter(
            (each) => each.site === site && each.name === name && each.state === 'in-force',
          );
          if (found.length === 0) throw fault('unknown', `site ${site} has no halt ${name} in force`, { where: name });
          const at = utcSeconds(tools.clock.now());
          const lifted = found.map(({ id }) => ({ halt: id, name, at }));
          const file = writeLifted(home, site, lifted);
          return {
            exit: EXIT.done,
            text: `wrote ${file}\nNext: publisher publish (with the policy keys)`,
            report: { schema: 'patchferry/site-lift', schemaVersion: 1, site, lifted, file },
          };
        });
      },
    },
  ];
}

/** What relays said, held against the delegations of the policy folder. @param at milliseconds */
export function recordsOf(home: PublisherHome, at: number): RelayRecords {
  return readRecords(home.recordsFolder, delegationsOf(home, at), at);
}

/** Without any policy nothing is delegated. */
function delegationsOf(home: PublisherHome, at: number): SignedDelegation[] {
  try {
    return [...policyOf(home).delegations.values()].map(({ document }) => signedDelegationOf(document, at));
  } catch (error) {
    if (isFault(error, 'policy-folder.missing')) return [];
    throw error;
  }
}

export function rangesOf(ranges: RelayRecords['dropped'][number]['dropped']): string {
  const shown = ranges.slice(0, 6).map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`));
  return shown.join(' ') + (ranges.length > 6 ? ` and ${ranges.length - 6} more` : '');
}

const by = ({ site, key, known }: RelayRecords['dropped'][number]) =>
  known && site !== null ? `relay of ${site}` : `relay ${key.slice(0, 8)} (not in any delegation)`;

/** Adds to the delegation where it is written; comments and order of the file stay. @throws site-halt.delegation */
function writeLifted(home: PublisherHome, site: string, lifted: readonly object[]): string {
  const placed = [...policyOf(home).delegations.values()].find(({ document }) => document.spec.site === site);
  const file = placed?.at().file;
  if (file === undefined) throw fault('delegation', `no file of the policy folder delegates to ${site}`, { where: site });
  const documents = parseAllDocuments(fs.readFileSync(file, 'utf8'));
  const own = [...documents].find(
    (each) => each.get('kind') === 'SiteDelegation' && each.getIn(['spec', 'site']) === site && each.errors.length === 0,
  );
  if (own === undefined)
    throw fault('delegation', `${file} has no delegation to ${site} that can be added to`, { where: file });
  for (const each of lifted) {
    if (!own.hasIn(['spec', 'lifted'])) own.setIn(['spec', 'lifted'], own.createNode([]));
    own.addIn(['spec', 'lifted'], own.createNode(each));
  }
  writeFileAtomic(file, [...documents].map(String).join(''));
  return file;
}
