// Settings of a program: YAML files, environment and flags, merged in that order and checked by one schema. Errors name
// file, line and column, or the variable or flag a wrong value came from. Secrets never come this way.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { knownKeys, offsetOf, plainIssues, type YamlDocument } from '#manifests/schema';
import { readFileBounded } from './files.ts';

const fault = defineFaults('settings', {
  invalid: { exit: EXIT.usage, next: 'Correct the lines named above and run the command again.' },
  missing: { exit: EXIT.usage, next: 'Give the path of an existing settings file with --config.' },
});

export const SETTINGS_LIMITS = { fileBytes: 1024 * 1024, files: 100 } as const;

export interface SettingsRequest<T> {
  /** A strict object, so that unknown keys are errors. */
  readonly schema: z.ZodType<T>;
  /**
   * Files in rising precedence. A folder stands for its `*.yaml` files in order of name. An optional one may be absent.
   */
  readonly files: ReadonlyArray<string | { readonly path: string; readonly optional: true }>;
  /** The environment, usually `process.env`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `PATCHFERRY_` makes `PATCHFERRY_SYNC_EVERY` set `syncEvery`. Variables that name no setting are left alone. */
  readonly envPrefix: string;
  /** Values of the command line by setting name; undefined and names that are no setting are left alone. */
  readonly flags: Readonly<Record<string, unknown>>;
}

interface Layer {
  readonly value: Record<string, unknown>;
  /** Where the field at this path was written, for a person: `relay.yaml:3:1`, `PATCHFERRY_LISTEN`, `--listen`. */
  place(path: readonly PropertyKey[]): string;
}

/**
 * Reads, merges and checks settings: flags beat the environment, the environment beats files, later files beat earlier
 * ones. Mappings are merged key by key, lists are replaced.
 * @throws settings.missing, settings.invalid with every problem found
 */
export function readSettings<T>(request: SettingsRequest<T>): T {
  const problems: string[] = [];
  const layers: Layer[] = request.files.flatMap((entry) => {
    const { path, optional } = typeof entry === 'string' ? { path: entry, optional: false } : entry;
    return filesOf(path, optional).flatMap((file) => readLayer(file, problems));
  });
  layers.push(environmentLayer(request), flagLayer(request));

  const merged = layers.reduce<Record<string, unknown>>((sum, layer) => mergeInto(sum, layer.value), {});
  const parsed = request.schema.safeParse(merged);
  if (!parsed.success) {
    for (const { path, says } of plainIssues(request.schema, parsed.error)) {
      const place = placeOf(layers, path);
      const field = path.join('.');
      problems.push(`${place === undefined ? '' : `${place}: `}${field === '' ? '' : `${field}: `}${says}`);
    }
  }
  if (problems.length === 0 && parsed.success) return parsed.data;
  throw fault('invalid', `the settings cannot be used\n${problems.slice(0, 50).join('\n')}`, {
    where: problems[0]?.split(': ')[0],
  });
}

function filesOf(path: string, optional: boolean): string[] {
  const facts = fs.statSync(path, { throwIfNoEntry: false });
  if (facts === undefined) {
    if (optional) return [];
    throw fault('missing', `there is no settings file ${path}`, { where: path });
  }
  if (!facts.isDirectory()) return [path];
  return fs
    .readdirSync(path)
    .filter((name) => name.endsWith('.yaml') && !name.startsWith('.'))
    .toSorted()
    .slice(0, SETTINGS_LIMITS.files)
    .map((name) => join(path, name));
}

