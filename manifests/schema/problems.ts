// What is wrong with something that a person wrote, in words, and where in the YAML it is: for policy and for settings.
import type { Document } from 'yaml';
import type { z } from 'zod';

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

export type YamlDocument = Document.Parsed;

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
