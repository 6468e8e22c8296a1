// Which patch is replaced by which: for each package of the host, the newest patch that may be taken is the one that
// counts. What policy has not released never hides what it has.
import { comparatorFor } from '#manifests/versions';
import { type Applicable, lacking } from './applicable.ts';
import type { Standing } from './standing.ts';
import { byText } from './text.ts';

export interface Candidate extends Applicable {
  readonly standing: Standing;
}

/** By patch (its place in the list) and slot: the id of the patch that replaces it there. */
export type Replacements = ReadonlyMap<Candidate, ReadonlyMap<string, string>>;

interface Offer {
  readonly candidate: Candidate;
  readonly version: string;
}

/**
 * For every package the host lacks something of, goes from the newest offer to the oldest:
 * an approved one replaces everything older; a pending one replaces older ones that are not approved before it; one that is in no list replaces older ones in no list or rejected, but never a security patch
 * by one that is none (the host would look safer than it is); a rejected one replaces nothing.
 */
export function replacements(candidates: readonly Candidate[]): Replacements {
  const bySlot = new Map<string, Offer[]>();
  for (const candidate of candidates) {
    for (const fit of candidate.fits) {
      if (!lacking(fit)) continue;
      const offers = bySlot.get(fit.slot);
      const offer = { candidate, version: fit.item.version };
      if (offers === undefined) bySlot.set(fit.slot, [offer]);
      else offers.push(offer);
    }
  }
  const replaced = new Map<Candidate, Map<string, string>>();
  for (const [slot, offers] of bySlot) {
    if (offers.length < 2) continue;
    const compare = comparatorFor(offers[0]?.candidate.patch.format ?? 'deb');
    const newestFirst = offers.toSorted(
      (a, b) =>
        compare(b.version, a.version) ||
        byText(a.candidate.patch.id, b.candidate.patch.id) ||
        byText(a.candidate.product, b.candidate.product),
    );
    let approved: string | undefined;
    const any: Seen = {};
    const security: Seen = {};
    for (const { candidate } of newestFirst) {
      const { standing, patch } = candidate;
      const by = approved ?? replacedBy(standing, patch.classification === 'security' ? security : any);
      if (by !== undefined) {
        const slots = replaced.get(candidate);
        if (slots === undefined) replaced.set(candidate, new Map([[slot, by]]));
        else slots.set(slot, by);
      }
      if (standing.kind === 'approved') approved ??= patch.id;
      note(any, standing, patch.id);
      if (patch.classification === 'security') note(security, standing, patch.id);
    }
  }
  return replaced;
}

/** What was met on the way from newest to oldest, besides the approved. */
interface Seen {
  /** The one that is approved first. */
  pending?: { readonly id: string; readonly at: string };
  /** The newest in no list. */
  open?: string;
}

function note(seen: Seen, standing: Standing, id: string) {
  if (standing.kind === 'pending' && (seen.pending === undefined || standing.approvesAt < seen.pending.at)) {
    seen.pending = { id, at: standing.approvesAt };
  }
  if (standing.kind === 'unlisted' || standing.kind === 'no-baseline') seen.open ??= id;
}

function replacedBy(standing: Standing, { pending, open }: Seen): string | undefined {
  if (standing.kind === 'approved') return undefined;
  if (standing.kind === 'pending') return pending !== undefined && pending.at <= standing.approvesAt ? pending.id : undefined;
  return pending?.id ?? open;
}
