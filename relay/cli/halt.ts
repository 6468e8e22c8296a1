// `halt`: stop this site by hand, and see what is stopped. Nothing here releases anything.
import { z } from 'zod';
import { EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { line, moment, name, PURPOSES, type Purpose } from '#manifests/schema';
import { openHop, openRecordSpool } from '../inbox/index.ts';
import { openLine } from '../line.ts';
import { openRecordStore, openRecords } from '../records/index.ts';
import { foldersOf, settingsOf } from '../settings.ts';
import { gatherFacts, HALT_STATES, haltFault, planHalt, relayKeys, signedSource } from '../site/index.ts';

const listOf = (context: CommandContext, option: string): readonly string[] => {
  const value = context.options[option];
  return Array.isArray(value) ? value.map(String) : [];
};

const asked = z.object({ name, reason: line(500).min(1) });

export const halt: CommandSpec = {
  name: 'halt',
  summary: 'stop the hosts of this site now, signed by this relay; only the publisher lifts it',
  args: [{ name: '<name>', says: 'a name for it' }],
  options: [
    { flags: '--reason <text>', says: 'what hosts and people are told (needed)' },
    {
      flags: '--stops <what>',
      says: `${PURPOSES.join(', ')} (several times); download and install unless told`,
      many: true,
      choices: PURPOSES,
    },
    { flags: '--group <name>', says: 'only hosts of this group (several times)', many: true },
    { flags: '--until <moment>', says: 'ends by itself (2026-01-31T00:00:00Z); when the publisher lifts it unless told' },
    { flags: '--hours <number>', says: 'ends by itself after so many hours' },
    { flags: '--dry-run', says: 'say what would be stopped; signs nothing' },
  ],
  examples: [
    {
      line: 'patchferry-relay halt ward-round --hours 3 --reason "operations until noon"',
      says: 'the whole site, for three hours',
    },
    {
      line: 'patchferry-relay halt printers --group label-printers --stops install --reason "labels come out blank"',
      says: 'one group, until the publisher lifts it with `publisher site lift`',
    },
  ],
  async run(context) {
    const settings = settingsOf(context);
    const folders = foldersOf(settings);
    const given = asked.safeParse({ name: context.args[0], reason: context.options['reason'] });
    if (context.options['reason'] === undefined) throw haltFault('words', '--reason is missing', { where: '--reason' });
    if (!given.success)
      throw haltFault('words', given.error.issues.map(({ path, message }) => `${path.join()}: ${message}`).join('; '));
    const keys = await relayKeys(folders, settings.site);
    const documents = signedSource(
      folders.mirror,
      () => undefined,
      () => systemClock.monotonic(),
    );
    const reach = openLine(settings, systemClock, silentLog).origin;
    const siblings = settings.siblings.map((place) => openHop(place, reach));
    try {
      const records = openRecords({
        store: openRecordStore(folders.records),
        spool: openRecordSpool(folders.inbox),
        documents,
        key: keys.sign,
        siblings,
        clock: systemClock,
        log: silentLog,
      });
      const { halt: planned, endsAt } = planHalt(
        {
          ...given.data,
          stops: stopsOf(context),
          groups: listOf(context, 'group'),
          until: untilOf(context, systemClock.now()),
        },
        {
          site: settings.site,
          signKey: keys.sign.publicKey,
          delegation: settings.site === undefined ? undefined : documents.delegation(settings.site),
          groups: documents.groups().map((group) => group.name),
          inForce: settings.site === undefined ? [] : records.inForce(settings.site),
          clock: systemClock,
        },
      );
      const dryRun = context.options['dryRun'] === true;
      const id = dryRun ? null : records.halt(planned);
      const told = dryRun ? [] : await records.tellSiblings(settings.site, context.signal);
      const who = planned.groups.length === 0 ? 'every host' : `hosts of ${planned.groups.join(', ')}`;
      const lines = [
        `${dryRun ? 'would stop' : 'stopped'}: ${planned.stops.join(', ')} of ${who} at site ${planned.site}, at their next poll, until ${endsAt} at the latest`,
        ...told.map(({ relay, says }) =>
          says === '' ? `told: ${relay}` : `not told yet: ${relay}: ${says}; it is tried again`,
        ),
        ...(id === null
          ? []
          : [`to lift it, at the publisher: publisher site lift ${planned.site} ${planned.name} && publisher publish`]),
      ];
      return {
        exit: EXIT.done,
        text: lines.join('\n'),
        report: { schema: 'patchferry/relay-halt', schemaVersion: 1, dryRun, id, halt: planned, endsAt, told },
      };
    } finally {
      await Promise.all(siblings.map((each) => each.close()));
    }
  },
};

export const haltList: CommandSpec = {
  name: 'halt list',
  summary: 'what relays of sites have stopped, by the fuse or by hand, with what has ended',
  examples: [{ line: 'patchferry-relay halt list', says: 'exit 0: nothing stops now; exit 1: something does' }],
  run(context) {
    const settings = settingsOf(context);
    const { siteHalts } = gatherFacts({ ...settings, folders: foldersOf(settings), clock: systemClock });
    const lines = siteHalts.flatMap(({ site, name: of, state, by, stops, groups, signedAt, reason, says }) => [
      `${HALT_STATES[state]}: ${site}/${of} (${by === 'fuse' ? 'by the fuse' : 'by hand'}) stops ${stops.join(', ')} of ${groups.length === 0 ? 'every host' : groups.join(', ')} since ${signedAt}: ${reason}`,
      ...(says === '' ? [] : [`  ${says}`]),
      ...(state === 'in-force'
        ? [`  to lift it, at the publisher: publisher site lift ${site} ${of} && publisher publish`]
        : []),
    ]);
    return Promise.resolve({
      exit: siteHalts.some(({ state }) => state === 'in-force') ? EXIT.findings : EXIT.done,
      text: lines.length === 0 ? 'no relay has halted its site' : lines.join('\n'),
      report: { schema: 'patchferry/relay-halts', schemaVersion: 1, halts: siteHalts },
    });
  },
};

/** @throws halt.end */
function untilOf({ options }: CommandContext, now: number): number | null {
  const { until, hours } = options;
  if (until !== undefined && hours !== undefined) throw haltFault('end', 'two ends for one halt');
  if (typeof until === 'string') {
    if (!moment.safeParse(until).success) throw haltFault('end', `${JSON.stringify(until)} is no moment`, { where: '--until' });
    return Date.parse(until);
  }
  if (hours === undefined) return null;
  const value = Number(hours);
  if (!(value > 0 && value <= 87_600))
    throw haltFault('end', `${JSON.stringify(hours)} is no number of hours`, { where: '--hours' });
  return now + value * 3_600_000;
}

function stopsOf(context: CommandContext): readonly Purpose[] {
  const given = listOf(context, 'stops');
  return given.length === 0 ? ['download', 'install'] : PURPOSES.filter((purpose) => given.includes(purpose));
}
