// `history`: the runs of this host and which of them can still be taken back, or all of one. Only reads.
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { formatBytes } from '#manifests/platform/progress';
import type { RunRow } from '../run/index.ts';
import { type Agent, fault } from '../service/index.ts';
import { table, withAgent } from './frame.ts';
import { hanging, type Paint, paint, type Screen, screenOf } from './screen.ts';

const SHOWN = 200;
const PAINTS: Readonly<Record<string, Paint>> = {
  committed: 'good',
  'rolled-back': 'waits',
  'rollback-failed': 'bad',
};

export function history(context: CommandContext): Promise<Outcome> {
  return withAgent(context, async (agent): Promise<Outcome> => {
    const screen = screenOf(process.stdout, process.env);
    const all = agent.journal.runs.history(SHOWN);
    const wanted = context.options['run'];
    if (typeof wanted !== 'string') return list(agent, all, screen);
    const run = all.find(({ id }) => id.startsWith(wanted));
    if (run === undefined)
      throw fault('no-such-patch', `there is no run ${wanted}`, { next: '`agent history` lists the runs.' });
    return one(agent, run, screen);
  });
}

/** Whether a run can be taken back, until when, and else why not; null where there never was a way back. */
export function wayOf({ journal, settings }: Agent, run: string) {
  const kept = journal.ways.kept().find((way) => way.run === run);
  if (kept !== undefined) {
    const until = utcSeconds(kept.takenAt + settings.waysBack.days * 86_400_000);
    return { kept: true, until, bytes: kept.bytes, why: null };
  }
  const why = journal.ways.gone(run);
  return why === undefined ? null : { kept: false, until: null, bytes: null, why };
}

function wayText(agent: Agent, run: string): string {
  const way = wayOf(agent, run);
  if (way === null) return '';
  if (!way.kept) return `cannot be taken back: ${way.why}`;
  return `can be taken back until ${way.until}${way.bytes === null ? '' : `, ${formatBytes(way.bytes)}`}`;
}

/** What it came to, in words: `committed`, or where it is. */
function cameTo({ outcome, state }: RunRow): string {
  return outcome ?? `open, in ${state}`;
}

function changedText({ body }: RunRow): string {
  if (body === null) return '';
  const count = body.changes.length;
  const what = count === 0 ? 'nothing changed' : `${count} ${count === 1 ? 'change' : 'changes'}`;
  return body.error === null ? what : `${what}; ${body.error.code}`;
}

function list(agent: Agent, all: readonly RunRow[], screen: Screen): Outcome {
  const width = Math.max(...all.map((run) => cameTo(run).length), 0);
  const lines = all.map((run) => {
    const came = cameTo(run);
    const first = `${run.id.slice(0, 8)}  ${run.started}  ${came.padEnd(width)}  `;
    const rest = [changedText(run), wayText(agent, run.id)].filter((part) => part !== '').join('; ');
    return hanging(screen, first, rest).replace(came, paint(screen, PAINTS[run.outcome ?? ''] ?? 'strong', came));
  });
  const newest = agent.journal.ways.kept().at(-1);
  const steps =
    all.length === 0
      ? []
      : [
          `-> patchferry-agent history --run ${all[0]?.id.slice(0, 8)} shows all of one run`,
          ...(newest === undefined ? [] : [`-> patchferry-agent rollback takes run ${newest.run.slice(0, 8)} back`]),
        ];
  const report = {
    schema: 'patchferry/agent-history',
    schemaVersion: 1,
    runs: all.map(({ id, started, state, outcome, body }) => {
      const wayBack = wayOf(agent, id);
      return { id, started, state, outcome, body, canBeTakenBack: wayBack?.kept === true, wayBack };
    }),
  };
  return { exit: EXIT.done, text: [...lines, ...steps].join('\n') || 'no run yet', report };
}

/** The time of day alone, where the day is the run's. */
function clockOf(at: string, started: string): string {
  return at.slice(0, 10) === started.slice(0, 10) ? at.slice(11) : at;
}

/** Every state, check, fix, hook and change of one run. */
function one(agent: Agent, run: RunRow, screen: Screen): Outcome {
  const steps = agent.journal.runs.steps(run.id);
  const { body, data } = run;
  const fixes = body?.fixes ?? data.fixes ?? [];
  const checks = (body?.prechecks ?? data.prechecks ?? []).filter(({ ok }) => !ok);
  const lines = [
    `run ${run.id.slice(0, 8)} of ${run.started}: ${cameTo(run)}${body === null ? '' : `, ${changedText(run)}`}`,
    ...(body?.error ? [hanging(screen, '  ', body.error.message)] : []),
    ...[wayText(agent, run.id)].filter((text) => text !== '').map((text) => hanging(screen, '  ', text)),
    ...steps.map(({ at, state, says }) => hanging(screen, `${clockOf(at, run.started)}  ${state.padEnd(14)}  `, says)),
    ...checks.map(({ name, blocks, says }) =>
      hanging(screen, 'check   ', `${name}: not well${blocks ? '' : ' (only told)'}: ${says}`),
    ),
    ...fixes.map(({ name, outcome, says }) =>
      hanging(screen, 'fix     ', `${name}: ${outcome}${says === '' ? '' : `: ${says}`}`),
    ),
    ...(body?.hooks ?? []).map(({ name, at, outcome, says }) =>
      hanging(screen, 'hook    ', `${at} ${name}: ${outcome}${says === '' ? '' : `: ${says}`}`),
    ),
    ...(body?.health ?? []).map(({ name, healthy, says }) =>
      hanging(screen, 'health  ', `${name}: ${healthy ? 'ok' : 'NOT OK'}: ${says}`),
    ),
    ...(body?.restarted ?? []).map((unit) => `restart ${unit}`),
    ...((body?.changes.length ?? 0) === 0
      ? []
      : [
          table(
            (body?.changes ?? []).map(({ name, arch, from, to }) => [
              `${name}:${arch}`,
              `${from ?? '(new)'} -> ${to ?? '(gone)'}`,
            ]),
          ),
        ]),
  ];
  return {
    exit: EXIT.done,
    text: lines.join('\n'),
    report: { schema: 'patchferry/agent-run', schemaVersion: 1, run: body, steps },
  };
}
