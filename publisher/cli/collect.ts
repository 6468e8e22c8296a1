// `collect`: results, enrolments and what closed sites sent come in; also the parts that an exchange with a stick is made of.
import * as fs from 'node:fs';
import { resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { createLog, silentLog } from '#manifests/platform/log';
import type { Progress } from '#manifests/platform/progress';
import type { Ack } from '#manifests/schema';
import { type ReturnsReport, signerOf, takeReturns } from '../airgap/index.ts';
import type { PublisherHome } from '../home.ts';
import { type CollectReport, collect, type RelayRecords, readAcks, takeRecords } from '../results/index.ts';
import { activationSecrets, readRoster } from '../roster/index.ts';
import { type Keyring, openKeyring } from '../sign/index.ts';
import { type Approvals, approveWaiting } from './approve.ts';
import { counted, flag, homeOf, listOption, PASSPHRASE_OPTION, passphraseOf, type Tools, withLock } from './common.ts';
import { rangesOf, recordsOf } from './site-halts.ts';

export function collectCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'collect',
      summary: 'Take results and enrolments from the inbox folder into the store; the next publish acknowledges them',
      options: [
        {
          flags: '--from <place>',
          says: 'first take what closed sites sent: a stick, or with --folder a folder; may be given several times',
          many: true,
        },
        { flags: '--folder', says: 'the places of --from are folders on a disk, no prepared sticks' },
        PASSPHRASE_OPTION,
      ],
      examples: [
        {
          line: 'publisher collect --from /media/stick',
          says: 'Returns, receipts and missing lists of a stick, then as ever. `bundle exchange` does that and answers.',
        },
        { line: 'publisher collect && publisher agent list --pending', says: 'What came in, and who wants to be enrolled.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const keyring = openKeyring(home, passphraseOf(context, tools));
        return withLock(home, 'collect', async () => {
          const places = listOption(context, 'from');
          const medium = flag(context, 'folder') ? 'folder' : 'stick';
          const returns: ReturnsReport[] = [];
          // A place that cannot be read ends the command before anything is collected.
          for (const place of places) returns.push(await takeFrom(context, home, keyring, tools, resolve(place), medium));
          const { report, approvals, relays } = await collectInbox(context, home, keyring, tools);
          const halted = relays.halts.some(({ state }) => state === 'in-force');
          const refused = returns.flatMap((one) => one.refused);
          const odd = report.refusedCount > 0 || report.chains.length > 0 || report.left.length > 0 || halted;
          const nothing = report.files === 0 && returns.every(({ rows }) => rows.every(({ outcome }) => outcome === 'current'));
          return {
            exit: refused[0]?.exit ?? (odd ? EXIT.findings : nothing ? EXIT.current : EXIT.done),
            text: [
              ...returns.flatMap((one) => [...returnLines(one), ...requestLines(one)]),
              ...collectLines(report, approvals),
              ...relayLines(relays),
            ].join('\n'),
            report: {
              ...report,
              approved: approvals.approved,
              siteHalts: relays.halts,
              dropped: relays.dropped,
              returns: returns.map(({ refused: _refused, ...rest }) => rest),
            },
          };
        });
      },
    },
  ];
}

/** What closed sites put onto one stick or into one folder. The caller holds the home's lock. */
export async function takeFrom(
  context: CommandContext,
  home: PublisherHome,
  keyring: Keyring,
  tools: Tools,
  place: string,
  medium: 'stick' | 'folder',
  dryRun = false,
): Promise<ReturnsReport> {
  const { media } = await signerOf(home, keyring);
  const progress = (label: string, total?: number) => context.progress(label, total);
  return takeReturns({ home, place, medium, media, now: tools.clock.now(), dryRun, signal: context.signal, progress });
}

/** The inbox into the store, and hosts whose code was approved beforehand into the roster. The caller holds the home's lock. */
export async function collectInbox(
  context: CommandContext,
  home: PublisherHome,
  keyring: Keyring,
  tools: Tools,
): Promise<{ report: CollectReport; approvals: Approvals; relays: RelayRecords }> {
  fs.mkdirSync(home.inboxFolder, { recursive: true });
  const at = tools.clock.now();
  const { refused } = takeRecords(home.inboxFolder, home.recordsFolder, utcSeconds(at));
  const collected = await collect({
    inboxFolder: home.inboxFolder,
    storeFile: home.storeFile,
    roster: readRoster(home.rosterFile),
    recipient: await keyring.collector(),
    pendingFolder: home.pendingFolder,
    activationSecrets: activationSecrets(home.activationsFile),
    clock: tools.clock,
    log: context.json ? createLog('collect', 'error') : silentLog,
    progress: whenBegun(() => context.progress('results')),
    signal: context.signal,
  });
  const report = {
    ...collected,
    refusedCount: collected.refusedCount + refused.length,
    refused: [...refused, ...collected.refused],
  };
  const approvals = approveWaiting(home, tools.clock.now(), { which: 'preapproved' });
  return { report, approvals, relays: recordsOf(home, at) };
}

