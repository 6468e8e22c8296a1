// Authored policy of one folder, read and cross-checked: every problem has a file, a line and a column, and none hides another.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { LineCounter, parseAllDocuments } from 'yaml';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';
import {
  AUTHORED_LIMITS,
  type AuthoredDocument,
  type Baseline,
  type Halt,
  offsetOf,
  type PatchGroup,
  type Problem,
  type Recall,
  type Rollout,
  readAuthored,
  type Selector,
  type SiteDelegation,
  suggestion,
  type Waiver,
  type Window,
  type YamlDocument,
} from '#manifests/schema';

const fault = defineFaults('policy-folder', {
  missing: {
    exit: EXIT.usage,
    next: 'Put your policy there; `manifests/examples` has baselines, windows and groups to start from.',
  },
});

const POLICY_LIMITS = {
  /** YAML files in the policy folder and below. */
  files: 2_000,
} as const;

/** Where a field of an authored document is written. */
interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface Placed<D> {
  readonly document: D;
  /** Place of the field at this path, or of the document. */
  readonly at: (path?: readonly PropertyKey[]) => Place;
}

export interface PolicySet {
  readonly baselines: ReadonlyMap<string, Placed<Baseline>>;
  readonly windows: ReadonlyMap<string, Placed<Window>>;
  readonly groups: ReadonlyMap<string, Placed<PatchGroup>>;
  readonly rollouts: ReadonlyMap<string, Placed<Rollout>>;
  readonly recalls: ReadonlyMap<string, Placed<Recall>>;
  readonly halts: ReadonlyMap<string, Placed<Halt>>;
  readonly waivers: ReadonlyMap<string, Placed<Waiver>>;
  readonly delegations: ReadonlyMap<string, Placed<SiteDelegation>>;
  /** What forbids signing, in order of file and line. */
  readonly problems: readonly Problem[];
  /** What is allowed and probably not meant. */
  readonly remarks: readonly Problem[];
  readonly files: readonly string[];
}

type Kind = AuthoredDocument['kind'];

/** A document as far as YAML goes, valid or not: enough to know that a name exists, and where. */
interface Sighting {
  readonly kind: string;
  readonly name: string;
  readonly place: (path?: readonly PropertyKey[]) => Place;
}

/** A folder with authored documents, and what stands for it in places. */
export interface PolicyFolder {
  readonly folder: string;
  readonly label: string;
}

/**
 * Reads every `*.yaml` of `folder` and the folders below it, and what lies in `beside` (which may be absent), as one policy.
 * @param label what stands for the folder in places, the folder itself unless told
 * @throws policy-folder.missing when there is no folder or nothing in it
 */
export function readPolicy(folder: string, label: string = folder, beside: readonly PolicyFolder[] = []): PolicySet {
  const own = textsOf({ folder, label });
  if (own.length === 0) throw fault('missing', `there is no policy in ${folder}`, { where: folder });
  return checkPolicy([...own, ...beside.flatMap(textsOf)]);
}

function textsOf({ folder, label }: PolicyFolder): { file: string; text: string }[] {
  const names = fs.existsSync(folder)
    ? fs
        .readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.ya?ml$/.test(name) && !name.split(/[\\/]/).some((part) => part.startsWith('.')))
        .toSorted()
        .slice(0, POLICY_LIMITS.files)
    : [];
  return names.map((name) => ({
    file: `${label}/${name.replaceAll('\\', '/')}`,
    text: Buffer.from(readFileBounded(join(folder, name), AUTHORED_LIMITS.fileBytes) ?? []).toString('utf8'),
  }));
}

