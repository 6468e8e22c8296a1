// Policy as people write it: YAML with apiVersion, kind, metadata.name, spec. Errors name line and column and suggest.
import { LineCounter, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { CLASSIFICATIONS, cveId, product, SEVERITIES } from './catalog.ts';
import { labels, line, list, moment, name } from './common.ts';
import { complianceLevel, healthCheck, REJECTED_ACTIONS, WEEKDAYS, zone } from './policy.ts';

const fault = defineFaults('policy', {
  invalid: {
    exit: EXIT.usage,
    next: 'Correct the lines named above; `policy check` shows the result without signing anything.',
  },
});

export const API_VERSION = 'patchferry/v1';

const authored = <K extends string, S extends z.ZodType>(kind: K, spec: S) =>
  z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: z.strictObject({ name, description: line(500).optional(), labels: labels.optional() }),
    spec,
  });

/** A pattern with `*` for any run of characters; matched by our own linear matcher (decide/pattern.ts). */
const pattern = line(200);

/** Values of one key are alternatives, keys are all required, `*` is everything (field guide 1.1). At most 20 values a key. */
export const patchFilter = z.strictObject({
  product: list(pattern, 20).optional(),
  classification: list(z.enum([...CLASSIFICATIONS, '*']), 20).optional(),
  severity: list(z.enum([...SEVERITIES, '*']), 20).optional(),
  cve: list(z.union([cveId, pattern]), 20).optional(),
  advisory: list(pattern, 20).optional(),
  /** Name of a source package or of any binary package. */
  name: list(pattern, 20).optional(),
  patch: list(pattern, 20).optional(),
  version: list(pattern, 20).optional(),
  section: list(pattern, 20).optional(),
  priority: list(pattern, 20).optional(),
  repository: list(pattern, 20).optional(),
  arch: list(pattern, 20).optional(),
});
export type PatchFilter = z.infer<typeof patchFilter>;

const date = z
  .string({ error: 'must be a date, quoted: "2026-01-31"' })
  .regex(/^\d{4}-\d{2}-\d{2}$/, { error: 'must be a date as "YYYY-MM-DD"' })
  .refine((value) => !Number.isNaN(Date.parse(`${value}T00:00:00Z`)), { error: 'is a date that does not exist' });

export const baselineRule = z.strictObject({
  name,
  filters: patchFilter.default({}),
  approve: z.union([z.strictObject({ afterDays: z.int().min(0).max(360) }), z.strictObject({ untilDate: date })], {
    error: 'needs exactly one of afterDays (0 to 360) or untilDate ("YYYY-MM-DD")',
  }),
  complianceLevel: complianceLevel.default('unspecified'),
  /** Whether the rule also approves patches that are not security patches. */
  nonSecurity: z.boolean().default(false),
});

export const baseline = authored(
  'Baseline',
  z.strictObject({
    product,
    globalFilters: patchFilter.default({}),
    rules: list(baselineRule, 10).default([]),
    /** Patch ids, source or package names, CVEs, advisories; one `*` allowed. */
    approved: list(pattern, 50).default([]),
    approvedComplianceLevel: complianceLevel.default('unspecified'),
    approvedNonSecurity: z.boolean().default(false),
    rejected: list(pattern, 50).default([]),
    rejectedAction: z.enum(REJECTED_ACTIONS).default('allow-as-dependency'),
    /** A patch without any date under afterDays: `now` (delay 0, as SSM), or `never` until one is known. */
    undated: z.enum(['now', 'never']).default('now'),
    availableSecurityUpdates: z.enum(['compliant', 'non-compliant']).default('compliant'),
  }),
);
export type Baseline = z.infer<typeof baseline>;

