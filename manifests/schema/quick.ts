// The verdict of a zod schema without its machinery: one pass of plain closures, made from the schema itself so that the two
// cannot drift apart. zod stays the judge: whatever this does not say yes to is asked of zod, which also says what is wrong.
import type { z } from 'zod';

/** True only where zod accepts the value and gives it back unchanged. */
export type Quick = (value: unknown) => boolean;

/** What is read of zod's own description of a schema (`_zod.def`, its documented interface for tools). */
interface Description {
  readonly type: string;
  readonly checks?: ReadonlyArray<{ readonly _zod: { readonly def: CheckDescription } }>;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly catchall?: Schema;
  readonly element?: Schema;
  readonly innerType?: Schema;
  readonly values?: readonly unknown[];
  readonly entries?: Readonly<Record<string, string>>;
  readonly format?: string;
  readonly coerce?: boolean;
}

interface CheckDescription {
  readonly check: string;
  readonly format?: string;
  readonly pattern?: RegExp;
  readonly maximum?: number;
  readonly minimum?: number;
  readonly value?: unknown;
  readonly inclusive?: boolean;
  readonly fn?: (value: unknown) => unknown;
  readonly abort?: boolean;
  readonly when?: unknown;
}

interface Schema {
  readonly _zod: { readonly def: Description };
}

/** @returns undefined where the schema uses something that is not known here (a default, a transformation, a union) */
export function quickOf(schema: z.ZodType): Quick | undefined {
  return made(schema as unknown as Schema);
}

function made({ _zod: { def } }: Schema): Quick | undefined {
  if (def.coerce === true) return undefined;
  const kind = kindOf(def);
  const checks = (def.checks ?? []).map((check) => checkOf(check._zod.def));
  if (kind === undefined || checks.includes(undefined)) return undefined;
  return checks.length === 0 ? kind : all([kind, ...(checks as Quick[])]);
}

function all(parts: readonly Quick[]): Quick {
  return (value) => {
    for (const part of parts) if (!part(value)) return false;
    return true;
  };
}

function kindOf(def: Description): Quick | undefined {
  switch (def.type) {
    case 'string':
      return def.format === undefined ? (value) => typeof value === 'string' : undefined;
    case 'boolean':
      return (value) => typeof value === 'boolean';
    case 'number':
      if (def.format === 'safeint') return Number.isSafeInteger;
      return def.format === undefined ? Number.isFinite : undefined;
    case 'literal': {
      const values = new Set(def.values);
      return (value) => values.has(value);
    }
    case 'enum': {
      const values = new Set<unknown>(Object.values(def.entries ?? {}));
      return (value) => values.has(value);
    }
    case 'nullable':
    case 'optional': {
      const inner = def.innerType === undefined ? undefined : made(def.innerType);
      const absent = def.type === 'nullable' ? null : undefined;
      return inner && ((value) => value === absent || inner(value));
    }
    case 'array': {
      const element = def.element === undefined ? undefined : made(def.element);
      return element && ((value) => Array.isArray(value) && value.every(element));
    }
    case 'object':
      return objectOf(def);
    default:
      return undefined;
  }
}

/** A strict object: every key known, every required one there. */
function objectOf(def: Description): Quick | undefined {
  if (def.shape === undefined || def.catchall?._zod.def.type !== 'never') return undefined;
  const fields = new Map<string, Quick>();
  let required = 0;
  for (const [key, schema] of Object.entries(def.shape)) {
    const quick = made(schema);
    if (quick === undefined) return undefined;
    fields.set(key, quick);
    if (schema._zod.def.type !== 'optional') required += 1;
  }
  const optional = new Set(Object.keys(def.shape).filter((key) => def.shape?.[key]?._zod.def.type === 'optional'));
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    let seen = 0;
    for (const key of Object.keys(value)) {
      const field = fields.get(key);
      if (field === undefined || !field((value as Record<string, unknown>)[key])) return false;
      if (!optional.has(key)) seen += 1;
    }
    return seen === required;
  };
}

function checkOf(def: CheckDescription): Quick | undefined {
  switch (def.check) {
    case 'max_length':
      return (value) => (value as string | unknown[]).length <= (def.maximum ?? -1);
    case 'min_length':
      return (value) => (value as string | unknown[]).length >= (def.minimum ?? Number.POSITIVE_INFINITY);
    case 'string_format': {
      const { pattern } = def;
      if (def.format !== 'regex' || pattern === undefined || pattern.global || pattern.sticky) return undefined;
      return (value) => pattern.test(value as string);
    }
    case 'greater_than':
    case 'less_than': {
      const bound = def.value;
      if (typeof bound !== 'number') return undefined;
      if (def.check === 'greater_than') {
        return def.inclusive === true ? (value) => (value as number) >= bound : (value) => (value as number) > bound;
      }
      return def.inclusive === true ? (value) => (value as number) <= bound : (value) => (value as number) < bound;
    }
    case 'custom': {
      const { fn, when } = def;
      return when === undefined && fn !== undefined ? (value) => fn(value) === true : undefined;
    }
    default:
      return undefined;
  }
}
