// Which payloads were asked for, and when last: what `missing` brings ahead, and what goes first when there is no room. Only
// information: when it is lost, more is fetched on demand.
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import type { MirrorLayout } from './generations.ts';

export const USAGE_LIMITS = {
  /** Bytes of the file. */
  fileBytes: 64 * 1024 * 1024,
  /** Payloads remembered, the newest; and packages that agents asked for. */
  payloads: 100_000,
  packages: 100_000,
  /** Milliseconds after which a package that nobody asked for again is not brought ahead any more. */
  askedMs: 180 * 86_400_000,
  /** Milliseconds between two writings. */
  saveMs: 60_000,
} as const;

const usageFile = z.strictObject({
  schema: z.literal('patchferry/relay-usage'),
  schemaVersion: z.literal(1),
  /** By hash and by `product name arch`: milliseconds since 1970. */
  payloads: z.record(z.string().regex(/^[0-9a-f]{64}$/), z.number()),
  packages: z.record(z.string().max(600), z.number()),
});

export interface UsageView {
  readonly lastUsed: ReadonlyMap<string, number>;
  readonly asked: ReadonlySet<string>;
}

function load(layout: MirrorLayout): { payloads: Map<string, number>; packages: Map<string, number> } {
  try {
    const bytes = readFileBounded(layout.usage, USAGE_LIMITS.fileBytes);
    const { payloads, packages } = usageFile.parse(JSON.parse(Buffer.from(bytes ?? []).toString('utf8')));
    return { payloads: new Map(Object.entries(payloads)), packages: new Map(Object.entries(packages)) };
  } catch {
    return { payloads: new Map(), packages: new Map() };
  }
}

/** What is on disk. */
export function readUsage(layout: MirrorLayout): UsageView {
  const { payloads, packages } = load(layout);
  return { lastUsed: payloads, asked: new Set(packages.keys()) };
}

export interface Usage extends UsageView {
  /** Notes that a payload was asked for. @param ofPackage `product name arch`, when known */
  note(sha256: string, ofPackage: string | undefined): void;
  save(): void;
}

/** @param now milliseconds since 1970 */
export function openUsage(layout: MirrorLayout, now: () => number): Usage {
  const { payloads, packages } = load(layout);
  const asked = new Set<string>();
  for (const [name, at] of packages) {
    if (now() - at < USAGE_LIMITS.askedMs) asked.add(name);
    else packages.delete(name);
  }
  let savedAt = now();
  let dirty = false;
  const bound = (map: Map<string, number>, most: number) => {
    for (const [oldest] of map) {
      if (map.size <= most) break;
      map.delete(oldest);
    }
  };
  function save(): void {
    if (!dirty) return;
    dirty = false;
    savedAt = now();
    bound(payloads, USAGE_LIMITS.payloads);
    bound(packages, USAGE_LIMITS.packages);
    const content = {
      schema: 'patchferry/relay-usage',
      schemaVersion: 1,
      payloads: Object.fromEntries(payloads),
      packages: Object.fromEntries(packages),
    };
    writeFileAtomic(layout.usage, `${JSON.stringify(content)}\n`);
  }
  return {
    lastUsed: payloads,
    asked,
    note(sha256, ofPackage) {
      payloads.delete(sha256);
      payloads.set(sha256, now()); // the newest last
      if (ofPackage !== undefined) {
        packages.delete(ofPackage);
        packages.set(ofPackage, now());
        asked.add(ofPackage);
      }
      dirty = true;
      if (now() - savedAt > USAGE_LIMITS.saveMs) save();
    },
    save,
  };
}
