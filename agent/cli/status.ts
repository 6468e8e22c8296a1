// `status` and `history`: one screen of what this host is and waits for, and what its runs did. Both only read.
import * as fs from 'node:fs';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { formatBytes } from '#manifests/platform/progress';
import type { Group } from '#manifests/schema';
import { readEnrolment } from '../outbox/index.ts';
import { choiceTold } from '../owner/index.ts';
import type { RelayReport } from '../poll/index.ts';
import { HANDS_NEEDED, NONE_WANTED, oldRoots, oneLine, type RunRow } from '../run/index.ts';
import { type Agent, fault, lastCycle, placesOf, takenOver } from '../service/index.ts';
import { settingsFrom, table, withAgent } from './frame.ts';

export async function status(context: CommandContext): Promise<Outcome> {
  const settings = await settingsFrom(context);
  if (!fs.existsSync(placesOf(settings).keys)) {
    throw fault('not-enrolled', `there is no agent in ${settings.stateDir}`, { where: settings.stateDir });
  }
  return withAgent(context, describe);
}

async function describe(agent: Agent): Promise<Outcome> {
  const { keys, journal, trust, settings, outbox } = agent;
  const view = agent.documents.view(keys?.id ?? null);
  const freshness = trust.freshness();
  const last = lastCycle(agent);
  const told = new Set((last?.notices ?? []).map(({ says }) => says));
  const open = journal.runs.open();
  const [run] = journal.runs.history(1);
  const out = outbox?.status();
  const hands = journal.meta(HANDS_NEEDED);
  const relays = agent.relays.report();
  const updaters = takenOver(journal);
  const line = await agent.line.now(false);
  const fresh = freshness.hardExpired
    ? `EXPIRED since ${freshness.since ?? 'ever'}: nothing new is installed`
    : `until ${freshness.expires}${freshness.softExpired ? `, stale since ${freshness.since ?? ''}` : ''}`;
  const rows: [string, string][] = [
    ['agent', `${keys?.id ?? 'no keys'} ("${view.member?.title ?? readEnrolment(settings.stateDir)?.title ?? ''}")`],
    [
      'standing',
      view.member === null
        ? view.standing === 'revoked'
          ? 'REVOKED'
          : 'waits for approval'
        : `approved, group ${view.member.group}`,
    ],
    ['documents', `${fresh}${versionsText(trust.versions())}`],
    [
      'clock',
      freshness.clock === 'ok'
        ? 'agrees with signed times'
        : `${freshness.clock.toUpperCase()}: trusted time is ${utcSeconds(freshness.trustedTime)}`,
    ],
    ['relay', relays.relays.length === 0 ? 'none is known' : (relays.used ?? 'none has answered yet')],
    ...relays.relays.map((relay): [string, string] => [relay.first ? '  next' : '', relayLine(relay, relays.why)]),
    ['line', line.says],
    ['last cycle', last === null ? 'none yet' : `${last.at}, exit ${last.exit}, sync ${last.sync}`],
    ...(last?.says ?? []).filter((says) => !told.has(says)).map((says): [string, string] => ['', says]),
    ['next', typeof last?.nextAt === 'number' ? utcSeconds(last.nextAt) : 'nothing is known to happen by itself'],
    ...(last?.notices ?? []).map(({ says }, index): [string, string] => [index === 0 ? 'notices' : '', says]),
    ...(updaters.length === 0
      ? []
      : [['switched off', updaters.map(({ unit, file }) => `${unit} (was ${file})`).join(', ')] as [string, string]]),
    ...ownerRows(agent),
    ['run', open === undefined ? 'none is open' : `${open.id.slice(0, 8)} in ${open.state}, taken up ${open.resumed} times`],
    ['last run', run === undefined ? 'none' : runLine(run)],
    ...oldRoots(journal).flatMap(({ root, since }): [string, string][] => {
      const until = utcSeconds(since + settings.waysBack.days * 86_400_000);
      return root === null ? [] : [['old root', `${root.name} (${root.id}) is kept until ${until}, or until room is short`]];
    }),
    ['way back', wayBackLine(agent, view.group, run)],
    [
      'outbox',
      out === undefined
        ? '-'
        : `${out.waiting} results wait for an ack (${out.unsent} unsent, ${formatBytes(out.bytes)}), last number ${out.lastSequence}, acked ${out.acked?.sequence ?? 'none'}`,
    ],
    ...(hands === undefined
      ? []
      : [
          ['HANDS', `the rollback of run ${hands.slice(0, 8)} failed: look at the host, then once --retry`] as [string, string],
        ]),
  ];
  const exit = hands !== undefined ? EXIT.handsNeeded : view.member === null ? EXIT.deferred : EXIT.done;
  return {
    exit,
    text: table(rows),
    report: {
      schema: 'patchferry/agent-status',
      schemaVersion: 1,
      agent: keys?.id ?? null,
      standing: view.standing,
      group: view.member?.group ?? null,
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
      oldRoots: oldRoots(journal),
      waysBack: { wanted: view.group?.wayBack ?? null, kept: journal.ways.kept().length },
      outbox: out ?? null,
      otherUpdatersOff: updaters,
      handsNeeded: hands ?? null,
    },
  };
}

