// `halt` and `recall`: what must reach hosts at once. On call needs the keys of halts, snapshot and timestamp, and nothing else.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { signedHaltOf, signedRecallOf } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec, OptionSpec, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { writeFileAtomic } from '#manifests/platform/files';
import { type AuthoredDocument, PURPOSES, RECALL_ACTIONS, readAuthoredOrThrow, type Selector } from '#manifests/schema';
import { openCatalogStore } from '../catalog/index.ts';
import type { PublisherHome } from '../home.ts';
import { onlyBlocks, type Stop } from '../policy/index.ts';
import { findAgentId, readRoster } from '../roster/index.ts';
import { openKeyring, publishedStops, publishStop, type StopReport } from '../sign/index.ts';
import {
  argument,
  counted,
  flag,
  homeOf,
  labelsOf,
  listOption,
  PASSPHRASE_OPTION,
  passphraseOf,
  type Tools,
  table,
  textOption,
  withLock,
} from './common.ts';

const fault = defineFaults('stop', {
  incomplete: { exit: EXIT.usage, next: 'See --help of the command; nothing was signed.' },
  'two-ends': { exit: EXIT.usage, next: 'Give either --until MOMENT or --hours NUMBER.' },
  hours: { exit: EXIT.usage, next: 'Give a number of hours above 0, for example --hours 12.' },
  'in-policy': {
    exit: EXIT.usage,
    next: 'It is signed by the policy role: remove its file from the policy folder and run `publisher publish`.',
  },
});

const SCOPE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--group <name>', says: 'only hosts of this group (several times)', many: true },
  { flags: '--site <name>', says: 'only hosts of this site (several times)', many: true },
  { flags: '--product <name>', says: 'only hosts of this product (several times)', many: true },
  { flags: '--agent <id>', says: 'only this host, by its id or the first digits of it (several times)', many: true },
  { flags: '--label <key=value>', says: 'only hosts with this label (several times; all must fit)', many: true },
];
const DRY_RUN: OptionSpec = { flags: '--dry-run', says: 'say what would be published; signs and writes nothing' };

