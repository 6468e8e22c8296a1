// `import`, `courier key`, and `export` onto a stick: a host without any relay, served by a courier.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { formatCard, type ReceivedRow } from '#manifests/courier';
import { evaluate } from '#manifests/decide';
import { EXIT, isFault, type PatchferryError } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import { courierPlaces, exportFromHost, type HostExportReport, importIntoHost, siteOf } from '../courier/index.ts';
import { placesOf } from '../service/index.ts';
import { writeInbox } from './export.ts';
import { settingsFrom, withAgent } from './frame.ts';
import { whatIsKnown } from './scan.ts';

/** Whether a folder is a prepared stick. */
export const isStick = (place: string): boolean => fs.existsSync(join(place, 'MEDIUM.json'));

export async function courierKey(context: CommandContext): Promise<Outcome> {
  const settings = await settingsFrom(context);
  const given = context.options['site'];
  const { name, card } = await siteOf(settings, typeof given === 'string' ? given : undefined);
  const text = formatCard(card);
  return { exit: EXIT.done, text, report: { schema: 'patchferry/site-card', schemaVersion: 1, name, card: text } };
}

export async function importBundles(context: CommandContext): Promise<Outcome> {
  const settings = await settingsFrom(context);
  const place = resolve(String(context.args[0]));
  const medium = context.options['folder'] === true ? 'folder' : 'stick';
  const dryRun = context.options['dryRun'] === true;
  const lock = takeLock(placesOf(settings).lock, 'agent import');
  let report: Awaited<ReturnType<typeof importIntoHost>>;
  try {
    report = await importIntoHost({
      settings,
      clock: systemClock,
      place,
      medium,
      dryRun,
      signal: context.signal,
      progress: (label, total) => context.progress(label, total),
    });
  } finally {
    lock.release();
  }
  const answers = medium === 'stick' && !dryRun && context.options['return'] !== false;
  const returned = answers ? await exportOnto(context, place, 'stick').catch(notEnrolled) : null;
  const { repository } = courierPlaces(settings);
  const hint = settings.relays.includes(repository)
    ? []
    : [`this host does not read ${repository} yet: enrol with --relay ${repository}, or set it under relays`];
  return {
    exit: report.error === null || report.rows.some(({ outcome }) => outcome === 'imported') ? EXIT.done : report.error.exit,
    text: [
      ...report.rows.flatMap(rowLines),
      ...hint,
      ...(returned === null ? [] : [returnLine(returned)]),
      ...(report.receipt === null ? [] : [`the receipt for the courier is ${report.receipt}`]),
    ].join('\n'),
    report: {
      schema: 'patchferry/agent-import',
      schemaVersion: 1,
      place,
      dryRun,
      ...report,
      error: errorOf(report.error),
      returned,
    },
  };
}

/** A host that is not enrolled yet has nothing to tell; its first bundle comes before its enrolment. */
function notEnrolled(error: unknown): null {
  if (isFault(error, 'agent.not-enrolled', 'trust.no-root')) return null;
  throw error;
}

/** Results, an enrolment that waits, and what this host lacks, onto a stick. */
export function exportOnto(context: CommandContext, place: string, medium: 'stick' | 'folder'): Promise<HostExportReport> {
  return withAgent(context, async (agent) => {
    const member = agent.keys === undefined ? null : agent.documents.view(agent.keys.id).member;
    const packages = member === null ? [] : evaluate((await whatIsKnown(context)).input).packages;
    return exportFromHost({
      settings: agent.settings,
      clock: systemClock,
      place,
      medium,
      signal: context.signal,
      progress: (label, total) => context.progress(label, total),
      writeInbox: (folder) => writeInbox(agent, folder),
      lacks: packages,
    });
  });
}

export function returnLine({ bundle, results, enrolments, request }: HostExportReport): string {
  const lacks =
    request === null ? '' : `; this host lacks ${request.payloads} payloads, the list for reviewers is ${request.file}`;
  return `take along: ${bundle}: ${results} results${enrolments === 0 ? '' : ' and the enrolment'}${lacks}`;
}

function rowLines({ bundle, outcome, says, code, next, note }: ReceivedRow): string[] {
  if (outcome === 'current') return [`nothing new: ${bundle} was taken over before`];
  const word = outcome === 'refused' || outcome === 'partial' ? outcome.toUpperCase() : outcome;
  return [
    `${word}: ${bundle}: ${says}`,
    ...(next === null ? [] : [`  next:  ${next}`]),
    ...(code === null ? [] : [`  code:  ${code}`]),
    ...(note === null ? [] : [`  note:  ${note}`]),
  ];
}

function errorOf(error: PatchferryError | null): { code: string; message: string; next: string } | null {
  return error === null ? null : { code: error.code, message: error.message, next: error.next };
}