/** One relay: why it is first, how fast it was, what went wrong last. */
function relayLine(relay: RelayReport, why: string): string {
  const facts = [
    ...(relay.first ? [why] : []),
    relay.bytesPerSecond === null ? 'not measured yet' : `${formatBytes(relay.bytesPerSecond)}/s`,
    ...(relay.lastGood === null ? [] : [`good at ${relay.lastGood}`]),
    ...(relay.restsUntil === null ? [] : [`rests until ${relay.restsUntil}`]),
    ...(relay.lastFailure === null
      ? []
      : [`failed at ${relay.lastFailure.at}: ${relay.lastFailure.code}: ${oneLine(relay.lastFailure.says, 160)}`]),
    ...(relay.takesResults ? [] : ['takes no results']),
  ];
  return `${relay.relay}: ${facts.join('; ')}`;
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

/** `; signed as of timestamp 7 (root 1, targets 2)`: the version of each role that was verified last. */
function versionsText(versions: ReturnType<Agent['trust']['versions']>): string {
  if (versions === undefined) return '; nothing was verified yet';
  const { timestamp, ...others } = versions;
  const rest = Object.entries(others).map(([role, version]) => `${role} ${version}`);
  return `; signed as of timestamp ${timestamp} (${rest.join(', ')})`;
}

function runLine({ id, started, outcome, state, body }: RunRow): string {
  const what = body === null ? '' : `, ${body.changes.length} changes${body.error === null ? '' : `, ${body.error.code}`}`;
  return `${id.slice(0, 8)} of ${started}: ${outcome ?? `open, in ${state}`}${what}`;
}

/** Whether a run can be taken back, until when, and else why not; null where there never was a way back. */
function wayOf({ journal, settings }: Agent, run: string) {
  const kept = journal.ways.kept().find((way) => way.run === run);
  if (kept !== undefined) {
    const until = utcSeconds(kept.takenAt + settings.waysBack.days * 86_400_000);
    return { kept: true, until, bytes: kept.bytes, why: null };
  }
  const why = journal.ways.gone(run);
  return why === undefined ? null : { kept: false, until: null, bytes: null, why };
}

/** Which runs could be taken back now; where none can, why. */
function wayBackLine(agent: Agent, group: Group | null, last: RunRow | undefined): string {
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

function wayText(agent: Agent, run: string): string {
  const way = wayOf(agent, run);
  if (way === null) return '';
  if (!way.kept) return ` (cannot be taken back: ${way.why})`;
  const room = way.bytes === null ? '' : `, ${formatBytes(way.bytes)}`;
  return ` (can be taken back until ${way.until}${room})`;
}

export function history(context: CommandContext): Promise<Outcome> {
  return withAgent(context, (agent): Promise<Outcome> => {
    const { runs } = agent.journal;
    const wanted = context.options['run'];
    const all = runs.history(200);
    if (typeof wanted !== 'string') {
      const kept = new Map(agent.journal.ways.kept().map((way) => [way.run, way]));
      const text = all.map((run) => runLine(run) + wayText(agent, run.id)).join('\n') || 'no run yet';
      const report = {
        schema: 'patchferry/agent-history',
        schemaVersion: 1,
        runs: all.map(({ id, started, state, outcome, body }) => ({
          id,
          started,
          state,
          outcome,
          body,
          canBeTakenBack: kept.has(id),
          wayBack: wayOf(agent, id),
        })),
      };
      return Promise.resolve({ exit: EXIT.done, text, report });
    }
    const run = all.find(({ id }) => id.startsWith(wanted));
    if (run === undefined)
      throw fault('no-such-patch', `there is no run ${wanted}`, { next: '`agent history` lists the runs.' });
    const steps = runs.steps(run.id);
    const lines = [
      runLine(run),
      ...(run.body?.error ? [`${run.body.error.code}: ${run.body.error.message}`] : []),
      table(steps.map(({ at, state, says }) => [at, state, says])),
      ...(run.body?.health ?? []).map(({ name, healthy, says }) => `health ${name}: ${healthy ? 'ok' : 'NOT OK'}: ${says}`),
      table((run.body?.changes ?? []).map(({ name, arch, from, to }) => [`${name}:${arch}`, from ?? '-', to ?? '-'])),
    ];
    return Promise.resolve({
      exit: EXIT.done,
      text: lines.filter((line) => line !== '').join('\n'),
      report: { schema: 'patchferry/agent-run', schemaVersion: 1, run: run.body, steps },
    });
  });
}
