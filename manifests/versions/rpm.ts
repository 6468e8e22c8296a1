// RPM versions: `[epoch:]version[-release]`, each part compared by rpmvercmp (rpm 4.18, rpmio/rpmvercmp.c).

/** The parts of `[epoch:]version[-release]`; null where a part is not written. */
export interface RpmVersion {
  readonly epoch: string | null;
  readonly version: string;
  readonly release: string | null;
}

/** Takes an EVR apart as rpm's parseEVR does: the epoch is digits before the first colon, the release follows the last dash. */
export function parseRpm(text: string): RpmVersion {
  const [, epoch, rest = ''] = /^(?:(\d*):)?([^]*)$/.exec(text) ?? [];
  const dash = rest.lastIndexOf('-');
  return {
    epoch: epoch === '' ? '0' : (epoch ?? null),
    version: dash < 0 ? rest : rest.slice(0, dash),
    release: dash < 0 ? null : rest.slice(dash + 1),
  };
}

/** Order of two EVRs. A missing epoch is 0; a missing release is before any release (rpmverCmp). Total. */
export function compareRpm(a: string, b: string): number {
  if (a === b) return 0;
  const x = parseRpm(a);
  const y = parseRpm(b);
  const epochs = rpmvercmp(x.epoch ?? '0', y.epoch ?? '0');
  if (epochs !== 0) return epochs;
  const versions = rpmvercmp(x.version, y.version);
  if (versions !== 0) return versions;
  if (x.release === null || y.release === null) return Number(x.release !== null) - Number(y.release !== null);
  return rpmvercmp(x.release, y.release);
}

const TILDE = 126;
const CARET = 94;
const isDigit = (code: number) => code >= 48 && code <= 57;
const isLetter = (code: number) => (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
const isSeparator = (code: number) => code >= 0 && !isDigit(code) && !isLetter(code) && code !== TILDE && code !== CARET;

/** Order of one part. `~` sorts before the end of the text, `^` after it and before anything else that follows. */
export function rpmvercmp(a: string, b: string): number {
  if (a === b) return 0;
  let i = 0;
  let j = 0;
  const at = (text: string, index: number) => (index < text.length ? text.charCodeAt(index) : -1);
  while (i < a.length || j < b.length) {
    while (isSeparator(at(a, i))) i += 1;
    while (isSeparator(at(b, j))) j += 1;
    const x = at(a, i);
    const y = at(b, j);
    if (x === TILDE || y === TILDE) {
      if (x !== TILDE) return 1;
      if (y !== TILDE) return -1;
      i += 1;
      j += 1;
      continue;
    }
    if (x === CARET || y === CARET) {
      if (x < 0) return -1;
      if (y < 0) return 1;
      if (x !== CARET) return 1;
      if (y !== CARET) return -1;
      i += 1;
      j += 1;
      continue;
    }
    if (x < 0 || y < 0) break;
    const numeric = isDigit(x);
    const belongs = numeric ? isDigit : isLetter;
    let iEnd = i;
    let jEnd = j;
    while (belongs(at(a, iEnd))) iEnd += 1;
    while (belongs(at(b, jEnd))) jEnd += 1;
    if (jEnd === j) return numeric ? 1 : -1; // a number is newer than letters
    if (numeric) {
      while (i < iEnd && at(a, i) === 48) i += 1;
      while (j < jEnd && at(b, j) === 48) j += 1;
      if (iEnd - i !== jEnd - j) return iEnd - i > jEnd - j ? 1 : -1;
    }
    for (; i < iEnd && j < jEnd; i += 1, j += 1) {
      const difference = at(a, i) - at(b, j);
      if (difference !== 0) return difference < 0 ? -1 : 1;
    }
    if (i < iEnd || j < jEnd) return i < iEnd ? 1 : -1;
  }
  if (i >= a.length && j >= b.length) return 0;
  return i >= a.length ? -1 : 1;
}
