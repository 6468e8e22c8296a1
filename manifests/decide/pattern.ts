// Our own matcher for `*`: any run of characters, also none. No regular expression is made of what people write, and
// the time never explodes: each piece between two stars is looked for once, from the left, so a failure never goes back.

export type Matcher = (text: string) => boolean;

/** Whether `text` as a whole is described by `pattern`. Case counts. */
export function matches(pattern: string, text: string): boolean {
  if (!pattern.includes('*')) return pattern === text;
  const pieces = pattern.split('*');
  const first = pieces[0] ?? '';
  const last = pieces.at(-1) ?? '';
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let from = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, from);
    if (found < 0 || found + piece.length > end) return false;
    from = found + piece.length;
  }
  return true;
}

/** One question for many patterns: exact ones by a table, those with `*` in turn. An empty list matches nothing. */
export function anyOf(patterns: readonly string[]): Matcher {
  if (patterns.some((pattern) => /^\*+$/.test(pattern))) return () => true;
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')));
  const open = patterns.filter((pattern) => pattern.includes('*'));
  if (open.length === 0) return (text) => exact.has(text);
  return (text) => exact.has(text) || open.some((pattern) => matches(pattern, text));
}
