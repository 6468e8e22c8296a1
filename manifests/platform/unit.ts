// What systemd units of agent and relay share: how this program was started, and how an argument is written.
import * as fs from 'node:fs';
import { resolve } from 'node:path';

/** How this very process was started: a standalone binary by itself, else Node with its script. */
export function ownCommand(): string[] {
  const script = process.argv[1];
  const standalone =
    script === undefined ||
    resolve(script) === resolve(process.execPath) ||
    !fs.existsSync(script) ||
    !/\.[cm]?[jt]s$/.test(script);
  return standalone ? [process.execPath] : [process.execPath, resolve(script)];
}

/** An argument as systemd.service(5) reads it: quoted, `%` and `$` doubled. */
export function unitArgument(argument: string): string {
  const escaped = argument.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[A-Za-z0-9_@./:=+-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}
