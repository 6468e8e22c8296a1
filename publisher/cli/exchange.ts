// `bundle exchange`: the publisher's end of a courier's visit in one command. What the stick brings is taken in and collected,
// hosts with a pre-approved code are enrolled, acks are published, and every site of the stick gets its next bundle.
import { resolve } from 'node:path';
import { findBundles, type Medium, readBundleIndex, readMedium } from '#manifests/bundle';
import { onStick } from '#manifests/courier';
import { EXIT, type ExitCode, isFault } from '#manifests/errors';
import type { CommandContext, CommandSpec, Outcome } from '#manifests/platform/cli';
import {
  asAcknowledged,
  type BundleExportReport,
  exportBundle,
  fault,
  listSites,
  type ReturnsReport,
  readSite,
  requestToAnswer,
  type SiteRecord,
  signerOf,
} from '../airgap/index.ts';
import type { PublisherHome } from '../home.ts';
import type { CollectReport, RelayRecords } from '../results/index.ts';
import { readRoster } from '../roster/index.ts';
import { type Keyring, openKeyring, publishRoster, type RosterReport } from '../sign/index.ts';
import type { Approvals } from './approve.ts';
import { outOptionsOf, outText, PLACE, STICK_OPTIONS } from './bundle.ts';
import { acksOf, collectInbox, collectLines, relayLines, returnLines, takeFrom } from './collect.ts';
import {
  argument,
  counted,
  flag,
  homeOf,
  listOption,
  PASSPHRASE_OPTION,
  passphraseOf,
  type Tools,
  withLock,
} from './common.ts';
import { unpublished } from './publish.ts';

export function exchangeCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'bundle exchange',
      summary:
        'The whole visit of a stick: take in what it brings, publish the acks, put the next bundle of every site onto it',
      args: [PLACE],
      options: [
        {
          flags: '--site <name>',
          says: 'only for this site; may be given several times; those of the stick when absent',
          many: true,
        },
        {
          flags: '--fetch',
          says: "fetch the profile's payloads too; what is asked for or known to be lacking is always fetched",
        },
        { flags: '--full', says: 'everything, also what the sites have said they have' },
        ...STICK_OPTIONS,
        {
          flags: '--dry-run',
          says: 'say what is on the stick and what would be put onto it; takes, fetches, signs and writes nothing',
        },
        PASSPHRASE_OPTION,
      ],
      examples: [
        {
          line: 'publisher bundle exchange /media/stick',
          says: 'All that a person types here; at the site it is `relay import`.',
        },
        { line: 'publisher bundle exchange /media/stick --dry-run', says: 'What would happen.' },
      ],
      run: (context) => exchange(context, tools),
    },
  ];
}

interface Given {
  readonly context: CommandContext;
  readonly home: PublisherHome;
  readonly keyring: Keyring;
  readonly tools: Tools;
  readonly place: string;
  readonly medium: 'stick' | 'folder';
  readonly dryRun: boolean;
}

/** What came in; a dry run only looks at the stick. */
interface TakenIn {
  readonly returns: ReturnsReport;
  readonly collected?: CollectReport;
  readonly approvals?: Approvals;
  readonly relays?: RelayRecords;
  readonly roster?: RosterReport;
}

async function exchange(context: CommandContext, tools: Tools): Promise<Outcome> {
  const home = homeOf(context, tools);
  const keyring = openKeyring(home, passphraseOf(context, tools));
  const given: Given = {
    context,
    home,
    keyring,
    tools,
    place: resolve(argument(context, 0)),
    medium: flag(context, 'folder') ? 'folder' : 'stick',
    dryRun: flag(context, 'dryRun'),
  };
  return withLock(home, 'bundle exchange', async () => {
    const { medium, sites } = await onStick(given.place, () => sitesOf(given));
    const taken = await takeIn(given);
    const out: BundleExportReport[] = [];
    for (const { name } of sites) out.push(await putFor(given, name, taken.returns));
    const waiting = await waitingFor(given);
    const { refused, ...returns } = taken.returns;
    return {
      exit: exitOf(taken, out),
      text: [
        ...takenLines(taken),
        ...out.flatMap((one) => [
          `${given.dryRun ? 'for' : 'onto the stick for'} ${one.site}:`,
          ...indented(outText(one, given.dryRun)),
        ]),
        ...waiting.lines,
        lastLine(given, medium, out),
      ].join('\n'),
      report: {
        schema: 'patchferry/bundle-exchange',
        schemaVersion: 1,
        place: given.place,
        dryRun: given.dryRun,
        returns,
        refused: refused.map(({ code, message, next }) => ({ code, message, next })),
        collected: taken.collected ?? null,
        approved: taken.approvals?.approved ?? [],
        signed: taken.roster?.roles ?? [],
        unpublished: waiting.documents,
        sites: out,
      },
    };
  });
}

/** A stick carries what is published: whoever changed policy or synchronised since should know before the courier leaves. */
async function waitingFor({ context, home, keyring, tools }: Given): Promise<{ documents: string[]; lines: string[] }> {
  try {
    const documents = await unpublished(context, home, keyring, tools);
    const lines =
      documents.length === 0
        ? []
        : [
            `not on the stick: ${counted(documents.length, 'document')} of policy and catalogs changed since the last publish (${documents.slice(0, 3).join(', ')}${documents.length > 3 ? ', …' : ''}); to send that too: publisher publish, then this command again`,
          ];
    return { documents, lines };
  } catch (error) {
    if (!isFault(error)) throw error;
    return { documents: [], lines: [`the next publish will say: ${error.message}`] };
  }
}

