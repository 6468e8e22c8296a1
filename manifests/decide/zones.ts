// Wall clocks: the offsets of a time zone as a list of stretches, made once from Temporal, and the one rule by which wall time
// becomes an instant. A wall time is written here as the milliseconds that UTC would have at the same reading.
import { DAY_MS } from './text.ts';

export interface Zone {
  readonly name: string;
  /** The wall clock at an instant. */
  wallAt(at: number): number;
  /**
   * The first instant at which the wall clock shows this time or a later one. Of a time that comes twice the first, of one that
   * the clock skips the end of the gap (trap 8).
   */
  firstInstant(wall: number): number;
  /** How the wall clock treats this reading: once, twice, or never. */
  comes(wall: number): 'once' | 'twice' | 'never';
}

/** No zone was ever further from UTC. */
const FURTHEST_MS = 26 * 3_600_000;
const LATEST_MS = Date.parse('9999-12-31T00:00:00Z');

const known = new Map<string, Zone | null>();

/** The zone of this IANA name, or null when nobody here knows it. */
export function zoneOf(name: string): Zone | null {
  const found = known.get(name);
  if (found !== undefined) return found;
  let made: Zone | null;
  try {
    made = makeZone(name);
  } catch {
    made = null;
  }
  if (known.size > 1_000) known.clear(); // names come from documents and inventories
  known.set(name, made);
  return made;
}

function makeZone(name: string): Zone {
  let last = Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name);
  const offsetOf = (moment: Temporal.ZonedDateTime) => moment.offsetNanoseconds / 1_000_000;
  /** Stretch i is [starts[i], starts[i + 1]) with offsets[i]. */
  const starts: number[] = [Number.NEGATIVE_INFINITY];
  const offsets: number[] = [offsetOf(last)];
  let complete = false;
  const reach = (at: number) => {
    while (!complete && last.epochMilliseconds <= at) {
      const next = last.getTimeZoneTransition('next');
      if (next === null || next.epochMilliseconds > LATEST_MS) {
        complete = true;
        return;
      }
      last = next;
      starts.push(next.epochMilliseconds);
      offsets.push(offsetOf(next));
    }
  };
  const stretchAt = (at: number): number => {
    reach(at + 1);
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((starts[middle] ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  /** The stretches in which this wall time can lie, earliest first. */
  const firstStretch = (wall: number): number => {
    reach(wall + FURTHEST_MS);
    let index = stretchAt(wall - FURTHEST_MS);
    while (index + 1 < starts.length && wall >= (starts[index + 1] ?? 0) + (offsets[index] ?? 0)) index += 1;
    return index;
  };
  return {
    name,
    wallAt: (at) => at + (offsets[stretchAt(at)] ?? 0),
    firstInstant(wall) {
      const index = firstStretch(wall);
      return Math.max(wall - (offsets[index] ?? 0), starts[index] ?? 0);
    },
    comes(wall) {
      const index = firstStretch(wall);
      const at = wall - (offsets[index] ?? 0);
      if (at < (starts[index] ?? 0)) return 'never';
      const next = starts[index + 1];
      const again = wall - (offsets[index + 1] ?? 0);
      return next !== undefined && again >= next && again > at && again - at < DAY_MS ? 'twice' : 'once';
    },
  };
}