/** A line that is not shown where there is nothing to do. */
function whenBegun(start: () => Progress): Progress {
  let line: Progress | undefined;
  return {
    at(done, remark) {
      line ??= start();
      line.at(done, remark);
    },
    end: (remark) => line?.end(remark),
  };
}

/** Acks of what was collected; none before the first collect. */
export function acksOf(home: PublisherHome): Ack[] {
  return fs.existsSync(home.storeFile) ? readAcks(home.storeFile) : [];
}

const KINDS: Readonly<Record<string, string>> = {
  scan: 'scan',
  run: 'run',
  alert: 'alert',
  'waiver-request': 'request for a waiver',
  'owner-choice': "owner's choice",
};

export function collectLines(report: CollectReport, { approved }: Approvals): string[] {
  const kinds = Object.entries(report.kinds).map(([kind, count]) =>
    counted(count, KINDS[kind] ?? kind, kind === 'waiver-request' ? 'requests for waivers' : undefined),
  );
  const asks = report.enrolments.length;
  const here = new Set(approved.map(({ agent }) => agent));
  return [
    `${counted(report.files, 'file')}: ${asks === 0 ? '' : `${counted(asks, 'enrolment')}, `}${report.stored} stored${kinds.length === 0 ? '' : ` (${kinds.join(', ')})`}, ` +
      `${report.duplicates} known before, ${report.waiting} waiting for approval of their agent, ${report.refusedCount} refused`,
    ...approved.map(({ agent, title, group }) => `approved by its code: ${agent} ${title} into ${group}`),
    ...report.enrolments
      .filter(({ agent }) => !here.has(agent))
      .map(({ agent, title, activation, known }) =>
        known ? `enrolled before: ${agent} ${title}` : `wants to be enrolled: ${agent} ${title} (code ${activation})`,
      ),
    ...report.alerts.map(({ agent, code, message }) => `alert of ${agent}: ${code}: ${message}`),
    ...report.refused.map(({ file, code, says }) => `refused ${file}: ${code}: ${says}`),
    ...report.left.map(({ file, says }) => `left ${file}: ${says}`),
    ...report.chains.map(
      ({ agent, gaps, forks }) =>
        `look at ${agent}: ${counted(gaps.length, 'gap')}, ${counted(forks.length, 'fork')} in its results`,
    ),
  ];
}

/** What relays stopped by themselves and the publisher has not lifted, and what they dropped. */
export function relayLines({ halts, dropped }: RelayRecords): string[] {
  return [
    ...halts
      .filter(({ state }) => state === 'in-force')
      .map(
        ({ site, name, groups, reason }) =>
          `halted by its own relay: site ${site} (${groups.join(', ') || 'all groups'}): ${reason}; to end it: publisher site lift ${site} ${name}`,
      ),
    ...halts.filter(({ state }) => state === 'refused').map(({ says }) => `not counted: ${says}`),
    ...dropped
      .slice(0, 100)
      .map(
        ({ agent, results, dropped: ranges, why, signedAt }) =>
          `gap of ${agent}: a relay dropped ${counted(results, 'result')} (no. ${rangesOf(ranges)}) at ${signedAt}: ${why === 'disk' ? 'its disk was full' : 'its quota was reached'}; the host sends them again`,
      ),
  ];
}

const OUTCOMES: Readonly<Record<string, string>> = { taken: 'taken', current: 'nothing new', planned: 'dry run' };

export function returnLines({ rows, acknowledged, refused }: ReturnsReport): string[] {
  return [
    ...rows.map(
      ({ bundle, outcome, says, code }) =>
        `${OUTCOMES[outcome] ?? outcome.toUpperCase()}: ${bundle}: ${says}${code === null ? '' : ` (${code})`}`,
    ),
    ...acknowledged.map(({ site, sequence }) => `${site} has bundle ${sequence}`),
    ...refused.map(({ code, message, next }) => `look at: ${message} (${code}); ${next}`),
  ];
}

function requestLines({ requests }: ReturnsReport): string[] {
  return requests.map(
    ({ site, sequence, payloads }) =>
      `${site} asks for ${counted(payloads, 'payload')} (request ${sequence}): publisher bundle fill ${site} STICK`,
  );
}
