// `status`: one screen of what this host is, what it waits for and until when, and what a person can do. Only reads.
import * as fs from 'node:fs';
import { evaluate } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { formatBytes } from '#manifests/platform/progress';
import type { Group } from '#manifests/schema';
import { readEnrolment } from '../outbox/index.ts';
import { choiceTold } from '../owner/index.ts';
import type { RelayReport } from '../poll/index.ts';
import { NONE_WANTED, oldRoots, oneLine, type RunRow } from '../run/index.ts';
import {
  type Agent,
  awaitsOtherRoot,
  decideInput,
  factsOfWaiting,
  fault,
  inventoryOf,
  lastCycle,
  placesOf,
  takenOver,
  type Waiting,
  waitingFor,
} from '../service/index.ts';
import { settingsFrom, withAgent } from './frame.ts';
import { wayOf } from './history.ts';
import { countsText } from './once.ts';
import { facts, hanging, moment, type Paint, paint, type Screen, screenOf } from './screen.ts';

/** Relays that are told of one by one; `--json` has all. */
const RELAYS_SHOWN = 3;
/** Sentences of the last cycle. */
const SAYS_SHOWN = 3;

export async function status(context: CommandContext): Promise<Outcome> {
  const settings = await settingsFrom(context);
  if (!fs.existsSync(placesOf(settings).keys)) {
    throw fault('not-enrolled', `there is no agent in ${settings.stateDir}`, { where: settings.stateDir });
  }
  return withAgent(context, (agent) => describe(agent, screenOf(process.stdout, process.env)));
}

const MOODS: Readonly<Record<Waiting['mood'], Paint>> = { well: 'good', waits: 'waits', hands: 'bad' };

