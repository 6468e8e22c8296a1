// What apt prints, read: simulations (`apt-get -s`), `apt-cache policy`, `apt-cache show`. Pure; tested on recorded output.

export interface Simulated {
  readonly name: string;
  readonly arch: string;
  /** Installed version; null for a new package. */
  readonly from: string | null;
  readonly to: string;
}

export interface Simulation {
  readonly installs: readonly Simulated[];
  readonly removals: readonly { readonly name: string; readonly arch: string | undefined; readonly version: string }[];
}

// Inst NAME[:ARCH] [OLD] (NEW ORIGIN, … [ARCH]) [what it breaks for a moment]; apt writes the architecture of the version
// in brackets at the end of the parentheses, and after the name only for a foreign one (apt-pkg/algorithms.cc, pkgSimulate).
const INSTALL = /^Inst (\S+?)(?::([a-z0-9-]+))?(?: \[([^\]\s]+)\])? \((\S+)[^)]*\[([a-z0-9-]+)\]\)/;
const REMOVE = /^(?:Remv|Purg) (\S+?)(?::([a-z0-9-]+))? \[([^\]\s]+)\]/;

/** Reads the plan out of a simulation's output. */
export function parseSimulation(output: string): Simulation {
  const installs: Simulated[] = [];
  const removals: { name: string; arch: string | undefined; version: string }[] = [];
  for (const line of output.split('\n')) {
    const install = INSTALL.exec(line);
    if (install?.[1] !== undefined && install[4] !== undefined && install[5] !== undefined) {
      installs.push({ name: install[1], arch: install[5], from: install[3] ?? null, to: install[4] });
      continue;
    }
    const remove = REMOVE.exec(line);
    if (remove?.[1] !== undefined && remove[3] !== undefined) {
      removals.push({ name: remove[1], arch: remove[2], version: remove[3] });
    }
  }
  return { installs, removals };
}

export interface Policy {
  readonly installed: string | null;
  readonly candidate: string | null;
  /** Priority of each version that a repository or the host itself has (apt_preferences(5)). */
  readonly priorities: ReadonlyMap<string, number>;
}

/** `apt-cache policy` by package as printed (`name`, or `name:arch` for a foreign architecture). */
export function parsePolicy(output: string): Map<string, Policy> {
  const policies = new Map<string, Policy>();
  let current: { installed: string | null; candidate: string | null; priorities: Map<string, number> } | undefined;
  for (const line of output.split('\n')) {
    const head = /^(\S+):$/.exec(line);
    if (head?.[1] !== undefined) {
      current = { installed: null, candidate: null, priorities: new Map() };
      policies.set(head[1], current);
      continue;
    }
    if (current === undefined) continue;
    const field = /^ {2}(Installed|Candidate): (\S+)$/.exec(line);
    if (field?.[2] !== undefined) {
      const value = field[2] === '(none)' ? null : field[2];
      if (field[1] === 'Installed') current.installed = value;
      else current.candidate = value;
      continue;
    }
    const version = /^ (?:\*\*\*| {3}) (\S+) (-?\d+)$/.exec(line);
    if (version?.[1] !== undefined) current.priorities.set(version[1], Number(version[2]));
  }
  return policies;
}

export interface Shown {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly sha256: string | undefined;
  readonly size: number;
  readonly path: string | undefined;
  /** Bytes once unpacked. */
  readonly installedBytes: number;
}

/** `apt-cache show`: stanzas of the vendor's index (those of dpkg's own database have no SHA256). */
export function parseShow(output: string): Shown[] {
  const shown: Shown[] = [];
  for (const stanza of output.split('\n\n')) {
    const field = (name: string) => new RegExp(`^${name}: (\\S+)`, 'm').exec(stanza)?.[1];
    const name = field('Package');
    const version = field('Version');
    const arch = field('Architecture');
    if (name === undefined || version === undefined || arch === undefined) continue;
    shown.push({
      name,
      arch,
      version,
      sha256: field('SHA256'),
      size: Number(field('Size') ?? 0),
      path: field('Filename'),
      installedBytes: Number(field('Installed-Size') ?? 0) * 1024,
    });
  }
  return shown;
}
