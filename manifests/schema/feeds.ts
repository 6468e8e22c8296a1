// Feeds that travel with the catalogs: what is known about flaws, with the day it was known.
import { z } from 'zod';
import { cveId } from './catalog.ts';
import { calendarDate, document, line, list, moment } from './common.ts';

/** One entry of CISA's catalogue of known exploited vulnerabilities. `due` may lie before `added`: see decide/kev.ts. */
export const kevEntry = z.strictObject({ cve: cveId, added: calendarDate, due: calendarDate, ransomware: z.boolean() });
export type KevEntry = z.infer<typeof kevEntry>;

export const kev = document('kev', 1, {
  /** As of: when the publisher fetched it, and what the catalogue says of itself. */
  fetchedAt: moment,
  catalogVersion: line(40),
  dateReleased: line(40),
  entries: list(kevEntry, 100_000),
});
export type Kev = z.infer<typeof kev>;
