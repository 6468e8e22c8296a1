// What a running relay sees and nobody signs: when each agent's last result came, what went over the line each day. Kept in a
// file now and then, for the site page; losing the last minute of it loses nothing else.
import * as fs from 'node:fs';
import { z } from 'zod';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { SITE_LIMITS } from './limits.ts';

const count = z.int().min(0);
const day = z.strictObject({
  /** UTC, `YYYY-MM-DD`. */
  day: z.string(),
  /** Bytes of files fetched from upstream, also of those that were cut or refused. */
  fetchedBytes: count,
  /** Bytes sent to and received from whoever asked this relay. */
  sentBytes: count,
  receivedBytes: count,
  requests: count,
  /** Results and enrolments taken in, and brought to the next hop. */
  taken: count,
  passedOn: count,
});
export type UsageDay = z.infer<typeof day>;

const seenAgent = z.strictObject({ agent: z.string(), at: z.string(), sequence: count });

const observedFile = z.strictObject({
  schema: z.literal('patchferry/relay-observed'),
  schemaVersion: z.literal(1),
  writtenAt: z.string(),
  agents: z.array(seenAgent),
  days: z.array(day),
});

export interface Observations {
  /** When the last result of an agent came (UTC), and its sequence number. */
  readonly agents: ReadonlyMap<string, { readonly at: string; readonly sequence: number }>;
  /** Oldest first. */
  readonly days: readonly UsageDay[];
  readonly writtenAt: string | null;
}

export type Amounts = Omit<UsageDay, 'day'>;

export interface Observer {
  result(agent: string, sequence: number): void;
  add(amounts: Partial<Amounts>): void;
  now(): Observations;
  /** Writes what changed; failures are for the caller to log. @throws files.unwritable */
  save(): void;
}

const NOTHING: Amounts = { fetchedBytes: 0, sentBytes: 0, receivedBytes: 0, requests: 0, taken: 0, passedOn: 0 };

/** What was observed, as last written; a torn file counts as none. */
export function readObserved(file: string): Observations {
  try {
    const bytes = readFileBounded(file, SITE_LIMITS.observedFileBytes);
    if (bytes === undefined) return { agents: new Map(), days: [], writtenAt: null };
    const { agents, days, writtenAt } = observedFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return { agents: new Map(agents.map(({ agent, at, sequence }) => [agent, { at, sequence }])), days, writtenAt };
  } catch {
    return { agents: new Map(), days: [], writtenAt: null };
  }
}

/** Agents whose last result is not older than `SITE_LIMITS.heardMs`. @param at milliseconds */
export function heardLately({ agents }: Observations, at: number): ReadonlySet<string> {
  return new Set([...agents].flatMap(([id, seen]) => (at - Date.parse(seen.at) <= SITE_LIMITS.heardMs ? [id] : [])));
}

/**
 * Bytes that a `sync` by hand fetched: in a file beside, which a running relay takes up. Only a figure: where it cannot be written
 * (a disk that is full) the sync ends as it ended. @param at milliseconds
 */
export function noteFetchedByHand(file: string, bytes: number, at: number): void {
  if (bytes === 0) return;
  try {
    fs.appendFileSync(`${file}.by-hand`, `${utcSeconds(at).slice(0, 10)} ${bytes}\n`, { mode: 0o640 });
  } catch {
    // what needs room says so
  }
}

function fetchedByHand(file: string): { day: string; bytes: number }[] {
  const bytes = readFileBounded(`${file}.by-hand`, SITE_LIMITS.observedFileBytes);
  const lines = bytes === undefined ? [] : Buffer.from(bytes).toString('latin1').split('\n');
  return lines.flatMap((line) => {
    const match = /^(\d{4}-\d{2}-\d{2}) (\d{1,15})$/.exec(line); // a torn last line is none
    return match === null ? [] : [{ day: match[1] ?? '', bytes: Number(match[2]) }];
  });
}

export function openObserver(file: string, clock: Clock): Observer {
  const before = readObserved(file);
  const agents = new Map(before.agents);
  const days = new Map(before.days.map((each) => [each.day, each]));
  let writtenAt = before.writtenAt;
  let changed = false;
  /** What was fetched by hand since the last look. */
  function takeUp(): void {
    const rows = fetchedByHand(file);
    for (const { day: name, bytes } of rows) {
      const sum = { ...NOTHING, ...days.get(name), day: name };
      days.set(name, { ...sum, fetchedBytes: sum.fetchedBytes + bytes });
    }
    if (rows.length === 0) return;
    changed = true;
    fs.rmSync(`${file}.by-hand`, { force: true });
  }
  takeUp();
  const now = (): Observations => ({
    agents,
    days: [...days.values()].toSorted((a, b) => (a.day < b.day ? -1 : 1)).slice(-SITE_LIMITS.usageDays),
    writtenAt,
  });

  return {
    now,
    result(agent, sequence) {
      agents.set(agent, { at: utcSeconds(clock.now()), sequence: Math.max(sequence, agents.get(agent)?.sequence ?? 0) });
      changed = true;
    },
    add(amounts) {
      const today = utcSeconds(clock.now()).slice(0, 10);
      const sum = { ...NOTHING, ...days.get(today), day: today };
      for (const [name, value] of Object.entries(amounts) as [keyof Amounts, number][]) {
        sum[name] += value;
        changed ||= value > 0;
      }
      days.set(today, sum);
    },
    save() {
      takeUp();
      if (!changed) return;
      writtenAt = utcSeconds(clock.now());
      const content: z.infer<typeof observedFile> = {
        schema: 'patchferry/relay-observed',
        schemaVersion: 1,
        writtenAt,
        agents: [...agents].map(([agent, { at, sequence }]) => ({ agent, at, sequence })),
        days: [...now().days],
      };
      writeFileAtomic(file, `${JSON.stringify(content)}\n`, { mode: 0o640 });
      changed = false;
    },
  };
}