/** Reads and cross-checks these texts as one policy. */
export function checkPolicy(files: ReadonlyArray<{ file: string; text: string }>): PolicySet {
  const problems: Problem[] = [];
  const remarks: Problem[] = [];
  const sightings: Sighting[] = [];
  const placed: Placed<AuthoredDocument>[] = [];
  for (const { file, text } of files) {
    const read = readAuthored(text, file);
    problems.push(...read.problems);
    const seen = sightingsOf(text, file);
    sightings.push(...seen);
    const used = new Set<Sighting>();
    for (const document of read.documents) {
      const sighting = seen.find((one) => !used.has(one) && one.kind === document.kind && one.name === document.metadata.name);
      if (sighting) used.add(sighting);
      placed.push({ document, at: sighting?.place ?? (() => ({ file, line: 1, column: 1 })) });
    }
  }

  const tell = (rows: Problem[], place: Place, field: string, says: string) => rows.push({ ...place, field, says });
  const first = new Map<string, Sighting>();
  for (const sighting of sightings) {
    const key = `${sighting.kind} ${sighting.name}`;
    const before = first.get(key);
    if (before === undefined) first.set(key, sighting);
    else {
      const { file, line } = before.place();
      const says = `there is already a ${sighting.kind} "${sighting.name}" at ${file}:${line}`;
      tell(problems, sighting.place(['metadata', 'name']), 'metadata.name', says);
    }
  }
  const namesOf = (kind: Kind) => sightings.filter((one) => one.kind === kind).map(({ name }) => name);

  const baselines = byName<Baseline>(placed, 'Baseline');
  const windows = byName<Window>(placed, 'MaintenanceWindow');
  const groups = byName<PatchGroup>(placed, 'PatchGroup');

  const rollouts = byName<Rollout>(placed, 'Rollout');
  const recalls = byName<Recall>(placed, 'Recall');
  const halts = byName<Halt>(placed, 'Halt');
  const waivers = byName<Waiver>(placed, 'Waiver');
  const delegations = byName<SiteDelegation>(placed, 'SiteDelegation');

  for (const { document, at } of windows.values()) {
    if (!zoneExists(document.spec.zone)) {
      const says = `there is no zone "${document.spec.zone}"${suggestion(document.spec.zone, Intl.supportedValuesOf('timeZone'))}`;
      tell(problems, at(['spec', 'zone']), 'spec.zone', says);
    }
  }
  for (const { document, at } of baselines.values())
    checkLists(document, (path, says) => tell(remarks, at(path), path.join('.'), says));
  for (const { document, at } of groups.values()) {
    const report = (path: PropertyKey[], says: string) => tell(problems, at(path), path.join('.'), says);
    checkReferences(document.spec.baselines, namesOf('Baseline'), 'baseline', 'baselines', report);
    checkReferences(document.spec.windows, namesOf('MaintenanceWindow'), 'window', 'windows', report);
    checkReferences(document.spec.emergencyWindows, namesOf('MaintenanceWindow'), 'window', 'emergencyWindows', report);
    document.spec.choose.forEach(({ baseline }, index) => {
      if (namesOf('Baseline').includes(baseline)) return;
      const says = `there is no baseline "${baseline}"${suggestion(baseline, namesOf('Baseline'))}`;
      report(['spec', 'choose', index, 'baseline'], says);
    });
    const { rollout } = document.spec;
    if (rollout !== undefined && !namesOf('Rollout').includes(rollout))
      report(['spec', 'rollout'], `there is no rollout "${rollout}"${suggestion(rollout, namesOf('Rollout'))}`);
    for (const [index, window] of (document.spec.ownerChoice?.windows ?? []).entries()) {
      if (document.spec.windows.includes(window)) continue;
      const says = `"${window}" is no window of this group${suggestion(window, document.spec.windows)}`;
      report(['spec', 'ownerChoice', 'windows', index], says);
    }
    const byProduct = new Map<string, string>();
    document.spec.baselines.forEach((name, index) => {
      const product = baselines.get(name)?.document.spec.product;
      if (product === undefined) return;
      const before = byProduct.get(product);
      if (before === undefined) byProduct.set(product, name);
      else if (before !== name) {
        report(
          ['spec', 'baselines', index],
          `conflict: "${before}" and "${name}" are both for ${product}; a group takes one baseline a product`,
        );
      }
    });
    if (document.spec.windows.length === 0) {
      tell(remarks, at(['spec']), 'spec.windows', 'no window: hosts of this group never install by themselves');
    }
    const checks = document.spec.health.map(({ name }) => name);
    checks.forEach((name, index) => {
      if (checks.indexOf(name) !== index) report(['spec', 'health', index, 'name'], `there is already a check "${name}"`);
    });
  }
  const scoped: readonly ReadonlyMap<string, Placed<Recall | Halt | Waiver>>[] = [recalls, halts, waivers];
  for (const { document, at } of scoped.flatMap((one) => [...one.values()])) {
    checkScope(document.spec.scope, namesOf('PatchGroup'), (path, says) => tell(problems, at(path), path.join('.'), says));
  }
  for (const { document, at } of rollouts.values()) {
    document.spec.rings.forEach((ring, index) => {
      checkScope({ groups: ring.groups }, namesOf('PatchGroup'), (path, says) => {
        const full = ['spec', 'rings', index, ...path.slice(2)];
        tell(problems, at(full), full.join('.'), says);
      });
    });
  }
  // Both kinds lie under halts/ by their name alone.
  for (const [name, { at }] of recalls) {
    const other = halts.get(name)?.at();
    if (other !== undefined)
      tell(problems, at(['metadata', 'name']), 'metadata.name', `there is a Halt "${name}" at ${other.file}:${other.line}`);
  }
  return {
    baselines,
    windows,
    groups,
    rollouts,
    recalls,
    halts,
    waivers,
    delegations,
    problems: problems.toSorted(byPlace),
    remarks: remarks.toSorted(byPlace),
    files: files.map(({ file }) => file),
  };
}

