// The frame of the three command lines: help with examples, --json, progress on stderr, errors with code and next step.
import { Command, CommanderError, Option } from 'commander';
import { EXIT, type ExitCode, PatchferryError } from '#manifests/errors';
import { type Progress, startProgress } from './progress.ts';

/** A report for programs: every one names its schema, and the schema's version changes when a field does. */
export interface Report {
  readonly schema: string;
  readonly schemaVersion: number;
  readonly [field: string]: unknown;
}

/** What a command gives back: the exit code, prose for people, and the same as a document for `--json`. */
export interface Outcome {
  readonly exit: ExitCode;
  readonly text: string;
  readonly report?: Report;
}

export interface OptionSpec {
  /** As commander writes them: `--limit <n>`, `--dry-run`, `-o, --output <file>`. */
  readonly flags: string;
  readonly says: string;
  readonly fallback?: string | boolean | undefined;
  readonly choices?: readonly string[];
  /** May be given several times; the value is a list. */
  readonly many?: boolean;
  readonly required?: boolean;
}

export interface CommandContext {
  /** Positional arguments in the order of `args`; a trailing `[x...]` argument is a list. */
  readonly args: readonly (string | readonly string[] | undefined)[];
  /** Option values by camelCase name, global options included. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly json: boolean;
  /** Starts a progress line on stderr; silent with --quiet and --json. */
  progress(label: string, total?: number): Progress;
  /** One line for the person on stderr; silent with --quiet. */
  say(line: string): void;
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

export interface CommandSpec {
  /** Words of the command: `source add`. */
  readonly name: string;
  readonly summary: string;
  /** As commander writes them: `<file>`, `[patch]`, `[names...]`. */
  readonly args?: ReadonlyArray<{ readonly name: string; readonly says: string }>;
  readonly options?: readonly OptionSpec[];
  /** Lines that work as they stand, with what they do. */
  readonly examples: ReadonlyArray<{ readonly line: string; readonly says: string }>;
  run(context: CommandContext): Promise<Outcome>;
}

export interface ProgramSpec {
  readonly name: string;
  readonly summary: string;
  readonly version: string;
  readonly globalOptions?: readonly OptionSpec[];
  readonly commands: readonly CommandSpec[];
}

export interface Streams {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly errIsTerminal: boolean;
}

const processStreams: Streams = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  errIsTerminal: process.stderr.isTTY,
};

const FRAME_OPTIONS: readonly OptionSpec[] = [
  { flags: '--json', says: 'print one JSON document on stdout instead of prose' },
  { flags: '--quiet', says: 'no progress and no remarks on stderr' },
];

function toOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.says);
  if (spec.fallback !== undefined) option.default(spec.fallback);
  if (spec.choices) option.choices(spec.choices);
  if (spec.many) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  if (spec.required) option.makeOptionMandatory();
  return option;
}

/** Prose of an error: what, where, what next, and the code to search for. */
export function describeError(error: unknown): { text: string; exit: ExitCode; report: Report } {
  if (error instanceof PatchferryError) {
    const lines = [`error: ${error.message}`];
    if (error.where !== undefined && !error.message.includes(error.where)) lines.push(`  where: ${error.where}`);
    lines.push(`  next:  ${error.next}`, `  code:  ${error.code}`);
    return {
      text: `${lines.join('\n')}\n`,
      exit: error.exit,
      report: {
        schema: 'patchferry/error',
        schemaVersion: 1,
        error: { code: error.code, message: error.message, where: error.where ?? null, next: error.next },
      },
    };
  }
  const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return {
    text: `error: a bug in patchferry: ${cause}\n  next:  Please report it with this text; nothing was half done on purpose.\n  code:  bug\n`,
    exit: EXIT.bug,
    report: {
      schema: 'patchferry/error',
      schemaVersion: 1,
      error: { code: 'bug', message: error instanceof Error ? error.message : String(error), where: null, next: 'Report it.' },
    },
  };
}

/** Runs one command line to its end and gives back the exit code; never throws. */
export async function runCommandLine(
  program: ProgramSpec,
  argv: readonly string[],
  streams: Streams = processStreams,
): Promise<ExitCode> {
  const stopping = new AbortController();
  const onSignal = (name: NodeJS.Signals) => stopping.abort(new Error(`stopped by ${name}`));
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  let exit: ExitCode = EXIT.done;

  const root = new Command(program.name)
    .description(program.summary)
    .version(program.version)
    .exitOverride()
    .enablePositionalOptions() // `halt` is a command and has some below it: what follows `halt lift` is the latter's
    .configureOutput({ writeOut: streams.out, writeErr: streams.err, getErrHelpWidth: () => 100, getOutHelpWidth: () => 100 })
    .showHelpAfterError('(add --help for the options and examples)');
  for (const spec of program.commands) addCommand(root, program, spec, execute);

  async function execute(spec: CommandSpec, args: CommandContext['args'], options: Record<string, unknown>): Promise<void> {
    const json = options['json'] === true;
    const quiet = options['quiet'] === true;
    try {
      const outcome = await spec.run({
        args,
        options,
        json,
        signal: stopping.signal,
        progress: (label, total) => startProgress(label, total, quiet || json ? undefined : streams),
        say: (line) => (quiet ? undefined : streams.err(`${line}\n`)),
      });
      exit = outcome.exit;
      if (json) streams.out(`${JSON.stringify(outcome.report ?? { schema: 'patchferry/outcome', schemaVersion: 1, exit })}\n`);
      else if (outcome.text !== '') streams.out(outcome.text.endsWith('\n') ? outcome.text : `${outcome.text}\n`);
    } catch (error) {
      const described = describeError(error);
      exit = described.exit;
      streams.err(described.text);
      if (json) streams.out(`${JSON.stringify(described.report)}\n`);
    }
  }

  try {
    await root.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) exit = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    else {
      const described = describeError(error);
      streams.err(described.text);
      exit = described.exit;
    }
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
  return exit;
}

type Execute = (spec: CommandSpec, args: CommandContext['args'], options: Record<string, unknown>) => Promise<void>;

function addCommand(root: Command, program: ProgramSpec, spec: CommandSpec, execute: Execute): void {
  const words = spec.name.split(' ');
  let parent = root;
  for (const word of words.slice(0, -1)) {
    parent =
      parent.commands.find((known) => known.name() === word) ??
      parent.command(word).description(`commands about: ${word}`).exitOverride().enablePositionalOptions();
  }
  const command = parent
    .command(words.at(-1) ?? spec.name)
    .description(spec.summary)
    .exitOverride()
    .enablePositionalOptions();
  for (const arg of spec.args ?? []) command.argument(arg.name, arg.says);
  for (const option of [...(spec.options ?? []), ...(program.globalOptions ?? []), ...FRAME_OPTIONS])
    command.addOption(toOption(option));
  const examples = spec.examples.map(({ line, says }) => `  ${line}\n      ${says}`).join('\n');
  command.addHelpText('after', `\nExamples:\n${examples}\n`);
  command.action(async (...given: unknown[]) => {
    const args = given.slice(0, -2) as CommandContext['args'];
    await execute(spec, args, command.opts());
  });
}

/** The whole of a `main.ts`: runs the process's own arguments and sets the exit code. */
export async function main(program: ProgramSpec): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error; // else the reader (`head`, a pager) has seen enough: go on in silence
    });
  }
  process.exitCode = await runCommandLine(program, process.argv.slice(2));
}
