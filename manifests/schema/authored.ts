// Policy as people write it: YAML with apiVersion, kind, metadata.name, spec. Errors name line and column and suggest.
// The kinds themselves are in baseline.ts, window.ts, group.ts, rollout.ts, waiver.ts, recall.ts, site.ts.
import { LineCounter, parseAllDocuments } from 'yaml';
import type { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { baseline } from './baseline.ts';
import { patchGroup } from './group.ts';
import { offsetOf, plainIssues, suggestion } from './problems.ts';
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
