// The one error type of patchferry: a stable code, what happened where, what to do next, and the exit code of a command
// that ends with it. Each module declares its own closed set of codes with `defineFaults`; docs list them from there.

/** Exit codes of every command; the meaning of each is public (see README.md, "Exit codes"). */
export const EXIT = {
  done: 0,
  findings: 1,
  usage: 2,
  current: 3,
  deferred: 4,
  refused: 5,
  rolledBack: 6,
  handsNeeded: 7,
  unreachable: 8,
  bug: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What one error code means: `next` is the plain sentence a person reads under the message. */
export interface FaultKind {
  readonly exit: ExitCode;
  readonly next: string;
}

export interface FaultDetail {
  /** File, URL, document, line or field in which the fault lies. */
  readonly where?: string | undefined;
  /** Replaces the code's general advice when a better one is known. */
  readonly next?: string | undefined;
  readonly cause?: unknown;
}

export class PatchferryError extends Error {
  override readonly name = 'PatchferryError';
  /** Stable and public, `module.reason`, e.g. `trust.rollback`. */
  readonly code: string;
  readonly where: string | undefined;
  readonly next: string;
  readonly exit: ExitCode;

  constructor(code: string, kind: FaultKind, message: string, detail: FaultDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.where = detail.where;
    this.next = detail.next ?? kind.next;
    this.exit = kind.exit;
  }
}

const declared = new Map<string, FaultKind>();

/**
 * Declares the codes of one module and gives back the function that makes its errors.
 * @example const fault = defineFaults('trust', { rollback: { exit: EXIT.refused, next: '…' } });
 *          throw fault('rollback', 'timestamp 4 is older than 7', { where: 'timestamp.json' });
 */
export function defineFaults<const K extends string>(module: string, kinds: Readonly<Record<K, FaultKind>>) {
  for (const [reason, kind] of Object.entries<FaultKind>(kinds)) declared.set(`${module}.${reason}`, kind);
  return (reason: K, message: string, detail?: FaultDetail): PatchferryError =>
    new PatchferryError(`${module}.${reason}`, kinds[reason], message, detail);
}

/** Every code declared by the modules loaded so far, sorted; the reference page is made from it. */
export function declaredFaults(): ReadonlyArray<{ code: string; exit: ExitCode; next: string }> {
  return [...declared].map(([code, kind]) => ({ code, ...kind })).toSorted((a, b) => (a.code < b.code ? -1 : 1));
}

/** True when `error` is ours and its code is one of `codes` (all of ours when none is named). */
export function isFault(error: unknown, ...codes: string[]): error is PatchferryError {
  return error instanceof PatchferryError && (codes.length === 0 || codes.includes(error.code));
}
