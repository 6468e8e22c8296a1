// Pure: which ways back are given up, by number, age and room. Restores build on each other (the newest first), so it is always
// the oldest that goes, and one that must stay holds all newer ones.
import type { KeptWay } from './ways.ts';

const DAY_MS = 86_400_000;

/** What the host's owner allows (settings `waysBack`). */
export interface KeepingRules {
  /** Runs that can be taken back, at most. */
  readonly keep: number;
  /** Older ones go, the last one too. */
  readonly days: number;
  /** Share of the file system that all of them may take. */
  readonly maxPercent: number;
  /** While less than this share of the file system is free, the oldest goes. */
  readonly freePercent: number;
}

export interface KeepingFacts {
  /** Milliseconds of trusted time. */
  readonly at: number;
  /** Of the file system that holds them. */
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Runs that are not to be given up whatever the rules say, with the reason. */
  readonly protected: ReadonlyMap<string, string>;
}

export interface GivenUp {
  readonly run: string;
  readonly why: string;
}

/**
 * What goes now, oldest first. Room alone never takes the newest one. Where room is short and a way back was not measured, one
 * goes at a time: what that freed is seen before the next.
 */
export function toGiveUp(kept: readonly KeptWay[], rules: KeepingRules, facts: KeepingFacts): GivenUp[] {
  const gone: GivenUp[] = [];
  let bytes = kept.reduce((sum, way) => sum + (way.bytes ?? 0), 0);
  let free = facts.freeBytes;
  let blind = false;
  for (const [index, way] of kept.entries()) {
    if (facts.protected.has(way.run)) break;
    const newest = index === kept.length - 1;
    const why =
      facts.at - way.takenAt > rules.days * DAY_MS
        ? `older than ${rules.days} days`
        : kept.length - index > rules.keep
          ? `more than ${rules.keep} runs that can be taken back`
          : newest || blind
            ? undefined
            : bytes > (facts.totalBytes * rules.maxPercent) / 100
              ? `ways back take more than ${rules.maxPercent} % of the disk`
              : free < (facts.totalBytes * rules.freePercent) / 100
                ? `less than ${rules.freePercent} % of the disk is free`
                : undefined;
    if (why === undefined) break;
    gone.push({ run: way.run, why });
    bytes -= way.bytes ?? 0;
    free += way.bytes ?? 0;
    blind ||= way.bytes === null;
  }
  return gone;
}