export const window = authored(
  'MaintenanceWindow',
  z
    .strictObject({
      days: z.union([z.literal('daily').transform(() => [...WEEKDAYS]), list(z.enum(WEEKDAYS), 7).min(1)]),
      start: z.string({ error: 'must be "HH:MM", quoted' }).regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, { error: 'must be "HH:MM"' }),
      durationMinutes: z.int().min(1).max(10_080),
      cutoffMinutes: z.int().min(0).default(0),
      zone,
      validFrom: moment.optional(),
      validUntil: moment.optional(),
    })
    .refine((spec) => spec.cutoffMinutes < spec.durationMinutes, {
      path: ['cutoffMinutes'],
      error: 'must be less than durationMinutes, or nothing could ever start',
    }),
);
export type Window = z.infer<typeof window>;

export const patchGroup = authored(
  'PatchGroup',
  z.strictObject({
    baselines: list(name, 100).min(1),
    windows: list(name, 50).default([]),
    reboot: z.enum(['never', 'if-needed']).default('if-needed'),
    health: list(healthCheck, 50).default([]),
    wayBack: z.enum(['required', 'preferred']).default('required'),
    pollMinutes: z.int().min(1).max(10_080).default(60),
    freeMiB: z.int().min(0).max(10_000_000).default(200),
    newDependencies: z.enum(['allow', 'refuse']).default('allow'),
    removals: z.enum(['allow', 'refuse']).default('refuse'),
  }),
);
export type PatchGroup = z.infer<typeof patchGroup>;

export const AUTHORED_KINDS = { Baseline: baseline, MaintenanceWindow: window, PatchGroup: patchGroup } as const;
export type AuthoredDocument = Baseline | Window | PatchGroup;

/** One thing wrong in an authored file. */
export interface Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** Path of the field, `spec.rules.0.approve`. */
  readonly field: string;
  readonly says: string;
}

export const AUTHORED_LIMITS = { fileBytes: 4 * 1024 * 1024, documents: 1_000, problems: 100 } as const;

/**
 * Reads one YAML text with one or more policy documents. Collects every problem instead of stopping at the first.
 * YAML aliases are refused (a small file could grow without bound).
 */
export function readAuthored(text: string, file: string): { documents: AuthoredDocument[]; problems: Problem[] } {
  const lines = new LineCounter();
  const documents: AuthoredDocument[] = [];
  const problems: Problem[] = [];
  const at = (offset: number, field: string, says: string) => {
    const { line, col } = lines.linePos(offset);
    if (problems.length < AUTHORED_LIMITS.problems) problems.push({ file, line, column: col, field, says });
  };
  if (Buffer.byteLength(text) > AUTHORED_LIMITS.fileBytes) {
    return {
      documents,
      problems: [{ file, line: 1, column: 1, field: '', says: `is larger than ${AUTHORED_LIMITS.fileBytes} bytes` }],
    };
  }
  const parsed = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, version: '1.2' });
  for (const yaml of Array.isArray(parsed) ? parsed.slice(0, AUTHORED_LIMITS.documents) : []) {
    for (const error of yaml.errors) at(error.pos[0], '', error.message.split('\n')[0] ?? 'is not YAML');
    if (yaml.errors.length > 0 || yaml.contents === null) continue;
    let value: unknown;
    try {
      value = yaml.toJS({ maxAliasCount: 0 });
    } catch {
      at(0, '', 'uses YAML aliases, which policy files may not');
      continue;
    }
    const kind = (value as { kind?: unknown } | null)?.kind;
    const schema = Object.hasOwn(AUTHORED_KINDS, String(kind))
      ? AUTHORED_KINDS[kind as keyof typeof AUTHORED_KINDS]
      : undefined;
    if (schema === undefined) {
      const known = Object.keys(AUTHORED_KINDS);
      at(
        yaml.range[0],
        'kind',
        `unknown kind ${JSON.stringify(kind ?? null)}${suggestion(String(kind), known)}; known: ${known.join(', ')}`,
      );
      continue;
    }
    const result = schema.safeParse(value);
    if (result.success) {
      documents.push(result.data);
      continue;
    }
    for (const { path, says } of plainIssues(schema, result.error)) {
      at(offsetOf(yaml, path) ?? yaml.range[0], path.join('.'), says);
    }
  }
  return { documents, problems };
}