/** Named ones; else those that the stick was prepared for; else those that have something on it; else all. */
async function sitesOf({
  context,
  home,
  keyring,
  place,
  medium: kind,
}: Given): Promise<{ medium: Medium | null; sites: SiteRecord[] }> {
  const known = listSites(home);
  const { media } = await signerOf(home, keyring);
  const medium = kind === 'folder' ? null : readMedium(place, [...media, ...known.map(({ signKey }) => signKey)]);
  const named = listOption(context, 'site');
  if (named.length > 0) return { medium, sites: named.map((name) => readSite(home, name)) };
  if (known.length === 0) throw fault('no-sites', 'no closed site is known here yet');
  const on = new Set(medium?.sites.length ? medium.sites : namesOn(place));
  const sites = on.size === 0 ? known : known.filter(({ name }) => on.has(name));
  if (sites.length === 0)
    throw fault('no-sites', `${place} is for ${[...on].join(', ')}, which nobody knows here`, { where: place });
  return { medium, sites };
}

function namesOn(place: string): string[] {
  return findBundles(place).flatMap(({ index }) => {
    try {
      return [readBundleIndex(index, 'any').index.site];
    } catch (error) {
      if (isFault(error)) return []; // told when it is taken in
      throw error;
    }
  });
}

async function takeIn(given: Given): Promise<TakenIn> {
  const { context, home, keyring, tools, place, medium, dryRun } = given;
  const returns = await takeFrom(context, home, keyring, tools, place, medium, dryRun);
  if (dryRun) return { returns };
  const { report: collected, approvals, relays } = await collectInbox(context, home, keyring, tools);
  const roster = await publishRoster({
    home,
    keyring,
    roster: readRoster(home.rosterFile),
    acks: acksOf(home),
    clock: tools.clock,
    signal: context.signal,
  });
  return { returns, collected, approvals, relays, roster };
}

function putFor(given: Given, name: string, returns: ReturnsReport): Promise<BundleExportReport> {
  const { context, home, keyring, tools, place, medium, dryRun } = given;
  const acknowledged = returns.acknowledged.find((one) => one.site === name)?.sequence ?? 0;
  const { record: site, has } = asAcknowledged(home, name, dryRun ? acknowledged : 0);
  return exportBundle({
    home,
    keyring,
    site: site.name,
    place,
    medium,
    what: 'exchange',
    request: site.oneWay ? undefined : requestToAnswer(home, site, place, has),
    full: flag(context, 'full'),
    fetch: flag(context, 'fetch'),
    ...outOptionsOf(context),
    chunks: undefined,
    dryRun,
    acknowledged,
    clock: tools.clock,
    signal: context.signal,
    progress: (label, total) => context.progress(label, total),
  });
}

function takenLines({ returns, collected, approvals, relays, roster }: TakenIn): string[] {
  const nothing = returns.rows.length === 0 && returns.refused.length === 0;
  return [
    'from the stick:',
    ...indented(nothing ? ['nothing came back'] : returnLines(returns)),
    ...indented(
      returns.requests.map(
        ({ site, sequence, payloads }) => `${site} asks for ${counted(payloads, 'payload')} (request ${sequence})`,
      ),
    ),
    ...(collected === undefined || approvals === undefined
      ? []
      : [
          'collected:',
          ...indented([...collectLines(collected, approvals), ...relayLines(relays ?? { halts: [], dropped: [] })]),
        ]),
    ...(approvals === undefined || approvals.skipped.length === 0
      ? []
      : indented([
          `${counted(approvals.skipped.length, 'host waits', 'hosts wait')} for approval: publisher agent list --pending`,
        ])),
    ...(roster === undefined || roster.roles.length === 0
      ? []
      : [`published: ${roster.roles.map(({ role, version }) => `${role} ${version}`).join(', ')}`]),
    ...(roster?.groupsWithout ?? []).map(
      (name) => `group ${name} is not published yet: its hosts have no policy until \`publisher publish\``,
    ),
  ];
}

function lastLine({ dryRun, medium: kind }: Given, medium: Medium | null, out: readonly BundleExportReport[]): string {
  const names = out
    .filter(({ current }) => !current)
    .map(({ site }) => site)
    .join(', ');
  if (dryRun)
    return 'dry run, reckoned without the results in what the stick brings: nothing was taken, fetched, signed or written';
  if (out.some(({ written }) => written.left.length > 0))
    return 'this stick is full: run it again with the next one and --span';
  if (names === '') return 'nothing to carry';
  if (kind === 'folder') return `for ${names}: carry the whole folder there`;
  return `now take the stick${medium === null ? '' : ` "${medium.label}"`} to ${names}, and type there: patchferry-relay import PLACE`;
}

const indented = (lines: string | readonly string[]): string[] =>
  (typeof lines === 'string' ? lines.split('\n') : lines).map((line) => `  ${line}`);

function exitOf({ returns, collected }: TakenIn, out: readonly BundleExportReport[]): ExitCode {
  const [refused] = returns.refused;
  if (refused !== undefined) return refused.exit;
  if (out.some(({ download }) => download.failed.length > 0)) return EXIT.unreachable;
  if (collected !== undefined && (collected.refusedCount > 0 || collected.chains.length > 0 || collected.left.length > 0))
    return EXIT.findings;
  const came = returns.rows.some(({ outcome }) => outcome !== 'current');
  const nothing = collected?.files === 0 && !came && out.every(({ written }) => written.writtenBytes === 0);
  return nothing ? EXIT.current : EXIT.done;
}
