// Which dnf this host is asked through. dnf 4 and dnf 5 are two programs with other options, tables and databases of reasons: the
// one that the administrator gets by the name `dnf` is the host's.
import * as fs from 'node:fs';
import { reach } from '../host.ts';
import type { HostContext } from '../system.ts';

export interface DnfProgram {
  readonly name: string;
  readonly generation: 4 | 5;
}

/** Where nothing is called `dnf`; each by its own name. */
const OWN_NAMES: readonly DnfProgram[] = [
  { name: 'dnf5', generation: 5 },
  { name: 'dnf-3', generation: 4 },
  { name: 'dnf4', generation: 4 },
];

/** The host's dnf, or undefined when it has none that is known here. */
export function dnfProgram(context: Pick<HostContext, 'root'>): DnfProgram | undefined {
  const at = (name: string) => reach(context, `/usr/bin/${name}`);
  const isThere = (name: string) => fs.lstatSync(at(name), { throwIfNoEntry: false }) !== undefined;
  if (!isThere('dnf')) return OWN_NAMES.find(({ name }) => isThere(name));
  let target = 'dnf';
  try {
    target = fs.readlinkSync(at('dnf'));
  } catch {
    // no link: the program itself
  }
  return { name: 'dnf', generation: /(?:^|\/)dnf5$/.test(target) ? 5 : 4 };
}