/** As `readAuthored`, but any problem is an error that lists them all. @throws policy.invalid */
export function readAuthoredOrThrow(text: string, file: string): AuthoredDocument[] {
  const { documents, problems } = readAuthored(text, file);
  if (problems.length > 0) throw invalidPolicy(problems);
  return documents;
}

/** The error that lists these problems, one a line. */
export function invalidPolicy(problems: readonly Problem[]) {
  const rows = problems.map((p) => `${p.file}:${p.line}:${p.column}: ${p.field === '' ? '' : `${p.field}: `}${p.says}`);
  return fault(
    'invalid',
    `${problems.length === 1 ? 'one problem' : `${problems.length} problems`} in policy\n${rows.join('\n')}`,
    {
      where: problems[0] === undefined ? undefined : `${problems[0].file}:${problems[0].line}:${problems[0].column}`,
    },
  );
}

type Issue = z.core.$ZodIssue;

/** What is wrong with a value, a row for each field: path and words for a person, unknown fields with a suggestion. */
export function plainIssues(schema: z.ZodType, error: z.ZodError): { path: PropertyKey[]; says: string }[] {
  return flatten(error.issues).flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          path: [...issue.path, key],
          says: `unknown field${suggestion(key, knownKeys(schema, issue.path))}`,
        }))
      : [{ path: [...issue.path], says: issue.message }],
  );
}

function flatten(issues: readonly Issue[]): Issue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== 'invalid_union' || issue.message !== 'Invalid input' || issue.errors.length === 0) return [issue];
    const closest = issue.errors.toSorted((a, b) => a.length - b.length)[0] ?? [];
    return flatten(closest).map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
  });
}

export type YamlDocument = ReturnType<typeof parseAllDocuments>[number];

/** Where in the YAML text the field at `path` starts (or the nearest parent of it that is written there). */
export function offsetOf(yaml: YamlDocument, path: readonly PropertyKey[]): number | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = yaml.getIn(path.slice(0, length - 1), true) as { items?: unknown[] } | undefined;
    const last = path[length - 1];
    for (const item of Array.isArray(parent?.items) ? parent.items : []) {
      const key = (item as { key?: { value?: unknown; range?: [number, number, number] } }).key;
      if (key?.range && key.value === last) return key.range[0];
    }
    const node = yaml.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range) return node.range[0];
  }
  return undefined;
}

/** Field names that a schema knows at `path`. */
export function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let node: unknown = schema;
  const inner = (value: unknown): unknown => {
    const definition = (value as z.core.$ZodType | undefined)?._zod.def as { innerType?: unknown; in?: unknown } | undefined;
    const next = definition?.innerType ?? definition?.in;
    return next === undefined ? value : inner(next);
  };
  for (const step of path) {
    node = inner(node);
    const definition = (node as z.core.$ZodType | undefined)?._zod.def as
      | { shape?: Record<string, unknown>; element?: unknown }
      | undefined;
    node = typeof step === 'number' ? definition?.element : definition?.shape?.[String(step)];
  }
  const definition = (inner(node) as z.core.$ZodType | undefined)?._zod.def as { shape?: Record<string, unknown> } | undefined;
  return Object.keys(definition?.shape ?? {});
}

/** ` (did you mean "x"?)` when a known word is near, by edit distance; else nothing. */
export function suggestion(given: string, known: readonly string[]): string {
  let best: { word: string; distance: number } | undefined;
  for (const word of known) {
    const distance = editDistance(given.slice(0, 64).toLowerCase(), word.toLowerCase());
    if (best === undefined || distance < best.distance) best = { word, distance };
  }
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.word.length / 3))
    ? ` (did you mean "${best.word}"?)`
    : '';
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, swap));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
