// `gate`: exit 0 only when this host is at the level that policy requires of it.
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { fault, passGate } from '../service/index.ts';
import { withAgent } from './frame.ts';

/** Minutes that anybody may wait. */
const MOST_MINUTES = 1_440;

export function gate(context: CommandContext): Promise<Outcome> {
  const { options, signal } = context;
  const minutes = options['wait'] === undefined ? 0 : Number(options['wait']);
  if (!(minutes >= 0 && minutes <= MOST_MINUTES))
    throw fault('usage', `--wait takes minutes, 0 to ${MOST_MINUTES}, not ${JSON.stringify(options['wait'])}`);
  return withAgent(context, async (agent) => {
    if (agent.keys === undefined) throw fault('not-enrolled', 'this host is not enrolled');
    const offline = options['offline'] === true;
    const say = (line: string) => context.say(line);
    const verdict = await passGate(agent, { signal, waitMs: minutes * 60_000, offline, say });
    const { ready, says, at, exit } = verdict;
    const text = ready
      ? `ready${offline ? ', by what was verified last' : ''}`
      : ['not ready', ...says, ...(at === null ? [] : [`next: ${at}`])].join('\n');
    return {
      exit: ready ? EXIT.done : exit,
      text,
      report: { schema: 'patchferry/agent-gate', schemaVersion: 1, ready, offline, says, at },
    };
  });
}
