// `once`, `apply` and `rollback`: one cycle with or without relays, one undoing, by hand.
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { withAgent } from './frame.ts';

/** One full cycle. */
export const once = (context: CommandContext): Promise<Outcome> => cycle(context, false);

/** The same without any relay, from what is here. */
export const apply = (context: CommandContext): Promise<Outcome> => cycle(context, true);

function cycle(context: CommandContext, offline: boolean): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const { runCycle } = await import('../service/index.ts');
    let progress: ReturnType<CommandContext['progress']> | undefined;
    const report = await runCycle(agent, {
      signal: context.signal,
      eager: true,
      offline,
      retry: context.options['retry'] === true,
      say: (line) => {
        progress?.end();
        progress = undefined;
        context.say(line);
      },
      onBytes: (done, total) => {
        progress ??= context.progress('payloads, bytes', total);
        progress.at(done);
      },
    });
    progress?.end();
    const { evaluation } = report;
    const until = report.nextAt === null ? [] : [`next: ${utcSeconds(report.nextAt)}`];
    const state =
      evaluation === null
        ? []
        : [`${evaluation.compliant ? 'compliant' : 'not compliant'}: ${countsText(evaluation.counts)}`, evaluation.next.says];
    return {
      exit: report.exit,
      text: [...new Set([...report.says, ...state, ...until])].join('\n'),
      report: {
        schema: 'patchferry/agent-once',
        schemaVersion: 1,
        exit: report.exit,
        at: report.at,
        says: report.says,
        nextAt: report.nextAt === null ? null : utcSeconds(report.nextAt),
        sync: report.sync,
        compliant: evaluation?.compliant ?? null,
        counts: evaluation?.counts ?? null,
        next: evaluation?.next ?? null,
        runs: report.runs.map(({ body }) => body),
      },
    };
  });
}

/** `MISSING 24, INSTALLED 180`: what there is of each state. */
export function countsText(counts: Readonly<Record<string, number>>): string {
  const shown = Object.entries(counts).filter(([state, count]) => count > 0 && state !== 'NOT_APPLICABLE');
  return shown.map(([state, count]) => `${state} ${count}`).join(', ') || 'nothing of the catalogs concerns this host';
}

/** Takes the newest run back, or all down to the one that is named. */
export function rollback(context: CommandContext): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const { rollbackLast } = await import('../service/index.ts');
    const run = typeof context.options['run'] === 'string' ? context.options['run'] : undefined;
    const wholeRoot = context.options['wholeRoot'] === true;
    const ends = await rollbackLast(agent, { signal: context.signal, say: (line) => context.say(line), run, wholeRoot });
    const ended = ends.filter((end) => end.kind === 'ended');
    const texts = ended.map(({ body, outcome }) =>
      outcome === 'rolled-back'
        ? `taken back: ${body.changes.length} ${body.changes.length === 1 ? 'package is' : 'packages are'} as before; the set is not installed again until it changes`
        : `the rollback failed: ${body.states.at(-2)?.says ?? ''}`,
    );
    const last = ended.at(-1);
    if (last === undefined || ends.length > ended.length) {
      const waits = ends.flatMap((end) => (end.kind === 'rebooting' && end.says !== undefined ? [end.says] : []));
      const on = 'the rollback goes on when the agent starts again';
      return { exit: EXIT.deferred, text: [...texts, ...waits, on].join('\n') };
    }
    return {
      exit: last.outcome === 'rolled-back' ? EXIT.done : EXIT.handsNeeded,
      text: texts.join('\n'),
      report: { schema: 'patchferry/agent-run', schemaVersion: 1, run: last.body, runs: ended.map(({ body }) => body) },
    };
  });
}
