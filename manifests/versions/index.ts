// Orders of versions, one file per scheme. Pure, total, and without locale. `comparatorFor` is the registry.
import { compareDeb } from './deb.ts';
import { compareRpm } from './rpm.ts';
import { compareSemver } from './semver.ts';
import { compareWindows } from './windows.ts';

export { compareDeb, DEB_LIMITS, type DebVersion, parseDeb } from './deb.ts';
export { compareRpm, parseRpm, type RpmVersion, rpmvercmp } from './rpm.ts';
export { compareSemver, parseSemver, type SemVersion } from './semver.ts';
export { compareWindows, parseWindows } from './windows.ts';

/** Negative, 0 or positive. */
export type Comparator = (a: string, b: string) => number;

const COMPARATORS = {
  deb: compareDeb,
  rpm: compareRpm,
  /** Own software, delivered as an archive: semantic versions. */
  archive: compareSemver,
  msi: compareWindows,
  exe: compareWindows,
  msu: compareWindows,
  /** Receipts of macOS: numbers in any count, sometimes letters. */
  pkg: compareRpm,
  semver: compareSemver,
  windows: compareWindows,
} as const satisfies Record<string, Comparator>;

export type VersionFormat = keyof typeof COMPARATORS;

/** The order of versions of one package format. */
export function comparatorFor(format: VersionFormat): Comparator {
  return COMPARATORS[format];
}