async function describe(agent: Agent, screen: Screen): Promise<Outcome> {
  const { keys, journal, trust, settings, outbox } = agent;
  const view = agent.documents.view(keys?.id ?? null);
  const freshness = trust.freshness();
  const now = agent.trustedNow();
  const last = lastCycle(agent);
  const open = journal.runs.open();
  const [run] = journal.runs.history(1);
  const inventory = await inventoryOf(settings, agent.clock, false);
  const evaluation = view.member === null ? null : evaluate(decideInput(agent, view, inventory, journal.runs.memory()));
  const found = await factsOfWaiting(agent, view, inventory, evaluation);
  const waiting = waitingFor(found);
  const title = view.member?.title ?? readEnrolment(settings.stateDir)?.title ?? 'this host';
  const relays = agent.relays.report();
  const line = await agent.line.now(false);
  const out = outbox?.status();
  const updaters = takenOver(journal);
  const head = `${title} ${waiting.headline}`;
  const until = waiting.until === null || waiting.until <= now ? '' : `, until ${moment(waiting.until, now)}`;
  const [name, ...rest] = hanging(screen, '', `${head}${until}`).split('\n');
  // a halt that stops it stands at the top
  const notices = (last?.notices ?? []).filter(({ code }) => waiting.kind !== 'halt' || code !== 'policy.halt');
  const rows: [string, string][] = [
    ['agent', `${keys?.id ?? 'no keys'}${view.member === null ? '' : `, group ${view.member.group}`}`],
    ...(evaluation === null
      ? []
      : [
          ['patches', `${evaluation.compliant ? 'compliant' : 'not compliant'}: ${countsText(evaluation.counts)}`] as [
            string,
            string,
          ],
        ]),
    ['documents', documentsText(freshness, trust.versions()?.timestamp, now)],
    ...(freshness.clock === 'ok'
      ? []
      : [
          [
            'clock',
            `${freshness.clock.toUpperCase()}: trusted time is ${moment(freshness.trustedTime, agent.clock.now())}`,
          ] as [string, string],
        ]),
    ...relayRows(relays),
    ...(line.says.startsWith('not held back') ? [] : [['line', line.says] as [string, string]]),
    ...(found.atWork ? [['now', 'a cycle is under way'] as [string, string]] : []),
    ['last cycle', last === null ? 'none yet' : cycleText(last, waiting.says, now)],
    [
      'next cycle',
      typeof last?.nextAt === 'number' && last.nextAt > now
        ? `at the next poll, at the latest ${moment(last.nextAt, now)}`
        : 'at the next poll',
    ],
    ...notices.map(({ says }, index): [string, string] => [index === 0 ? 'notices' : '', says]),
    ...(updaters.length === 0
      ? []
      : [
          ['switched off', `${updaters.map(({ unit }) => unit).join(', ')}; given back by service uninstall`] as [
            string,
            string,
          ],
        ]),
    ...ownerRows(agent),
    ...(awaitsOtherRoot(agent)
      ? [
          ['root', 'another one from the next boot on, with this agent’s state; until then nothing is written'] as [
            string,
            string,
          ],
        ]
      : []),
    ['last run', run === undefined ? 'none' : lastRunText(run)],
    ...oldRoots(journal).flatMap(({ root, since }): [string, string][] => {
      const keptUntil = utcSeconds(since + settings.waysBack.days * 86_400_000);
      return root === null
        ? []
        : [['old root', `${root.name} (${root.id}) is kept until ${keptUntil}, or until room is short`]];
    }),
    ['way back', wayBackText(agent, view.group, run)],
    ['outbox', out === undefined ? '-' : outboxText(out)],
  ];
  const lines = [
    paint(screen, MOODS[waiting.mood], name ?? ''),
    ...rest.map((more) => paint(screen, MOODS[waiting.mood], more)),
    ...waiting.says.map((says) => hanging(screen, '  ', says)),
    ...waiting.next.map((step) => hanging(screen, '  -> ', step)),
    '',
    facts(screen, rows),
  ];
  return {
    exit: found.hands !== null ? EXIT.handsNeeded : view.member === null ? EXIT.deferred : EXIT.done,
    text: lines.join('\n'),
    report: {
      schema: 'patchferry/agent-status',
      schemaVersion: 1,
      agent: keys?.id ?? null,
      standing: view.standing,
      group: view.member?.group ?? null,
      waiting: { ...waiting, until: waiting.until === null ? null : new Date(waiting.until).toISOString() },
      compliant: evaluation?.compliant ?? null,
      counts: evaluation?.counts ?? null,
      freshness,
      versions: trust.versions() ?? null,
      relays: settings.relays,
      relayUse: relays,
      line,
      lastCycle: last,
      notices: last?.notices ?? [],
      ownerChoice: choiceTold(journal),
      openRun: open === undefined ? null : { id: open.id, state: open.state, resumed: open.resumed },
      lastRun: run?.body ?? null,
      awaitsOtherRoot: awaitsOtherRoot(agent),
      oldRoots: oldRoots(journal),
      waysBack: { wanted: view.group?.wayBack ?? null, kept: journal.ways.kept().length },
      outbox: out ?? null,
      otherUpdatersOff: updaters,
      handsNeeded: found.hands,
    },
  };
}

function documentsText(
  { hardExpired, softExpired, since, expires }: ReturnType<Agent['trust']['freshness']>,
  timestamp: number | undefined,
  now: number,
): string {
  const version = timestamp === undefined ? 'nothing was verified yet' : `timestamp ${timestamp}`;
  if (hardExpired) return `EXPIRED since ${since ?? 'ever'}: nothing new is installed; ${version}`;
  const until = expires === '' ? 'none yet' : `good until ${moment(Date.parse(expires), now)}`;
  return `${until}${softExpired ? `, stale since ${since ?? ''}` : ''}; ${version}`;
}

/** The cycle's own words, but for those that stand elsewhere on the screen. */
function cycleText(last: NonNullable<ReturnType<typeof lastCycle>>, above: readonly string[], now: number): string {
  const told = new Set((last.notices ?? []).map(({ says }) => says));
  const known = above.map((one) => one.toLowerCase().replace(/\.$/, ''));
  const isAbove = (one: string) => known.some((text) => text.includes(one) || one.includes(text));
  const elsewhere =
    /^(?:this host (?:waits|was revoked)|run [0-9a-f]{8} |tried again |\d+ results? sent$|\S+ is switched off )/;
  const says = last.says
    .filter((one) => !told.has(one) && !elsewhere.test(one) && !isAbove(one.toLowerCase()))
    .slice(0, SAYS_SHOWN);
  const sync =
    last.sync === 'synced' ? 'a relay answered' : last.sync === 'paused' ? 'no relay was asked' : `relays: ${last.sync}`;
  return [`${moment(Date.parse(last.at), now)}, exit ${last.exit}, ${sync}`, ...says.map((one) => oneLine(one, 140))].join(
    '; ',
  );
}

