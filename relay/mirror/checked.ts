// How far the looks at everything that is held got, what they found and what came of it: in a file, so that a restart goes on where
// it was and commands can tell. Only information: what is rotten is out of view and marked for the next sync without it.
import * as fs from 'node:fs';
import { z } from 'zod';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { openPayloadStore } from '#manifests/repository';
import type { Finding } from './check.ts';
import type { MirrorLayout } from './generations.ts';

export const CHECKED_LIMITS = {
  /** Bytes of the file; rotten files that are named in it. */
  fileBytes: 16 * 1024 * 1024,
  rotten: 10_000,
} as const;

const count = z.int().min(0);
const rottenFile = z.strictObject({
  path: z.string().max(2_000),
  /** Of a payload; null for a signed file. */
  sha256: z.string().nullable(),
  /** `product name arch` of a payload. */
  title: z.string().max(2_000).nullable(),
  says: z.string().max(500),
  foundAt: z.string(),
  /** When a sync asked the upstreams for it last; null: not yet. */
  askedAt: z.string().nullable(),
  /** No upstream has it. */
  lost: z.boolean(),
});
export type RottenFile = z.infer<typeof rottenFile>;

const checkedFile = z.strictObject({
  schema: z.literal('patchferry/relay-checked'),
  schemaVersion: z.literal(1),
  /** The pass under way; `after` is the key of the file that was looked at last. */
  pass: z
    .strictObject({ startedAt: z.string(), after: z.string().max(2_000), files: count, bytes: count, ofBytes: count })
    .nullable(),
  /** The last whole pass. */
  last: z.strictObject({ startedAt: z.string(), endedAt: z.string(), files: count, bytes: count, found: count }).nullable(),
  /** Files found rotten in all, and those that came back. */
  found: count,
  repaired: count,
  /** Those that are not back. */
  rotten: z.array(rottenFile),
});
export type Checked = z.infer<typeof checkedFile>;

const NEVER: Checked = {
  schema: 'patchferry/relay-checked',
  schemaVersion: 1,
  pass: null,
  last: null,
  found: 0,
  repaired: 0,
  rotten: [],
};

/** As last written; a torn file counts as none. */
export function readChecked(layout: Pick<MirrorLayout, 'checked'>): Checked {
  try {
    const bytes = readFileBounded(layout.checked, CHECKED_LIMITS.fileBytes);
    return bytes === undefined ? NEVER : checkedFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return NEVER;
  }
}

/** Reads, changes and writes it, if it changed. @throws files.unwritable */
export function updateChecked(layout: MirrorLayout, change: (before: Checked) => Checked): Checked {
  const before = readChecked(layout);
  const after = change(before);
  if (after !== before) writeFileAtomic(layout.checked, `${JSON.stringify(after)}\n`);
  return after;
}

/** Adds what was found. Pure. @param now milliseconds */
export function withFindings(
  before: Checked,
  findings: readonly Finding[],
  titleOf: (sha256: string | null) => string | null,
  now: number,
): Checked {
  if (findings.length === 0) return before;
  const paths = new Set(findings.map(({ path }) => path));
  const known = before.rotten.filter(({ path }) => paths.has(path)).length;
  const rows = findings.flatMap(({ path, sha256, says, repairable }): RottenFile[] =>
    repairable
      ? [{ path, sha256, says, title: titleOf(sha256), foundAt: new Date(now).toISOString(), askedAt: null, lost: false }]
      : [],
  );
  const rotten = [...before.rotten.filter(({ path }) => !paths.has(path)), ...rows].slice(-CHECKED_LIMITS.rotten);
  return { ...before, found: before.found + findings.length - known, rotten };
}

/** What a sync came to with what was rotten when it began. */
export interface SyncEnd {
  /** Milliseconds: when it began, and now. */
  readonly beganAt: number;
  readonly now: number;
  /** Hashes that no upstream has; and that are put off (hours of the line, quota). */
  readonly absent: ReadonlySet<string>;
  readonly lacking: ReadonlySet<string>;
}

/**
 * Notes what has come back; after a sync also what no upstream has. A payload that is not wanted here any more is no concern.
 * @throws files.unwritable
 */
export function settleChecked(layout: MirrorLayout, end?: SyncEnd): Checked {
  const store = openPayloadStore(layout.payloads);
  return updateChecked(layout, (before) => {
    if (before.rotten.length === 0) return before;
    let repaired = 0;
    let changed = false;
    const rotten = before.rotten.flatMap((each): RottenFile[] => {
      const { sha256 } = each;
      const asked = end !== undefined && Date.parse(each.foundAt) <= end.beganAt;
      const back = sha256 === null ? asked : fs.existsSync(store.pathOf(sha256));
      if (back) repaired += 1;
      if (back || (asked && !end.lacking.has(sha256 ?? ''))) return [];
      if (!asked) return [each];
      changed = true;
      return [{ ...each, askedAt: utcSeconds(end.now), lost: end.absent.has(sha256 ?? '') }];
    });
    if (!changed && rotten.length === before.rotten.length) return before;
    return { ...before, repaired: before.repaired + repaired, rotten };
  });
}

/** How the looks at everything stand, for whoever tells it. */
export interface CheckedView {
  /** Days within which a pass ends; 0: none is asked for. */
  readonly everyDays: number;
  /** The last whole pass: its end, how much it looked at, what it found. */
  readonly last: { readonly endedAt: string; readonly files: number; readonly bytes: number; readonly found: number } | null;
  /** Share of the pass under way, 0 to 1; null: none is. */
  readonly progress: number | null;
  /** A pass should have ended by now. */
  readonly overdue: boolean;
  readonly found: number;
  readonly repaired: number;
  readonly rotten: readonly RottenFile[];
}

/** Whether a pass should have ended by now and has not. Pure. @param everyDays 0: none is asked for @param now milliseconds */
export function isOverdue({ pass, last }: Pick<Checked, 'pass' | 'last'>, everyDays: number, now: number): boolean {
  const every = everyDays * 86_400_000;
  const due = pass !== null ? Date.parse(pass.startedAt) + every : last !== null ? Date.parse(last.startedAt) + 2 * every : now;
  return everyDays > 0 && now > due;
}

/** The same from the file. @param now milliseconds */
export function viewChecked(layout: Pick<MirrorLayout, 'checked'>, everyDays: number, now: number): CheckedView {
  const checked = readChecked(layout);
  const { pass, last, found, repaired, rotten } = checked;
  return {
    everyDays,
    last: last && { endedAt: last.endedAt, files: last.files, bytes: last.bytes, found: last.found },
    progress: pass === null ? null : Math.min(1, pass.bytes / Math.max(1, pass.ofBytes)),
    overdue: isOverdue(checked, everyDays, now),
    found,
    repaired,
    rotten,
  };
}
