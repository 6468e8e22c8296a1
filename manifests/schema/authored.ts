// Policy as people write it: YAML with apiVersion, kind, metadata.name, spec. Errors name line and column and suggest.
// The kinds themselves are in baseline.ts, window.ts, group.ts, rollout.ts, waiver.ts, recall.ts, site.ts.
import { LineCounter, parseAllDocuments } from 'yaml';
import type { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { baseline } from './baseline.ts';
import { patchGroup } from './group.ts';
import { halt, recall } from './recall.ts';
import { rollout } from './rollout.ts';
import { siteDelegation, siteOverlay } from './site.ts';
import { waiver } from './waiver.ts';
import { window } from './window.ts';

const fault = defineFaults('policy', {
  invalid: {
    exit: EXIT.usage,
    next: 'Correct the lines named above; `policy check` shows the result without signing anything.',
  },
});

export const AUTHORED_KINDS = {
  Baseline: baseline,
  MaintenanceWindow: window,
  PatchGroup: patchGroup,
  Rollout: rollout,
  Waiver: waiver,
  Recall: recall,
  Halt: halt,
  SiteDelegation: siteDelegation,
  SiteOverlay: siteOverlay,
} as const;
export type AuthoredKind = keyof typeof AUTHORED_KINDS;
export type AuthoredDocument = z.infer<(typeof AUTHORED_KINDS)[AuthoredKind]>;

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