export function stopCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'halt',
      summary: 'Stop installations, downloads or reboots now: signed by the halts role and published alone',
      args: [{ name: '<name>', says: 'a name for it, to lift it by' }],
      options: [
        { flags: '--reason <text>', says: 'what hosts and people are told (needed)' },
        {
          flags: '--patch <pattern>',
          says: 'only this patch, `*` stands for anything (several times); everything unless told',
          many: true,
        },
        {
          flags: '--stops <what>',
          says: `${PURPOSES.join(', ')} (several times); all unless told`,
          many: true,
          choices: PURPOSES,
        },
        { flags: '--until <moment>', says: 'ends by itself (2026-01-31T00:00:00Z); until it is lifted unless told' },
        { flags: '--hours <number>', says: 'ends by itself after so many hours' },
        ...SCOPE_OPTIONS,
        DRY_RUN,
        PASSPHRASE_OPTION,
      ],
      examples: [
        {
          line: 'publisher halt bad-openssl --patch "openssl@*" --reason "services do not start after it"',
          says: 'No further host installs it. Needs the keys of halts, snapshot and timestamp only.',
        },
        {
          line: 'publisher halt freeze --group harbour --hours 12 --reason "cranes are moving"',
          says: 'A group, for half a day.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const document = read('Halt', {
          apiVersion: 'patchferry/v1',
          kind: 'Halt',
          metadata: { name: argument(context, 0) },
          spec: {
            reason: needed(context, 'reason'),
            patches: listOption(context, 'patch'),
            ...(listOption(context, 'stops').length > 0 ? { stops: listOption(context, 'stops') } : {}),
            scope: scopeOf(context, home),
            ...untilOf(context, tools.clock.now()),
          },
        });
        return putStop(context, tools, home, document, signedHaltOf(document, tools.clock.now()));
      },
    },
    {
      name: 'halt list',
      summary: 'List the halts that are published, with those that have ended',
      examples: [{ line: 'publisher halt list', says: 'What is stopped, where, since when, why.' }],
      run: (context) => listStops(context, tools, 'halt'),
    },
    {
      name: 'halt lift',
      summary: 'Take a halt off, published alone and at once',
      args: [{ name: '<name>', says: 'name of the halt' }],
      options: [DRY_RUN, PASSPHRASE_OPTION],
      examples: [{ line: 'publisher halt lift bad-openssl', says: 'Hosts go on at their next poll.' }],
      run: (context) => liftStop(context, tools, 'halt'),
    },
    {
      name: 'recall',
      summary: 'Take a patch back: never install it, warn of it, replace it, or roll it back',
      args: [{ name: '<patches...>', says: 'patch ids' }],
      options: [
        { flags: '--name <name>', says: 'a name for it, to lift it by (needed)' },
        { flags: '--reason <text>', says: 'what hosts and people are told (needed)' },
        {
          flags: '--action <what>',
          says: 'never-install and warn are published at once by the halts role; replace and rollback change hosts and wait for `publish` with the policy role',
          choices: RECALL_ACTIONS,
          fallback: 'never-install',
        },
        { flags: '--replace-with <patch>', says: 'replace: the patch to install instead' },
        { flags: '--within-days <number>', says: 'rollback: only with a way back that is not older' },
        ...SCOPE_OPTIONS,
        DRY_RUN,
        PASSPHRASE_OPTION,
      ],
      examples: [
        {
          line: 'publisher recall openssl@3.0.15-1~deb12u1 --name openssl-u1 --reason "breaks TLS to old brokers"',
          says: 'Never installed again; hosts that have it show RECALLED_INSTALLED.',
        },
        {
          line: 'publisher recall own-tool@1.1.0 --name tool-110 --action rollback --within-days 14 --reason "loses data" && publisher publish',
          says: 'Hosts that still have a way back go back.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const patches = (Array.isArray(context.args[0]) ? context.args[0] : []).map(String);
        const within = textOption(context, 'withinDays');
        const replaceWith = textOption(context, 'replaceWith');
        const document = read('Recall', {
          apiVersion: 'patchferry/v1',
          kind: 'Recall',
          metadata: { name: needed(context, 'name') },
          spec: {
            patches,
            action: textOption(context, 'action'),
            reason: needed(context, 'reason'),
            scope: scopeOf(context, home),
            ...(replaceWith === undefined ? {} : { replaceWith }),
            ...(within === undefined ? {} : { withinDays: Number(within) }),
          },
        });
        const strangers = unknownPatches(home, patches);
        for (const patch of strangers) context.say(`remark: no catalog here has ${patch}`);
        const stop = signedRecallOf(document, tools.clock.now());
        if (onlyBlocks(document)) return putStop(context, tools, home, document, stop);
        return withLock(home, 'recall', () => {
          const file = join(home.policyFolder, 'recalls', `${document.metadata.name}.yaml`);
          if (!flag(context, 'dryRun')) writeFileAtomic(file, stringify(document));
          const says = 'it changes hosts, so the policy role signs it. Next: publisher publish';
          return outcome('recall', stop, { path: `policy/recalls/${stop.name}.json.zst`, change: 'new', roles: [] }, [
            flag(context, 'dryRun') ? `would write ${file}` : `wrote ${file}`,
            says,
          ]);
        });
      },
    },
    {
      name: 'recall list',
      summary: 'List the recalls that are published',
      examples: [{ line: 'publisher recall list', says: 'Patches, what hosts do, since when, why.' }],
      run: (context) => listStops(context, tools, 'recall'),
    },
    {
      name: 'recall lift',
      summary: 'Take a recall off, published alone and at once',
      args: [{ name: '<name>', says: 'name of the recall' }],
      options: [DRY_RUN, PASSPHRASE_OPTION],
      examples: [{ line: 'publisher recall lift openssl-u1', says: 'The patch may be installed again.' }],
      run: (context) => liftStop(context, tools, 'recall'),
    },
  ];
}

