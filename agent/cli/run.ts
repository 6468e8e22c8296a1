// `run`: the service in the foreground; a supervisor starts and stops it.
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { settingsFrom } from './frame.ts';

export async function runService(context: CommandContext): Promise<Outcome> {
  const [{ fault, keepRunning, openAgent }, { createLog }] = await Promise.all([
    import('../service/index.ts'),
    import('#manifests/platform/log'),
  ]);
  const settings = await settingsFrom(context);
  const agent = await openAgent(settings, { clock: systemClock, log: createLog('agent', settings.logLevel) });
  try {
    if (agent.keys === undefined)
      throw fault('not-enrolled', `there are no keys in ${agent.places.keys}`, { where: agent.places.keys });
    agent.log.info({ agent: agent.keys.id, relays: settings.relays, stateDir: settings.stateDir }, 'the agent runs');
    await keepRunning(agent, context.signal);
    agent.log.info({}, 'the agent stops');
    return { exit: EXIT.done, text: '' };
  } finally {
    await agent.close();
  }
}
