// Semantic versions (SemVer 2.0.0, clause 11), and a total order for what is nearly one: `1.2`, `v1.2.3`, `2024.4.1.9`.
import { compareDigits, compareText } from './numbers.ts';

/** The parts of a semantic version that order it; build metadata has no part in it (clause 10). */
export interface SemVersion {
  readonly core: readonly string[];
  readonly prerelease: readonly string[];
}

const STRICT =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/;

/** Reads a semantic version strictly; null when it is not one. */
export function parseSemver(text: string): SemVersion | null {
  return text.length <= 256 && STRICT.test(text) ? split(text) : null;
}

/** Order of two versions. Total: a missing core number is 0, further ones count, a leading `v` does not. */
export function compareSemver(a: string, b: string): number {
  if (a === b) return 0;
  const x = split(a);
  const y = split(b);
  for (let index = 0; index < Math.max(x.core.length, y.core.length); index += 1) {
    const order = compareIdentifier(x.core[index] ?? '0', y.core[index] ?? '0');
    if (order !== 0) return order;
  }
  if (x.prerelease.length === 0 || y.prerelease.length === 0) {
    return Number(x.prerelease.length === 0) - Number(y.prerelease.length === 0);
  }
  for (let index = 0; index < Math.max(x.prerelease.length, y.prerelease.length); index += 1) {
    const left = x.prerelease[index];
    const right = y.prerelease[index];
    if (left === undefined || right === undefined) return left === undefined ? -1 : 1;
    const order = compareIdentifier(left, right);
    if (order !== 0) return order;
  }
  return 0;
}

function split(text: string): SemVersion {
  const [versionAndPre = ''] = text.replace(/^v(?=\d)/, '').split('+', 1);
  const dash = versionAndPre.indexOf('-');
  const core = dash < 0 ? versionAndPre : versionAndPre.slice(0, dash);
  return { core: core.split('.'), prerelease: dash < 0 ? [] : versionAndPre.slice(dash + 1).split('.') };
}

/** Numbers by value and before text; text by code units (clause 11.4). */
function compareIdentifier(a: string, b: string): number {
  const aNumber = /^\d+$/.test(a);
  const bNumber = /^\d+$/.test(b);
  if (aNumber !== bNumber) return aNumber ? -1 : 1;
  return aNumber ? compareDigits(a, b) : compareText(a, b);
}
