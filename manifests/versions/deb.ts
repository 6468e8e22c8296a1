// Debian versions: `[epoch:]upstream[-revision]`, compared by the algorithm of Debian Policy 5.6.12 as dpkg does it.

/** The three parts of a Debian version. */
export interface DebVersion {
  readonly epoch: number;
  readonly upstream: string;
  /** Empty when there is none; compares as `0`. */
  readonly revision: string;
}

export const DEB_LIMITS = {
  /** Greatest epoch dpkg takes (INT_MAX). */
  epoch: 2_147_483_647,
} as const;

const UPSTREAM = /^[0-9][A-Za-z0-9.+:~-]*$/;
const REVISION = /^[A-Za-z0-9.+~]+$/;

/**
 * Reads a version strictly (Debian Policy 5.6.12, and deb-version(7)); null when it is not one.
 * `compareDeb` takes any text, so only what is written down needs this.
 */
export function parseDeb(text: string): DebVersion | null {
  const colon = text.indexOf(':');
  const epochText = colon < 0 ? '0' : text.slice(0, colon);
  if (!/^\d{1,10}$/.test(epochText) || Number(epochText) > DEB_LIMITS.epoch) return null;
  const rest = text.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  const upstream = dash < 0 ? rest : rest.slice(0, dash);
  const revision = dash < 0 ? '' : rest.slice(dash + 1);
  if (!UPSTREAM.test(upstream) || (dash >= 0 && !REVISION.test(revision))) return null;
  return { epoch: Number(epochText), upstream, revision };
}

/**
 * Order of two Debian versions: negative, 0 or positive, as `dpkg --compare-versions` has it. Total: text that is no
 * version is taken apart in the same way, as dpkg does after its warning. Allocates nothing.
 */
export function compareDeb(a: string, b: string): number {
  if (a === b) return 0;
  const aColon = epochEnd(a);
  const bColon = epochEnd(b);
  if (aColon !== 0 || bColon !== 0) {
    const epochs = compareRun(a, 0, Math.max(0, aColon - 1), b, 0, Math.max(0, bColon - 1));
    if (epochs !== 0) return epochs;
  }
  const aDash = a.lastIndexOf('-');
  const bDash = b.lastIndexOf('-');
  const aEnd = aDash < aColon ? a.length : aDash;
  const bEnd = bDash < bColon ? b.length : bDash;
  const upstream = compareRun(a, aColon, aEnd, b, bColon, bEnd);
  if (upstream !== 0) return upstream;
  return compareRun(a, aEnd === a.length ? aEnd : aEnd + 1, a.length, b, bEnd === b.length ? bEnd : bEnd + 1, b.length);
}

const ZERO = 48;
const NINE = 57;

/** Where the upstream part begins: after `digits:`, else 0. */
function epochEnd(text: string): number {
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === 58) return index === 0 ? 0 : index + 1;
    if (code < ZERO || code > NINE) return 0;
  }
  return 0;
}

/** Weight of one character outside digits: `~` before the end of the text, then letters, then everything else. */
function weight(code: number): number {
  if (code === 126) return -1;
  if ((code >= 65 && code <= 90) || (code >= 97 && code <= 122)) return code;
  return code + 256;
}

/** dpkg's verrevcmp over two slices: runs of non-digits by weight, runs of digits by value, in turn. */
function compareRun(a: string, aFrom: number, aEnd: number, b: string, bFrom: number, bEnd: number): number {
  let i = aFrom;
  let j = bFrom;
  while (i < aEnd || j < bEnd) {
    for (;;) {
      const x = i < aEnd ? a.charCodeAt(i) : -1;
      const y = j < bEnd ? b.charCodeAt(j) : -1;
      const xText = x >= 0 && (x < ZERO || x > NINE);
      const yText = y >= 0 && (y < ZERO || y > NINE);
      if (!xText && !yText) break;
      const difference = (xText ? weight(x) : 0) - (yText ? weight(y) : 0);
      if (difference !== 0) return difference < 0 ? -1 : 1;
      i += 1;
      j += 1;
    }
    while (i < aEnd && a.charCodeAt(i) === ZERO) i += 1;
    while (j < bEnd && b.charCodeAt(j) === ZERO) j += 1;
    let first = 0;
    for (;;) {
      const x = i < aEnd ? a.charCodeAt(i) : -1;
      const y = j < bEnd ? b.charCodeAt(j) : -1;
      const xDigit = x >= ZERO && x <= NINE;
      const yDigit = y >= ZERO && y <= NINE;
      if (xDigit !== yDigit) return xDigit ? 1 : -1; // the longer number is the greater
      if (!xDigit) break;
      if (first === 0) first = x - y;
      i += 1;
      j += 1;
    }
    if (first !== 0) return first < 0 ? -1 : 1;
  }
  return 0;
}
