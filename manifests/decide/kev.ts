// CISA's catalogue of known exploited vulnerabilities: read from its own JSON, looked up by CVE alone (its product names are
// free text), with a due date that is never a debt from before the entry existed.
import { z } from 'zod';
import { calendarDate, type Kev, type Patch } from '#manifests/schema';
import { byText, DAY_MS, momentOf } from './text.ts';

/** What is read of CISA's file; the rest of each entry is left where it is. */
const catalogue = z.object({
  catalogVersion: z.string().max(40),
  dateReleased: z.string().max(40),
  vulnerabilities: z
    .array(
      z.object({
        cveID: z.string().regex(/^CVE-\d{4}-\d{4,19}$/),
        dateAdded: calendarDate,
        dueDate: calendarDate,
        knownRansomwareCampaignUse: z.string().max(40).optional(),
      }),
    )
    .max(100_000),
});

/** CISA's JSON as the signed document. @throws ZodError when it is not the catalogue. @param fetchedAt milliseconds */
export function kevFrom(json: unknown, fetchedAt: number): Kev {
  const { catalogVersion, dateReleased, vulnerabilities } = catalogue.parse(json);
  return {
    schema: 'patchferry/kev',
    schemaVersion: 1,
    fetchedAt: momentOf(fetchedAt),
    catalogVersion,
    dateReleased,
    entries: vulnerabilities
      .map(({ cveID, dateAdded, dueDate, knownRansomwareCampaignUse }) => ({
        cve: cveID,
        added: dateAdded,
        due: dueDate,
        ransomware: knownRansomwareCampaignUse === 'Known',
      }))
      .toSorted((a, b) => byText(a.cve, b.cve)),
  };
}

export interface KevListing {
  readonly cve: string;
  readonly added: string;
  /** The first instant at which it is overdue: the end of the due day in UTC. */
  readonly dueBy: number;
  readonly ransomware: boolean;
}

export type KevIndex = ReadonlyMap<string, KevListing>;

/** By CVE. An entry due before it was added (15 of the first days) is due on the day it was added. */
export function kevIndex(kev: Kev | null | undefined): KevIndex {
  return new Map(
    (kev?.entries ?? []).map(({ cve, added, due, ransomware }) => [
      cve,
      { cve, added, dueBy: Date.parse(`${due < added ? added : due}T00:00:00Z`) + DAY_MS, ransomware },
    ]),
  );
}

/** Of a patch's listed CVEs the one that is due first; undefined when none is listed. */
export function kevOf(patch: Pick<Patch, 'cves'>, index: KevIndex): KevListing | undefined {
  let first: KevListing | undefined;
  for (const cve of patch.cves) {
    const listing = index.get(cve);
    if (listing !== undefined && (first === undefined || listing.dueBy < first.dueBy)) first = listing;
  }
  return first;
}