type Kind = 'Halt' | 'Recall';

/** Checks a document by the very reader that reads it back from its file. @throws policy.invalid */
function read<K extends Kind>(kind: K, value: object): Extract<AuthoredDocument, { kind: K }> {
  const [document] = readAuthoredOrThrow(stringify(value), `(the ${kind.toLowerCase()} as given)`);
  return document as Extract<AuthoredDocument, { kind: K }>;
}

/** Not marked as required for the frame, which would ask it of `list` and `lift` too. @throws stop.incomplete */
function needed(context: CommandContext, name: 'reason' | 'name'): string {
  const value = textOption(context, name);
  if (value === undefined || value === '') throw fault('incomplete', `--${name} is missing`, { where: `--${name}` });
  return value;
}

function scopeOf(context: CommandContext, home: PublisherHome): Selector {
  const agents = listOption(context, 'agent');
  const ids = agents.length === 0 ? [] : readRoster(home.rosterFile).agents.map(({ id }) => id);
  const some = (key: string, values: readonly string[]) => (values.length === 0 ? {} : { [key]: values });
  const labels = listOption(context, 'label');
  return {
    ...some('groups', listOption(context, 'group')),
    ...some('sites', listOption(context, 'site')),
    ...some('products', listOption(context, 'product')),
    ...some(
      'agents',
      agents.map((start) => findAgentId(ids, start, 'of this home')),
    ),
    ...(labels.length === 0 ? {} : { labels: labelsOf(labels) }),
  };
}

function untilOf(context: CommandContext, now: number): { until?: string } {
  const until = textOption(context, 'until');
  const hours = textOption(context, 'hours');
  if (until !== undefined && hours !== undefined) throw fault('two-ends', 'two ends for one halt');
  if (hours === undefined) return until === undefined ? {} : { until };
  const value = Number(hours);
  if (!(value > 0 && value <= 87_600))
    throw fault('hours', `${JSON.stringify(hours)} is no number of hours`, { where: '--hours' });
  return { until: utcSeconds(now + value * 3_600_000) };
}

function unknownPatches(home: PublisherHome, patches: readonly string[]): string[] {
  if (!fs.existsSync(home.catalogFolder)) return [];
  using store = openCatalogStore(home.catalogFolder);
  const known = new Set(store.products().flatMap((product) => store.catalogOf(product, 0).patches.map(({ id }) => id)));
  return known.size === 0 ? [] : patches.filter((id) => !known.has(id));
}

const fileOf = (home: PublisherHome, name: string) => join(home.haltsFolder, `${name}.yaml`);

/** The file first: if the machine dies before it is published, the next publish carries it. A halt is never lost. */
async function putStop(
  context: CommandContext,
  tools: Tools,
  home: PublisherHome,
  document: Extract<AuthoredDocument, { kind: Kind }>,
  stop: Stop,
): Promise<Outcome> {
  const kind = document.kind === 'Halt' ? 'halt' : 'recall';
  return withLock(home, kind, async () => {
    const keyring = openKeyring(home, passphraseOf(context, tools));
    const dryRun = flag(context, 'dryRun');
    const common = { home, keyring, put: stop, clock: tools.clock, signal: context.signal };
    if (!dryRun) {
      await publishStop({ ...common, dryRun: true }); // what would be refused leaves no file
      writeFileAtomic(fileOf(home, stop.name), stringify(document));
    }
    const report = await publishStop({ ...common, dryRun });
    return outcome(kind, stop, report, [
      `${dryRun ? 'would publish' : report.change === 'same' ? 'is published already:' : 'published'} ${describe(stop)}`,
      ...signed(report, dryRun),
      report.change === 'same' ? '' : 'Relays pass it on at their next sync, hosts honour it from their next poll on.',
    ]);
  });
}

