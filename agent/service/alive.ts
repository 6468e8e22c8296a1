// Signs of life: when this host was last seen awake by its agent, in which boot, and how long it had been awake until then. From two
// of them follows whether it was off or asleep between, also when nothing of ours runs between two cycles (`once` from a timer).
import * as fs from 'node:fs';
import { z } from 'zod';
import { run } from '#manifests/platform/process';
import { readBootId } from '../inventory/index.ts';

/** Milliseconds everywhere. */
export interface SignOfLife {
  /** Trusted time. */
  readonly at: number;
  readonly wall: number;
  /** Null where nobody knows: then all the time since counts as sleep. */
  readonly boot: string | null;
  /** Clock that stands still while the machine sleeps (CLOCK_MONOTONIC); null where there is none such. */
  readonly awake: number | null;
}

/** One boot of the past as the system's journal has it, milliseconds of the wall clock. */
export interface BootSpan {
  readonly first: number;
  readonly last: number;
}

export interface Gap {
  readonly asleepSince: number;
  readonly wokeAt: number;
}

const kept = z.strictObject({
  version: z.literal(1),
  at: z.number(),
  wall: z.number(),
  boot: z.string().nullable(),
  awake: z.number().nullable(),
});

export function writeLife({ at, wall, boot, awake }: SignOfLife): string {
  return JSON.stringify({ version: 1, at, wall, boot, awake });
}

/** What an agent of before noted was the moment alone. */
export function readLife(text: string | undefined, moment: string | undefined): SignOfLife | undefined {
  const found = text === undefined ? undefined : kept.safeParse(JSON.parse(text)).data;
  if (found !== undefined) {
    const { at, wall, boot, awake } = found;
    return { at, wall, boot, awake };
  }
  return moment === undefined ? undefined : { at: Number(moment), wall: Number(moment), boot: null, awake: null };
}

/**
 * The longest time between two signs of life in which the host was off or asleep. Within one boot that is the time that its awake
 * clock did not count, taken to end now: timers that came due in it fire when the machine wakes. Across boots it lies between what
 * the system's journal has of them. A clock that was set makes no sleep: the wall clock and trusted time both have to say so.
 * @param startedAt when this boot began, trusted time; `boots` of the past, oldest first, empty where the journal keeps none
 */
export function longestGap(before: SignOfLife, now: SignOfLife, startedAt: number, boots: readonly BootSpan[]): Gap {
  const passed = Math.min(now.at - before.at, now.wall - before.wall);
  if (before.boot === null || before.boot === now.boot) {
    const awake = before.boot === null || before.awake === null || now.awake === null ? 0 : now.awake - before.awake;
    return { asleepSince: now.at - Math.max(0, passed - awake), wokeAt: now.at };
  }
  const toTrusted = now.at - now.wall;
  let longest: Gap = { asleepSince: startedAt, wokeAt: startedAt };
  let seen = now.at - Math.max(0, passed);
  const spans = boots.map(({ first, last }) => ({ first: first + toTrusted, last: last + toTrusted }));
  for (const { first, last } of [...spans, { first: startedAt, last: now.at }]) {
    if (last <= seen) continue;
    if (first - seen > longest.wokeAt - longest.asleepSince) longest = { asleepSince: seen, wokeAt: first };
    seen = last;
  }
  return longest;
}

/** This moment as a sign of life. */
export function lifeNow(at: number, wall: number): SignOfLife {
  const linux = process.platform === 'linux'; // what sleeps are not counted by elsewhere is not known
  return { at, wall, boot: linux ? readBootId() : null, awake: linux ? Number(process.hrtime.bigint() / 1_000_000n) : null };
}

/** Milliseconds since this system (a machine or a container) was started, sleep included (proc(5): uptime, pid/stat field 22). */
export function upMs(): number {
  try {
    const uptime = Number(fs.readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
    const fields = fs
      .readFileSync('/proc/1/stat', 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return Math.max(0, uptime - (Number(fields[19]) * 1000) / TICKS_A_SECOND);
  } catch {
    return 0;
  }
}

/** USER_HZ, the same on every architecture that Linux gives to programs. */
const TICKS_A_SECOND = 100;
const JOURNAL_MS = 10_000;

const listed = z.array(z.object({ index: z.number(), first_entry: z.number(), last_entry: z.number() }));

/** The boots before this one, as the systemd journal has them; none where it keeps none or is of a version that does not say. */
export async function pastBoots(): Promise<BootSpan[]> {
  try {
    const { stdout } = await run('journalctl', ['--list-boots', '--no-pager', '-o', 'json'], { timeoutMs: JOURNAL_MS });
    return readBoots(stdout);
  } catch {
    return [];
  }
}

/** Parses `journalctl --list-boots -o json`: microseconds, the boot that runs has index 0. */
export function readBoots(text: string): BootSpan[] {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return [];
  }
  return (listed.safeParse(found).data ?? [])
    .filter(({ index }) => index < 0)
    .map(({ first_entry, last_entry }) => ({ first: first_entry / 1000, last: last_entry / 1000 }))
    .toSorted((a, b) => a.first - b.first);
}
