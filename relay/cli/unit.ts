// `systemd-unit`: the relay as a service of this machine.
import { resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { ownCommand } from '#manifests/platform/unit';
import { foldersOf, type RelaySettings, SETTING_OPTIONS, settingsOf } from '../settings.ts';
import { unitText } from '../unit.ts';

const isFolder = (place: string) => !/^https?:/i.test(place);
const local = (place: string) => resolve(place.replace(/^file:\/\//i, ''));

/** Files and folders that the settings name, to read. */
function readBy({ upstream, upstreamRoot, tls, upstreamTls, proxy }: RelaySettings): string[] {
  const files = [upstreamRoot, tls?.cert, tls?.key, tls?.clientCa, upstreamTls.ca, upstreamTls.cert, upstreamTls.key];
  return [...upstream.filter(isFolder), ...files, proxy?.passwordFile].flatMap((path) =>
    path === undefined ? [] : [local(path)],
  );
}

const PATHS = ['config', 'stateDir', 'cacheDir', 'upstreamRoot'];

/** The options of this very command line, for the service: paths absolute, since a service starts elsewhere. */
function givenOptions(given: Readonly<Record<string, unknown>>): string[] {
  return SETTING_OPTIONS.flatMap(({ flags }) => {
    const [flag = ''] = flags.split(' ');
    const name = flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const value = given[name];
    const values = Array.isArray(value) ? (value as unknown[]) : value === undefined ? [] : [value];
    return values.flatMap((each) => {
      const text = String(each);
      const isPath = PATHS.includes(name) || (name === 'upstream' && isFolder(text));
      return [flag, isPath ? local(text) : text];
    });
  });
}

export const systemdUnit: CommandSpec = {
  name: 'systemd-unit',
  summary: 'print a hardened systemd unit that runs this relay with these settings, under an account of its own',
  examples: [
    {
      line: 'patchferry-relay systemd-unit --config /etc/patchferry/relay.yaml > /etc/systemd/system/patchferry-relay.service',
      says: 'what else is to be done once stands at its top',
    },
  ],
  run(context) {
    const settings = settingsOf(context);
    const folders = foldersOf(settings);
    const options = givenOptions(context.options);
    const { dropFolder, inboxForward } = settings;
    const text = unitText({
      command: ownCommand(),
      options,
      listen: settings.listen,
      stateDir: resolve(folders.state),
      cacheDir: resolve(folders.cache),
      writes: [...(dropFolder === undefined ? [] : [dropFolder]), ...inboxForward.filter(isFolder)].map(local),
      reads: [...readBy(settings), ...options.filter((part) => part.startsWith('/'))],
    });
    return Promise.resolve({
      exit: EXIT.done,
      text: text.trimEnd(),
      report: { schema: 'patchferry/relay-unit', schemaVersion: 1, text },
    });
  },
};
