// `service install`, `uninstall`, `status`.
import { resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { installUnit, ownCommand, removeUnit, UNIT_NAME, unitState, unitText } from '../service/index.ts';
import { settingsFrom } from './frame.ts';

export async function installService(context: CommandContext): Promise<Outcome> {
  const { stateDir, cacheDir } = await settingsFrom(context);
  const config = context.options['config'];
  const text = unitText({
    command: ownCommand(),
    config: typeof config === 'string' ? resolve(config) : undefined,
    stateDir,
    cacheDir,
  });
  const report = { schema: 'patchferry/agent-service', schemaVersion: 1, unit: UNIT_NAME, text };
  if (context.options['print'] === true) return { exit: EXIT.done, text, report };
  await installUnit(text);
  return { exit: EXIT.done, text: `${UNIT_NAME} is installed, enabled and started`, report };
}

export async function uninstallService(): Promise<Outcome> {
  const removed = await removeUnit();
  return removed
    ? { exit: EXIT.done, text: `${UNIT_NAME} is stopped and removed; state and keys stay` }
    : { exit: EXIT.current, text: `${UNIT_NAME} is not installed` };
}

export async function serviceStatus(): Promise<Outcome> {
  const state = await unitState();
  return {
    exit: state.active === 'active' ? EXIT.done : EXIT.findings,
    text: `${UNIT_NAME}: ${state.installed ? 'installed' : 'not installed'}, ${state.active}, at boot: ${state.enabled}`,
    report: { schema: 'patchferry/agent-service-status', schemaVersion: 1, unit: UNIT_NAME, ...state },
  };
}
