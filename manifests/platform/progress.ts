// Progress for a person at a terminal: what, how far, how fast, how long still. Plain lines where stderr is no terminal.
import type { Streams } from './cli.ts';

export interface Progress {
  /** Sets how far it is (same unit as `total`: bytes or items). */
  at(done: number, remark?: string): void;
  /** Ends the line; `remark` replaces the figures. */
  end(remark?: string): void;
}

const SILENT: Progress = { at: () => undefined, end: () => undefined };

/** Milliseconds between two redraws at a terminal, and between two lines in a log. */
const REDRAW_MS = { terminal: 100, plain: 5_000 } as const;

/** 1536 -> `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** 95000 -> `1 min 35 s`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/** Starts one line of progress. `total` in bytes when the label ends in "bytes", items otherwise; absent when unknown. */
export function startProgress(label: string, total: number | undefined, streams: Streams | undefined): Progress {
  if (streams === undefined) return SILENT;
  const terminal = streams.errIsTerminal;
  const inBytes = label.endsWith('bytes');
  const show = (value: number) => (inBytes ? formatBytes(value) : String(value));
  const name = inBytes ? label.replace(/,? ?bytes$/, '') : label;
  const started = performance.now();
  let drawn = terminal ? Number.NEGATIVE_INFINITY : started;
  let last = 0;
  let ended = false;

  const figures = (remark?: string) => {
    const elapsed = Math.max(1, performance.now() - started);
    const rate = (last / elapsed) * 1000;
    const parts = [`${name}: ${show(last)}${total === undefined ? '' : ` of ${show(total)}`}`];
    if (inBytes && last > 0) parts.push(`${formatBytes(Math.round(rate))}/s`);
    if (total !== undefined && rate > 0 && last < total && elapsed > 2_000) {
      parts.push(`${formatDuration(((total - last) / rate) * 1000)} left`);
    }
    if (remark !== undefined) parts.push(remark);
    return parts.join(', ');
  };
  return {
    at(done, remark) {
      last = done;
      const now = performance.now();
      if (ended || now - drawn < (terminal ? REDRAW_MS.terminal : REDRAW_MS.plain)) return;
      drawn = now;
      streams.err(terminal ? `\r\u001b[2K${figures(remark)}` : `${figures(remark)}\n`);
    },
    end(remark) {
      if (ended) return;
      ended = true;
      const line = remark === undefined ? `${figures()}, ${formatDuration(performance.now() - started)}` : `${name}: ${remark}`;
      streams.err(`${terminal ? '\r\u001b[2K' : ''}${line}\n`);
    },
  };
}