function readLayer(file: string, problems: string[]): Layer[] {
  const bytes = readFileBounded(file, SETTINGS_LIMITS.fileBytes);
  if (bytes === undefined) return [];
  const lines = new LineCounter();
  const yaml: YamlDocument = parseDocument(Buffer.from(bytes).toString('utf8'), {
    lineCounter: lines,
    uniqueKeys: true,
    version: '1.2',
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  for (const error of yaml.errors) problems.push(`${at(error.pos[0])}: ${error.message.split('\n')[0] ?? 'is not YAML'}`);
  if (yaml.errors.length > 0 || yaml.contents === null) return [];
  let value: unknown;
  try {
    value = yaml.toJS({ maxAliasCount: 0 });
  } catch {
    problems.push(`${at(0)}: uses YAML aliases, which settings files may not`);
    return [];
  }
  if (!isMapping(value)) {
    problems.push(`${at(yaml.range?.[0] ?? 0)}: must be a mapping of settings`);
    return [];
  }
  return [{ value, place: (path) => at(offsetOf(yaml, path) ?? yaml.range?.[0] ?? 0) }];
}

const upperSnake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
const kebab = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function environmentLayer<T>({ schema, env, envPrefix }: SettingsRequest<T>): Layer {
  const value: Record<string, unknown> = {};
  for (const key of knownKeys(schema, [])) {
    const given = env[envPrefix + upperSnake(key)];
    if (given !== undefined && given !== '') value[key] = fromText(given, kindOf(schema, key));
  }
  return { value, place: (path) => envPrefix + upperSnake(String(path[0])) };
}

function flagLayer<T>({ schema, flags }: SettingsRequest<T>): Layer {
  const value: Record<string, unknown> = {};
  for (const key of knownKeys(schema, [])) {
    const given = Object.hasOwn(flags, key) ? flags[key] : undefined;
    if (given === undefined) continue;
    const kind = kindOf(schema, key);
    if (kind === 'array') value[key] = Array.isArray(given) ? given : [given];
    else value[key] = typeof given === 'string' ? fromText(given, kind) : given;
  }
  return { value, place: (path) => `--${kebab(String(path[0]))}` };
}

/** Text of a variable or flag as the setting's type; what does not fit stays text and the schema says so. */
function fromText(given: string, kind: string): unknown {
  if (kind === 'number') return /^-?\d+(?:\.\d+)?$/.test(given) ? Number(given) : given;
  if (kind === 'boolean') return given === 'true' ? true : given === 'false' ? false : given;
  if (kind === 'array') {
    return given
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  }
  if (kind === 'object' || kind === 'record') {
    const yaml = parseDocument(given);
    return yaml.errors.length === 0 ? yaml.toJS({ maxAliasCount: 0 }) : given;
  }
  return given;
}

/** The zod kind of a top-level setting, without defaults, optionals and pipes around it. */
function kindOf(schema: z.ZodType, key: string): string {
  type Definition = { type: string; innerType?: unknown; in?: unknown; shape?: Record<string, unknown> };
  const inner = (node: unknown): Definition | undefined => {
    const definition = (node as z.core.$ZodType | undefined)?._zod.def as Definition | undefined;
    const next = definition?.innerType ?? definition?.in;
    return next === undefined ? definition : inner(next);
  };
  return inner(inner(schema)?.shape?.[key])?.type ?? 'string';
}

function placeOf(layers: readonly Layer[], path: readonly PropertyKey[]): string | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const layer = layers.findLast(({ value }) => has(value, path.slice(0, length)));
    if (layer) return layer.place(path);
  }
  return undefined; // a setting that nobody gave: its name says it all
}

function has(value: unknown, path: readonly PropertyKey[]): boolean {
  let node = value;
  for (const step of path) {
    if (node === null || typeof node !== 'object' || !Object.hasOwn(node, step)) return false;
    node = (node as Record<PropertyKey, unknown>)[step];
  }
  return true;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function mergeInto(below: Record<string, unknown>, above: Record<string, unknown>): Record<string, unknown> {
  const merged = new Map(Object.entries(below));
  for (const [key, value] of Object.entries(above)) {
    const before = merged.get(key);
    merged.set(key, isMapping(before) && isMapping(value) ? mergeInto(before, value) : value);
  }
  return Object.fromEntries(merged);
}
