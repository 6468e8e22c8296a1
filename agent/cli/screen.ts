// How prose reaches a person: lines wrapped to a terminal's width, a few colours where the terminal and NO_COLOR allow them, and
// moments told with how far away they are. What is no terminal gets whole lines and no colours.
import { utcSeconds } from '#manifests/platform/clock';
import { formatDuration } from '#manifests/platform/progress';

export interface Screen {
  /** Characters of a line; infinite where nobody sees lines end. */
  readonly columns: number;
  readonly color: boolean;
}

const LEAST_COLUMNS = 40;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** What stdout is now (no-color.org; TERM=dumb as terminals mean it). */
export function screenOf(
  stdout: { readonly isTTY?: boolean; readonly columns?: number },
  env: Readonly<Record<string, string | undefined>>,
): Screen {
  if (stdout.isTTY !== true) return { columns: Number.POSITIVE_INFINITY, color: false };
  const color = (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  return { columns: Math.max(LEAST_COLUMNS, stdout.columns ?? 80), color };
}

const CODES = { good: '32', waits: '33', bad: '31', strong: '1', dim: '2' } as const;
export type Paint = keyof typeof CODES;

export function paint(screen: Screen, how: Paint, text: string): string {
  return screen.color ? `\u001b[${CODES[how]}m${text}\u001b[0m` : text;
}

/** Breaks one text between words; a word longer than a line stays whole. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** A paragraph with every line after the first set in below it. */
export function hanging(screen: Screen, first: string, text: string): string {
  const rest = ' '.repeat(first.length);
  return wrap(text, screen.columns - first.length)
    .map((line, index) => `${index === 0 ? first : rest}${line}`.trimEnd())
    .join('\n');
}

/** Names on the left, texts on the right, each text wrapped beside its name. */
export function facts(screen: Screen, rows: ReadonlyArray<readonly [name: string, text: string]>): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return rows
    .map(([name, text]) => {
      const lines = hanging(screen, ' '.repeat(width), text).slice(width);
      return `${paint(screen, 'dim', name)}${' '.repeat(width - name.length)}${lines}`.trimEnd();
    })
    .join('\n');
}

/** `2026-11-24T00:00:00Z (in 2 days 14 h)`. Both milliseconds. */
export function moment(at: number, now: number): string {
  const far = Math.abs(at - now);
  const days = Math.floor(far / DAY_MS);
  const hours = Math.floor((far % DAY_MS) / HOUR_MS);
  const words = days > 0 ? `${days} ${days === 1 ? 'day' : 'days'}${hours > 0 ? ` ${hours} h` : ''}` : formatDuration(far);
  return `${utcSeconds(at)} (${at >= now ? `in ${words}` : `${words} ago`})`;
}