/** The file last: if the machine dies before, the halt comes back, and that is the safe side. */
async function liftStop(context: CommandContext, tools: Tools, kind: 'halt' | 'recall'): Promise<Outcome> {
  const home = homeOf(context, tools);
  const name = argument(context, 0);
  return withLock(home, `${kind} lift`, async () => {
    const stops = await publishedStops(home, context.signal);
    const stop = stops.find((one) => one.name === name && kindOf(one) === kind);
    if (stop !== undefined && 'action' in stop && !['never-install', 'warn'].includes(stop.action))
      throw fault('in-policy', `recall ${name} (${stop.action}) cannot be lifted by the halts role`, { where: name });
    const dryRun = flag(context, 'dryRun');
    const keyring = openKeyring(home, passphraseOf(context, tools));
    const report = await publishStop({ home, keyring, lift: name, dryRun, clock: tools.clock, signal: context.signal });
    const file = fileOf(home, name);
    const known = fs.existsSync(file);
    if (!dryRun) fs.rmSync(file, { force: true });
    return outcome(kind, stop ?? null, report, [
      `${dryRun ? 'would lift' : 'lifted'} ${kind} ${name}`,
      ...signed(report, dryRun),
      known ? '' : `${file} was not there: if the policy folder has it, take it out there, or the next publish brings it back`,
    ]);
  });
}

const kindOf = (stop: Stop) => ('stops' in stop ? 'halt' : 'recall');

function signed({ roles }: StopReport, dryRun: boolean): string[] {
  return roles.map(({ role, version }) => `${dryRun ? 'would sign' : 'signed'} ${role} ${version}`);
}

function outcome(kind: string, stop: Stop | null, report: StopReport, lines: readonly string[]): Outcome {
  return {
    exit: report.change === 'same' ? EXIT.current : EXIT.done,
    text: lines.filter((line) => line !== '').join('\n'),
    report: { schema: 'patchferry/stop', schemaVersion: 1, kind, document: stop, ...report },
  };
}

function describe(stop: Stop): string {
  const what =
    'stops' in stop
      ? `${stop.stops.join(', ')} of ${stop.patches.length === 0 ? 'everything' : stop.patches.join(', ')}`
      : `${stop.action} ${stop.patches.join(', ')}`;
  return `${kindOf(stop)} ${stop.name}: ${what}, for ${scopeSays(stop.scope)}`;
}

function scopeSays(scope: Selector): string {
  const rows = Object.entries(scope).map(([key, value]) =>
    Array.isArray(value)
      ? `${key} ${value.join(', ')}`
      : Object.entries(value ?? {})
          .map(([label, is]) => `${label}=${is}`)
          .join(', '),
  );
  return rows.length === 0 ? 'every host' : rows.join('; ');
}

async function listStops(context: CommandContext, tools: Tools, kind: 'halt' | 'recall'): Promise<Outcome> {
  const home = homeOf(context, tools);
  const now = tools.clock.now();
  const stops = (await publishedStops(home, context.signal)).filter((stop) => kindOf(stop) === kind);
  const rows = stops.map((stop) => {
    const until = 'stops' in stop ? stop.until : null;
    const state =
      until !== null && Date.parse(until) <= now ? `ended ${until}` : until === null ? 'until lifted' : `until ${until}`;
    const what = 'stops' in stop ? stop.stops.join(',') : stop.action;
    const of = stop.patches.length === 0 ? 'everything' : stop.patches.join(' ');
    return [stop.name, what, of, scopeSays(stop.scope), stop.signedAt, state, stop.reason];
  });
  return {
    exit: EXIT.done,
    text:
      rows.length === 0
        ? `no ${kind} is published`
        : [table(['NAME', 'WHAT', 'OF', 'WHERE', 'SINCE', 'STATE', 'REASON'], rows), '', counted(rows.length, kind)].join('\n'),
    report: { schema: 'patchferry/stops', schemaVersion: 1, kind, stops },
  };
}
