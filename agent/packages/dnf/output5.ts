// The table that dnf 5 prints before it asks (`--assumeno`), read; pure. As for dnf 4, what is read is held against dnf's own summary,
// and a form that is not understood is an error and never a smaller plan. Format: dnf5, libdnf5-cli/output/transaction_table.cpp.
import { fault } from '../host.ts';
import type { Row, Transaction } from './output.ts';

type Kind = 'install' | 'upgrade' | 'downgrade' | 'reinstall' | 'remove' | 'reason' | 'enable' | 'skip';

const SECTIONS: Readonly<Record<string, Kind>> = {
  Installing: 'install',
  'Installing dependencies': 'install',
  'Installing weak dependencies': 'install',
  Upgrading: 'upgrade',
  Downgrading: 'downgrade',
  Reinstalling: 'reinstall',
  Removing: 'remove',
  'Removing dependent packages': 'remove',
  'Removing unused dependencies': 'remove',
  'Changing reason': 'reason',
  'Enabling module streams': 'enable',
  'Skipping packages with conflicts': 'skip',
  'Skipping packages with broken dependencies': 'skip',
};

/** The lines of the summary that are held against the table. */
const COUNTED: Readonly<Record<string, Kind | 'replace'>> = {
  Installing: 'install',
  Upgrading: 'upgrade',
  Downgrading: 'downgrade',
  Reinstalling: 'reinstall',
  Removing: 'remove',
  Replacing: 'replace',
};

const HEAD = /^ *Package +Arch +Version +Repository +Size$/;
const COUNT = /^ ([A-Z][a-z ]*): +(\d+) packages?$/;

interface Replaced {
  readonly by: string;
  readonly row: Row;
}

/** @param output stdout of dnf 5. Undefined when it prints no transaction. @throws packages.dnf-failed on a form that is not known */
export function parseTransaction5(output: string): Transaction | undefined {
  const bad = (says: string) => fault('dnf-failed', `dnf printed a plan in a form that is not known: ${says.slice(0, 200)}`);
  const lines = output.split('\n').map((line) => line.trimEnd());
  const start = lines.findIndex((line) => HEAD.test(line));
  if (start < 0) return undefined;
  const end = lines.indexOf('Transaction Summary:', start);
  const rows = new Map<Kind, Row[]>();
  const replaced: Replaced[] = [];
  const enabling: string[] = [];
  let kind: Kind | undefined;
  for (const line of lines.slice(start + 1, end < 0 ? lines.length : end)) {
    if (line === '' || line === 'Nothing to do.') continue;
    if (/^\S.*:$/.test(line)) {
      kind = SECTIONS[line.slice(0, -1)];
      if (kind === undefined) throw bad(line);
      continue;
    }
    if (kind === undefined) throw bad(line);
    if (kind === 'reason' && /^ {3}\S.* -> \S/.test(line)) continue; // why it is there, before and after
    const [first = '', ...rest] = line.trim().split(/\s+/);
    if (kind === 'enable') {
      if (rest.length !== 1) throw bad(line);
      enabling.push(`${first}:${rest[0]}`);
      continue;
    }
    if (/^ {3}replacing /.test(line)) {
      const by = rows.get(kind)?.at(-1)?.name;
      if (by === undefined) throw bad(line);
      replaced.push({ by, row: rowOf(rest, bad) });
    } else if (/^ \S/.test(line)) {
      const list = rows.get(kind) ?? [];
      list.push(rowOf([first, ...rest], bad));
      rows.set(kind, list);
    } else throw bad(line);
  }
  checkCounts(end < 0 ? [] : lines.slice(end + 1), rows, replaced.length, bad);
  const read = (which: Kind) => rows.get(which) ?? [];
  // What goes because a package of another name takes its place; an older version of the same one is no removal.
  const obsoleted = replaced.filter(({ by, row }) => by !== row.name).map(({ row }) => row);
  return {
    installs: [...read('install'), ...read('upgrade')],
    removals: [...read('remove'), ...obsoleted].map(({ name, arch, version }) => ({ name, arch, version })),
    downgrades: read('downgrade'),
    enabling,
  };
}

function checkCounts(
  summary: readonly string[],
  rows: ReadonlyMap<Kind, readonly Row[]>,
  replaced: number,
  bad: (says: string) => Error,
): void {
  const said = new Map<string, number>();
  for (const line of summary) {
    const [, what = '', count] = COUNT.exec(line) ?? [];
    const counted = COUNTED[what];
    if (counted !== undefined) said.set(counted, Number(count));
  }
  for (const which of new Set(Object.values(COUNTED))) {
    const found = which === 'replace' ? replaced : (rows.get(which)?.length ?? 0);
    const told = said.get(which) ?? 0;
    if (found !== told) throw bad(`${found} rows to ${which}, and a summary of ${told}`);
  }
}

/** `name arch [epoch:]version-release repository 1.2 MiB`; the epoch is written where it is 0 too. */
function rowOf(words: readonly string[], bad: (says: string) => Error): Row {
  const [name, arch, evr, repository, size, unit] = words;
  const whole = words.length === 6 && /^[0-9.]+$/.test(size ?? '') && /^(?:[KMGTPEZY]i)?B$/.test(unit ?? '');
  if (!whole || name === undefined || arch === undefined || evr === undefined || repository === undefined) {
    throw bad(words.join(' '));
  }
  const version = evr.replace(/^0:/, '');
  if (!/^[a-z0-9_]+$/.test(arch) || !/^[^-]+-[^-]+$/.test(version)) throw bad(words.join(' '));
  return { name, arch, version, repository };
}

/** Lines of dnf 5 about its own work, not about what is wrong. */
const CHATTER =
  /^(?:Updating and loading repositories:|Repositories loaded\.|Failed to resolve the transaction:|You can try to add to command line:|--\S+ to .*|Nothing to do\.|Operation aborted by the user\.|Total size of inbound packages is .*|After this operation, .*)$/;

/** Why dnf 5 found no plan, for a person: its problems without its advice. */
export function problemsOf5(stderr: string): string {
  return stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !CHATTER.test(line))
    .join(' ')
    .slice(0, 450);
}
