// patch.yaml: how own software is described. Pure: text in, checked description or the list of what is wrong with it out.
import { isAlias, LineCounter, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import {
  CLASSIFICATIONS,
  cveId,
  line,
  list,
  moment,
  patchPackage,
  placement,
  relativePath,
  SEVERITIES,
  sha256,
} from '#manifests/schema';
import { parseSemver, parseWindows } from '#manifests/versions';

/** Formats that a folder can hold, and how the names of their files end. */
export const FOLDER_FORMATS = ['archive', 'msi', 'exe', 'msu', 'pkg'] as const;
const ENDINGS = { archive: /\.(?:tar\.gz|tgz)$/, msi: /\.msi$/i, exe: /\.exe$/i, msu: /\.msu$/i, pkg: /\.pkg$/i } as const;

/** YAML reads `1.10` as a number and would lose the zero. */
const version = z.string({ error: 'must be text: quote it, "1.10"' }).regex(/^[A-Za-z0-9.+~:^_-]{1,200}$/, {
  error: 'must be letters, digits and . + ~ : ^ _ -',
});

export const description = z.strictObject({
  apiVersion: z.literal('patchferry/v1'),
  kind: z.literal('Patch'),
  metadata: z.strictObject({ name: patchPackage.shape.name }),
  spec: z
    .strictObject({
      /** What it is: an archive of own software, or an installer of Windows (msi, exe, msu) or macOS (pkg). */
      format: z.enum(FOLDER_FORMATS).default('archive'),
      version,
      title: line(300),
      classification: z.enum(CLASSIFICATIONS).default('other'),
      severity: z.enum(SEVERITIES).default('unspecified'),
      section: line(100).default(''),
      priority: line(40).default(''),
      cves: list(cveId, 10_000).default([]),
      advisories: list(line(80), 100).default([]),
      released: moment.optional(),
      updated: moment.optional(),
      /** Stopped before a version is switched on a host and started after it; owner and modes of what is unpacked. */
      services: placement.shape.services,
      owner: placement.shape.owner,
      /** Of installers (msi, exe), besides the usual ones. */
      arguments: placement.shape.arguments,
      modes: placement.shape.modes,
      packages: list(
        z.strictObject({
          /** Component; the patch's own name unless told. */
          name: patchPackage.shape.name.optional(),
          arch: patchPackage.shape.arch.default('all'),
          /** A file beside the description, or below it. */
          file: relativePath,
          /** Checked when given. */
          sha256: sha256.optional(),
        }),
        1_000,
      ).min(1),
    })
    .superRefine(({ format, version, packages, services, owner, modes, arguments: extra }, problem) => {
      const wrong = (path: (string | number)[], message: string) => problem.addIssue({ code: 'custom', path, message });
      if (format === 'archive' && parseSemver(version) === null) wrong(['version'], 'must be a semantic version, as "1.10.0"');
      if (format !== 'archive' && format !== 'pkg' && parseWindows(version) === null)
        wrong(['version'], 'must be up to four numbers, as "23.1.0.0"');
      for (const [nth, { file }] of packages.entries())
        if (!ENDINGS[format].test(file))
          wrong(['packages', nth, 'file'], format === 'archive' ? 'must be a .tar.gz' : `must be a .${format}`);
      if (format !== 'archive')
        for (const [name, value] of Object.entries({ services, owner, modes }))
          if (value !== undefined) wrong([name], 'is for the format archive');
      if (extra !== undefined && format !== 'msi' && format !== 'exe') wrong(['arguments'], 'is for msi and exe');
      if (format === 'exe' && extra === undefined)
        wrong(['arguments'], 'is needed: every vendor has other words for "quietly"');
    }),
});
export type Description = z.infer<typeof description>;

export type DescriptionRead =
  | { readonly kind: 'read'; readonly value: Description }
  | { readonly kind: 'wrong'; readonly says: string[] };

/** Reads one patch.yaml; `says` lists every problem with `file:line:column`. YAML aliases are refused. */
export function readDescription(text: string, file: string): DescriptionRead {
  const lines = new LineCounter();
  const yaml = parseDocument(text, { lineCounter: lines, uniqueKeys: true, version: '1.2' });
  const at = (offset: number) => {
    const { line: row, col } = lines.linePos(offset);
    return `${file}:${row}:${col}`;
  };
  const says = yaml.errors.map((error) => `${at(error.pos[0])}: ${error.message.split('\n')[0]}`);
  visit(yaml, {
    Alias: (_, node) => {
      if (isAlias(node)) says.push(`${at(node.range?.[0] ?? 0)}: aliases are not used here`);
    },
  });
  if (says.length > 0) return { kind: 'wrong', says };
  const result = description.safeParse(yaml.toJS({ maxAliasCount: 0 }));
  if (result.success) return { kind: 'read', value: result.data };
  for (const issue of result.error.issues.slice(0, 50)) {
    let path = issue.path;
    while (path.length > 0 && !yaml.hasIn(path)) path = path.slice(0, -1);
    const node = path.length === 0 ? yaml.contents : yaml.getIn(path, true);
    const range = (node as { range?: [number, number, number] } | null | undefined)?.range;
    says.push(`${at(range?.[0] ?? 0)}: ${issue.path.join('.') || '(file)'}: ${issue.message}`);
  }
  return { kind: 'wrong', says };
}