function relayRows({ relays, used, why }: ReturnType<Agent['relays']['report']>): [string, string][] {
  if (relays.length === 0) return [['relay', 'none is known']];
  const shown = relays
    .slice(0, RELAYS_SHOWN)
    .map((relay, index): [string, string] => [index === 0 ? 'relay' : '', relayLine(relay, why, used)]);
  const more = relays.length > RELAYS_SHOWN ? [['', `and ${relays.length - RELAYS_SHOWN} more`] as [string, string]] : [];
  const other =
    used === null || relays.some(({ relay }) => relay === used) ? [] : [['', `used last: ${used}`] as [string, string]];
  return [...shown, ...more, ...other];
}

/** One relay: why it is first, how fast it was, what went wrong last. */
function relayLine(relay: RelayReport, why: string, used: string | null): string {
  const known = [
    ...(relay.relay === used ? ['used last'] : []),
    ...(relay.first ? [why] : []),
    ...(relay.bytesPerSecond === null ? [] : [`${formatBytes(relay.bytesPerSecond)}/s`]),
    ...(relay.lastGood === null ? ['has not answered yet'] : [`good at ${relay.lastGood}`]),
    ...(relay.restsUntil === null ? [] : [`rests until ${relay.restsUntil}`]),
    ...(relay.lastFailure === null
      ? []
      : [`failed at ${relay.lastFailure.at}: ${relay.lastFailure.code}: ${oneLine(relay.lastFailure.says, 120)}`]),
    ...(relay.takesResults ? [] : ['takes no results']),
  ];
  return `${relay.relay}: ${known.join('; ')}`;
}

/** What the owner chose, where anything. */
function ownerRows({ journal }: Agent): [string, string][] {
  const choice = choiceTold(journal);
  if (choice === null) return [];
  const { window, deferUntil, chosenBy } = choice;
  const parts = [
    ...(window === null ? [] : [`window ${window}`]),
    ...(deferUntil === null ? [] : [`nothing before ${deferUntil}`]),
  ];
  return [['owner', `${chosenBy} chose ${parts.join(', ')}`]];
}

function outboxText(out: NonNullable<ReturnType<NonNullable<Agent['outbox']>['status']>>): string {
  const sent = out.unsent === 0 ? 'all sent' : `${out.unsent} not sent yet`;
  const kept = out.waiting === 0 ? '' : ` (${formatBytes(out.bytes)}, ${sent})`;
  return `${out.waiting} results wait for an ack${kept}; last number ${out.lastSequence}, acked ${out.acked?.sequence ?? 'none'}`;
}

function lastRunText({ id, started, outcome, state, body }: RunRow): string {
  const what = body === null ? '' : `, ${body.changes.length} changes${body.error === null ? '' : `, ${body.error.code}`}`;
  return `${id.slice(0, 8)} of ${started}: ${outcome ?? `open, in ${state}`}${what}`;
}

/** Which runs could be taken back now; where none can, why. */
function wayBackText(agent: Agent, group: Group | null, last: RunRow | undefined): string {
  const kept = agent.journal.ways.kept();
  const newest = kept.at(-1);
  const unwanted = group?.wayBack === 'none' ? `; the next run has none: ${NONE_WANTED}` : '';
  if (newest !== undefined) {
    const before = kept.length === 1 ? '' : `, and ${kept.length - 1} before it`;
    return `run ${newest.run.slice(0, 8)} can be taken back until ${wayOf(agent, newest.run)?.until ?? ''}${before}${unwanted}`;
  }
  const why = last?.outcome === 'committed' && last.data.waySays !== null ? `: ${last.data.waySays}` : '';
  return `no run can be taken back${why}${why === '' ? unwanted : ''}`;
}
