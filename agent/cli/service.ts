// `service install`, `uninstall`, `status`.
import { resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { ownCommand } from '#manifests/platform/unit';
import { giveUpdatersBack, installUnit, placesOf, removeUnit, UNIT_NAME, unitState, unitText } from '../service/index.ts';
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

export async function uninstallService(context: CommandContext): Promise<Outcome> {
  const removed = await removeUnit();
  const { stateDir, cacheDir } = await settingsFrom(context);
  const { says, trouble } = await giveUpdatersBack(placesOf({ stateDir, cacheDir }).journal, systemClock.now());
  const text = removed ? `${UNIT_NAME} is stopped and removed; state and keys stay` : `${UNIT_NAME} is not installed`;
  return {
    exit: trouble.length > 0 ? EXIT.findings : removed || says.length > 0 ? EXIT.done : EXIT.current,
    text: [text, ...says, ...trouble].join('\n'),
    report: {
      schema: 'patchferry/agent-service-removed',
      schemaVersion: 1,
      unit: UNIT_NAME,
      removed,
      givenBack: says,
      trouble,
    },
  };
}

export async function serviceStatus(): Promise<Outcome> {
  const state = await unitState();
  return {
    exit: state.active === 'active' ? EXIT.done : EXIT.findings,
    text: `${UNIT_NAME}: ${state.installed ? 'installed' : 'not installed'}, ${state.active}, at boot: ${state.enabled}`,
    report: { schema: 'patchferry/agent-service-status', schemaVersion: 1, unit: UNIT_NAME, ...state },
  };
}
