// Logs of services: pino, one JSON line an event on stderr. Messages are constant text, data goes into fields.
import { type Logger, pino } from 'pino';

export type Log = Logger;

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug';

/** A log for one component. Times are UTC; secrets never get here: callers log names and digests, not contents. */
export function createLog(component: string, level: LogLevel = 'info'): Log {
  return pino(
    {
      level,
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** A log that says nothing, for tests and for commands that print prose. */
export const silentLog: Log = pino({ level: 'silent' });