function checkReferences(
  names: readonly string[],
  known: readonly string[],
  word: string,
  field: string,
  report: (path: PropertyKey[], says: string) => void,
): void {
  names.forEach((name, index) => {
    if (names.indexOf(name) !== index) report(['spec', field, index], `"${name}" is named twice`);
    else if (!known.includes(name)) report(['spec', field, index], `there is no ${word} "${name}"${suggestion(name, known)}`);
  });
}

function checkScope(scope: Selector, known: readonly string[], report: (path: PropertyKey[], says: string) => void): void {
  for (const [index, name] of (scope.groups ?? []).entries()) {
    if (known.includes(name)) continue;
    report(['spec', 'scope', 'groups', index], `there is no group "${name}"${suggestion(name, known)}`);
  }
}

function checkLists({ spec }: Baseline, remark: (path: PropertyKey[], says: string) => void): void {
  spec.approved.forEach((entry, index) => {
    if (spec.rejected.includes(entry)) remark(['spec', 'approved', index], `"${entry}" is also rejected, and a rejection wins`);
  });
  if (spec.rules.length === 0 && spec.approved.length === 0) {
    remark(['spec'], 'neither rules nor approved patches: this baseline approves nothing');
  }
  const names = spec.rules.map((rule) => rule.name);
  names.forEach((name, index) => {
    if (names.indexOf(name) !== index)
      remark(['spec', 'rules', index, 'name'], `two rules are named "${name}"; reasons will not tell them apart`);
  });
}

function byName<D extends AuthoredDocument>(
  placed: readonly Placed<AuthoredDocument>[],
  kind: D['kind'],
): Map<string, Placed<D>> {
  const found = new Map<string, Placed<D>>();
  for (const one of placed) {
    if (one.document.kind === kind && !found.has(one.document.metadata.name)) {
      found.set(one.document.metadata.name, one as Placed<D>);
    }
  }
  return found;
}

function zoneExists(zone: string): boolean {
  if (zone === 'host') return true;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

function sightingsOf(text: string, file: string): Sighting[] {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, version: '1.2' });
  const found: Sighting[] = [];
  for (const yaml of Array.isArray(parsed) ? parsed.slice(0, AUTHORED_LIMITS.documents) : []) {
    const kind = plainAt(yaml, ['kind']);
    const name = plainAt(yaml, ['metadata', 'name']);
    if (typeof kind !== 'string' || typeof name !== 'string') continue;
    found.push({
      kind,
      name,
      place: (path = ['kind']) => {
        const { line, col } = lines.linePos(offsetOf(yaml, path) ?? yaml.range[0]);
        return { file, line, column: col };
      },
    });
  }
  return found;
}

function plainAt(yaml: YamlDocument, path: readonly string[]): unknown {
  try {
    return yaml.getIn(path);
  } catch {
    return undefined; // the path runs through something that is no mapping; readAuthored says so
  }
}

function byPlace(a: Problem, b: Problem): number {
  return a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line || a.column - b.column;
}
