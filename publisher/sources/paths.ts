// What every kind of source checks of a vendor's words: paths that do not climb, text that people see.

const PATH = /^[A-Za-z0-9_+~^:%=,@.-]+(?:\/[A-Za-z0-9_+~^:%=,@.-]+)*$/;

/** True for a relative path of plain names that does not climb. */
export function isPlainPath(path: string): boolean {
  return path.length <= 1_024 && PATH.test(path) && !path.split('/').some((part) => part === '.' || part === '..');
}

/** Text for people: control characters become blanks, broken Unicode is mended, the end is cut. */
export function plainLine(value: string | undefined, limit: number): string {
  const clean = (value ?? '').replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ').trim();
  return clean.slice(0, limit).toWellFormed();
}
