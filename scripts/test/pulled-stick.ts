// For tests: a stick that is pulled out at its N-th file operation. From then on everything below its folder fails as a medium
// that is gone does, until it is put in again.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

export interface PulledStick {
  /** Operations on the stick since the last `putIn`. */
  count(): number;
  /** Pulls it at operation number `at` (never when absent), counted from now. */
  putIn(at?: number): void;
  restore(): void;
}

const PATHS = [
  'openSync',
  'readdirSync',
  'lstatSync',
  'statSync',
  'mkdirSync',
  'rmSync',
  'renameSync',
  'statfsSync',
  'accessSync',
] as const;
const HANDLES = ['readSync', 'writeSync', 'fsyncSync', 'ftruncateSync', 'fstatSync'] as const;

type Any = (...args: unknown[]) => unknown;

export function pulledStick(folder: string): PulledStick {
  const originals = new Map<string, Any>();
  const handles = new Set<unknown>();
  let done = 0;
  let pullAt = Number.POSITIVE_INFINITY;
  const touch = (syscall: string) => {
    done += 1;
    if (done < pullAt) return;
    throw Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: 'EIO', errno: -5, syscall });
  };
  const below = (path: unknown) => typeof path === 'string' && (path === folder || path.startsWith(`${folder}/`));
  const wrap = (name: (typeof PATHS)[number] | (typeof HANDLES)[number] | 'closeSync', make: (original: Any) => Any) => {
    const original = fs[name] as Any;
    originals.set(name, original);
    Object.assign(fs, { [name]: make(original) });
  };
  for (const name of PATHS) {
    wrap(name, (original) => (...args) => {
      if (!below(args[0]) && !(name === 'renameSync' && below(args[1]))) return original(...args);
      touch(name.replace('Sync', ''));
      const value = original(...args);
      if (name === 'openSync') handles.add(value);
      return value;
    });
  }
  for (const name of HANDLES) {
    wrap(name, (original) => (...args) => {
      if (handles.has(args[0])) touch(name.replace('Sync', ''));
      return original(...args);
    });
  }
  wrap('closeSync', (original) => (...args) => {
    handles.delete(args[0]);
    return original(...args);
  });
  syncBuiltinESMExports();
  return {
    count: () => done,
    putIn(at = Number.POSITIVE_INFINITY) {
      done = 0;
      pullAt = at;
    },
    restore() {
      for (const [name, original] of originals) Object.assign(fs, { [name]: original });
      syncBuiltinESMExports();
    },
  };
}
