// What a source remembers between runs, in one file: the vendor's signed root that it accepted last. An older one is held against it.
import { join } from 'node:path';
import type { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { fault, SOURCE_LIMITS } from './faults.ts';

export interface StateFile<T> {
  /** Undefined when nothing was accepted yet. @throws source.state when there is a record that cannot be read */
  readonly read: (folder: string) => T | undefined;
  readonly write: (folder: string, value: T) => void;
}

export function stateFile<S extends z.ZodType>(state: S): StateFile<z.infer<S>> {
  const fileIn = (folder: string) => join(folder, 'state.json');
  return {
    read(folder) {
      const where = fileIn(folder);
      const bytes = readFileBounded(where, SOURCE_LIMITS.stateBytes);
      if (bytes === undefined) return undefined;
      try {
        return state.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
      } catch (cause) {
        throw fault('state', `${where} is not readable as what was accepted last`, { where, cause });
      }
    },
    write: (folder, value) => writeFileAtomic(fileIn(folder), `${JSON.stringify(value, undefined, 2)}\n`),
  };
}
