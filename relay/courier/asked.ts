// What hosts asked this relay for and did not get: payloads that the signed catalogs name. The missing list is made from it.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { COURIER_LIMITS } from '#manifests/courier';
import { writeFileAtomic } from '#manifests/platform/files';
import { hashInPath, openPayloadStore, payloadsOf } from '#manifests/repository';
import { decodeDocument } from '#manifests/schema';
import { currentGeneration, mirrorLayout, readCurrentTarget } from '../mirror/index.ts';

export interface Named {
  readonly sha256: string;
  readonly size: number;
  /** File name as the vendor has it. */
  readonly name: string;
}

/** Payloads that the catalogs of the current generation name, by hash. @throws mirror.damaged, document.* */
export function namedPayloads(mirror: string): Map<string, Named> {
  const layout = mirrorLayout(mirror);
  const generation = currentGeneration(layout);
  const named = new Map<string, Named>();
  for (const { path } of generation?.targets ?? []) {
    if (generation === undefined || !/^catalogs\/[^/]+\.json\.zst$/.test(path)) continue;
    const bytes = readCurrentTarget(layout, generation, path);
    if (bytes === undefined) continue;
    for (const { sha256, size, path: vendor } of payloadsOf(decodeDocument('catalog', bytes, path)))
      named.set(sha256, { sha256, size, name: vendor.split('/').at(-1) ?? '' });
  }
  return named;
}

export interface Asked {
  /** Notes a path that was not there; what no catalog names is passed over. Never throws. */
  note(path: string): void;
}

/** Opens the record of a running relay. @param folder the courier's */
export function openAsked(folder: string, mirror: string): Asked {
  const file = fileOf(folder);
  const seen = new Set(readAsked(folder));
  let names: { generation: number | undefined; named: ReadonlyMap<string, Named> } | undefined;
  return {
    note(path) {
      const sha256 = path.startsWith('payloads/') ? hashInPath(path) : undefined;
      if (sha256 === undefined || seen.size >= COURIER_LIMITS.missing) return;
      try {
        const generation = currentGeneration(mirrorLayout(mirror))?.number;
        if (names === undefined || names.generation !== generation) names = { generation, named: namedPayloads(mirror) };
        if (!names.named.has(sha256)) return;
        if (seen.has(sha256) && fs.existsSync(file)) return;
        seen.add(sha256);
        fs.mkdirSync(dirname(file), { recursive: true });
        fs.appendFileSync(file, `${sha256}\n`);
      } catch {
        // a disk that is full or a document that is damaged is told elsewhere; whoever asks gets "not here" in any case
      }
    },
  };
}

/** What was asked for, is named by a catalog and is still not here, sorted; and what of the record has no use any more is dropped. */
export function missingHere(folder: string, mirror: string): Named[] {
  const asked = readAsked(folder);
  if (asked.length === 0) return [];
  const named = namedPayloads(mirror);
  const store = openPayloadStore(mirrorLayout(mirror).payloads);
  const missing = asked.flatMap((sha256) => {
    const found = named.get(sha256);
    return found === undefined || store.has(sha256, found.size) ? [] : [found];
  });
  if (missing.length < asked.length) writeFileAtomic(fileOf(folder), missing.map(({ sha256 }) => `${sha256}\n`).join(''));
  return missing.toSorted((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
}

const fileOf = (folder: string) => join(folder, 'asked.txt');

function readAsked(folder: string): string[] {
  try {
    const lines = fs.readFileSync(fileOf(folder), 'latin1').split('\n');
    return [...new Set(lines.filter((line) => /^[0-9a-f]{64}$/.test(line)))]; // a torn line is no hash
  } catch {
    return [];
  }
}
