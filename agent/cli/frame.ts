// What commands share: settings from options, an opened agent, and the shape of a report.
import type { CommandContext } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import type { Agent, AgentSettings } from '../service/index.ts';

/** The settings as flags, environment and files give them. @throws settings.* */
export async function settingsFrom({ options }: Pick<CommandContext, 'options'>): Promise<AgentSettings> {
  const { loadSettings } = await import('../service/index.ts');
  return loadSettings(options, process.env);
}

/** Opens the agent of this command line, and closes it afterwards. Logs go to stderr only where the settings ask for more. */
export async function withAgent<T>(context: CommandContext, use: (agent: Agent) => Promise<T>): Promise<T> {
  const [{ openAgent, diskTrouble }, { silentLog }] = await Promise.all([
    import('../service/index.ts'),
    import('#manifests/platform/log'),
  ]);
  const settings = await settingsFrom(context);
  try {
    const agent = await openAgent(settings, { clock: systemClock, log: silentLog });
    try {
      return await use(agent);
    } finally {
      await agent.close();
    }
  } catch (error) {
    throw diskTrouble(error) ?? error;
  }
}

/** Left-aligned columns, two blanks between; the last one is not padded. */
export function table(rows: ReadonlyArray<readonly string[]>): string {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, index) => Math.max(most[index] ?? 0, cell.length)), []);
  return rows
    .map((row) =>
      row
        .map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
