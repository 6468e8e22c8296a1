// The table that dnf 4 prints before it asks (`--assumeno`), read; pure. What is read is held against dnf's own summary below the
// table, so that a form that is not understood is an error and never a smaller plan.
import { fault } from '../host.ts';

export interface Row {
  readonly name: string;
  readonly arch: string;
  /** `[epoch:]version-release` */
  readonly version: string;
  /** Id of the repository; `@…` of an installed package. */
  readonly repository: string;
}

export interface Transaction {
  /** New packages, also installonly ones beside older versions, and upgrades. */
  readonly installs: readonly Row[];
  readonly removals: readonly Omit<Row, 'repository'>[];
  readonly downgrades: readonly Row[];
  /** Streams of modules that it would enable: `oar:1`. */
  readonly enabling: readonly string[];
}

/** dnf/cli/output.py, `list_transaction`. */
const SECTIONS: Readonly<Record<string, 'install' | 'upgrade' | 'remove' | 'downgrade' | 'skip' | 'enable'>> = {
  Installing: 'install',
  'Installing dependencies': 'install',
  'Installing weak dependencies': 'install',
  Upgrading: 'upgrade',
  Removing: 'remove',
  'Removing dependent packages': 'remove',
  'Removing unused dependencies': 'remove',
  Downgrading: 'downgrade',
  'Enabling module streams': 'enable',
  'Skipping packages with conflicts': 'skip',
  'Skipping packages with broken dependencies': 'skip',
};

const SUMMARY = /^(Install|Upgrade|Remove|Downgrade|Skip) +(\d+) Packages?$/;

/** @param output stdout of dnf. Undefined when it prints no transaction. @throws packages.dnf-failed on a form that is not known */
export function parseTransaction(output: string): Transaction | undefined {
  const lines = output.split('\n');
  const start = lines.indexOf('Dependencies resolved.');
  if (start < 0 || lines[start + 1] === 'Nothing to do.') return undefined;
  const bad = (says: string) => fault('dnf-failed', `dnf printed a plan in a form that is not known: ${says}`);
  const rows = new Map<string, string[][]>();
  const replaced: string[][] = [];
  const counts = new Map<string, number>();
  let kind: string | undefined;
  let inSummary = false;
  for (const line of lines.slice(start + 1)) {
    if (line === 'Transaction Summary') inSummary = true;
    else if (inSummary) {
      const count = SUMMARY.exec(line);
      if (count?.[1] !== undefined) counts.set(count[1].toLowerCase(), Number(count[2]));
    } else if (/^[A-Z].*:$/.test(line)) {
      kind = SECTIONS[line.replace(/(?: \(.*\))?:$/, '')];
      if (kind === undefined) throw bad(line);
    } else if (kind !== undefined && /^ \S/.test(line)) {
      const list = rows.get(kind);
      if (list === undefined) rows.set(kind, [words(line)]);
      else list.push(words(line));
    } else if (kind !== undefined && /^ +replacing +/.test(line)) replaced.push(words(line).slice(1));
    else if (kind !== undefined && /^ {2,}\S/.test(line))
      rows
        .get(kind)
        ?.at(-1)
        ?.push(...words(line)); // a long name: the rest is on the next line
  }
  const read = (which: string) => (rows.get(which) ?? []).map((row) => rowOf(row, bad));
  for (const which of ['install', 'upgrade', 'remove', 'downgrade']) {
    const found = rows.get(which)?.length ?? 0;
    const said = counts.get(which) ?? 0;
    if (found !== said) throw bad(`${found} rows to ${which}, and a summary of ${said}`);
  }
  return {
    installs: [...read('install'), ...read('upgrade')],
    removals: [...read('remove'), ...replaced.map((row) => replacedOf(row, bad))].map(({ name, arch, version }) => ({
      name,
      arch,
      version,
    })),
    downgrades: read('downgrade'),
    enabling: (rows.get('enable') ?? []).map(([name, stream]) => `${name}:${stream}`),
  };
}

const words = (line: string) => line.trim().split(/\s+/);

/** ` name arch evr repository 1.2 M` */
function rowOf(row: readonly string[], bad: (says: string) => Error): Row {
  const [name, arch, version, repository, size, unit] = row;
  const whole =
    row.length >= 5 && row.length <= 6 && /^[0-9.]+$/.test(size ?? '') && (unit === undefined || /^[kMGT]$/.test(unit));
  if (!whole || name === undefined || arch === undefined || version === undefined || repository === undefined) {
    throw bad(row.join(' ').slice(0, 200));
  }
  if (!/^[a-z0-9_]+$/.test(arch) || !/^[^-]+-[^-]+$/.test(version)) throw bad(row.join(' ').slice(0, 200));
  return { name, arch, version, repository };
}

/** `name.arch evr` */
function replacedOf([who, version]: readonly string[], bad: (says: string) => Error): Row {
  const parts = /^(.+)\.([a-z0-9_]+)$/.exec(who ?? '');
  if (parts?.[1] === undefined || parts[2] === undefined || version === undefined) throw bad(`replacing ${who} ${version}`);
  return { name: parts[1], arch: parts[2], version, repository: '' };
}

/** Why dnf found no plan, for a person: its problems without its advice. */
export function problemsOf(stdout: string, stderr: string): string {
  const lines = [...stdout.split('\n').filter((line) => /^(?:No match|Package .* not)/.test(line)), ...stderr.split('\n')];
  return lines
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== 'Error:' && line !== 'Operation aborted.' && !line.startsWith('(try to add'))
    .join(' ')
    .slice(0, 450);
}
