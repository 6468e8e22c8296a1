// What every command shares: global options, the opened home, the passphrase, tables for people.
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, OptionSpec } from '#manifests/platform/cli';
import type { Clock } from '#manifests/platform/clock';
import { labels as labelsSchema } from '#manifests/schema';
import { type HomeRequest, lockHome, openHome, type PublisherHome } from '../home.ts';
import { type PassphraseSource, passphraseSource, type Terminal } from '../sign/index.ts';

const fault = defineFaults('agent-roster', {
  label: { exit: EXIT.usage, next: 'Write it as key=value, for example --label site=harbour.' },
});

/** What the commands take from outside; tests give their own. */
export interface Tools {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly terminal?: Terminal | undefined;
}

export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--home <folder>', says: 'home folder of the publisher (else PATCHFERRY_HOME, else ~/.patchferry)' },
  { flags: '--config <file>', says: 'further settings, over those of publisher.yaml' },
];

export const PASSPHRASE_OPTION: OptionSpec = {
  flags: '--passphrase-file <file>',
  says: 'read the passphrase of the keys from the first line of this file (0600) instead of asking',
};

export function homeRequest(context: CommandContext, tools: Tools): HomeRequest {
  return { home: textOption(context, 'home'), config: textOption(context, 'config'), flags: context.options, env: tools.env };
}

/** The home that the command line names. @throws home.missing, settings.invalid */
export function homeOf(context: CommandContext, tools: Tools): PublisherHome {
  return openHome(homeRequest(context, tools));
}

/** Runs `work` while no other command changes the home. @throws lock.held */
export async function withLock<T>(home: PublisherHome, purpose: string, work: () => Promise<T> | T): Promise<T> {
  const lock = lockHome(home, purpose);
  try {
    return await work();
  } finally {
    lock.release();
  }
}

export function passphraseOf(context: CommandContext, tools: Tools): PassphraseSource {
  return passphraseSource({ file: textOption(context, 'passphraseFile'), input: tools.terminal });
}

export function textOption(context: CommandContext, name: string): string | undefined {
  const value = context.options[name];
  return typeof value === 'string' ? value : undefined;
}

export function listOption(context: CommandContext, name: string): readonly string[] {
  const value = context.options[name];
  return Array.isArray(value) ? value.map(String) : [];
}

export function flag(context: CommandContext, name: string): boolean {
  return context.options[name] === true;
}

/** A positional argument; commander has made sure that required ones are there. */
export function argument(context: CommandContext, index: number): string {
  const value = context.args[index];
  return typeof value === 'string' ? value : '';
}

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => (column === head.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `1 patch`, `3 patches`. */
export function counted(count: number, one: string, many: string = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Labels as `--label key=value` gives them. @throws agent-roster.label */
export function labelsOf(given: readonly string[]): Record<string, string> {
  const pairs = given.map((text): [string, string] => {
    const at = text.indexOf('=');
    if (at < 1) throw fault('label', `${JSON.stringify(text)} is no label`, { where: '--label' });
    return [text.slice(0, at), text.slice(at + 1)];
  });
  const parsed = labelsSchema.safeParse(Object.fromEntries(pairs));
  if (!parsed.success)
    throw fault('label', parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '), {
      where: '--label',
    });
  return parsed.data;
}
