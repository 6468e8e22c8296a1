// Waivers: who signed them, for whom and how long they hold, whether their compensating control is at work, what they cover, and
// the notices before and after they end. A waiver never hides a patch: it makes it EXCEPTED.
import { createPublicKey, verify } from 'node:crypto';
import { canonicalJson, type Patch, type SignedWaiver, type WaiverPolicy, type When } from '#manifests/schema';
import { dayOf } from './calendar.ts';
import { listTest } from './filters.ts';
import { selects, type Who } from './targeting.ts';
import { byText, DAY_MS, fewOf, momentOf } from './text.ts';
import { zoneOf } from './zones.ts';

export const WAIVER_LIMITS = {
  /** A check of a compensating control counts this long. */
  controlAgeMs: DAY_MS,
  /** Notices so long before the end. */
  noticeDays: [14, 1],
} as const;

/** The bytes every approver signs: the waiver without its approvals, canonical, under a name of its own. */
export function waiverBytes(waiver: SignedWaiver): Uint8Array {
  const { approvals: _approvals, ...rest } = waiver;
  return Buffer.from(`patchferry-waiver-1\n${canonicalJson(rest)}`);
}

/** An Ed25519 public key of 32 raw bytes as an SPKI (RFC 8410). */
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

/** Approvers of the policy whose signature on the waiver is right; each key counts once, under whatever names. */
export function approversOf(waiver: SignedWaiver, policy: WaiverPolicy): string[] {
  const bytes = waiverBytes(waiver);
  const good = new Map<string, string>();
  for (const { publicKey, signature } of waiver.approvals) {
    const approver = policy.approvers.find((one) => one.publicKey === publicKey);
    if (approver === undefined || good.has(publicKey)) continue;
    const key = createPublicKey({ key: Buffer.concat([SPKI, Buffer.from(publicKey, 'hex')]), format: 'der', type: 'spki' });
    if (verify(null, bytes, key, Buffer.from(signature, 'hex'))) good.set(publicKey, approver.name);
  }
  return [...good.values()].toSorted(byText);
}

export type WaiverVerdict =
  | { readonly ok: true; readonly approvers: readonly string[] }
  | { readonly ok: false; readonly code: 'no-policy' | 'too-few-approvers' | 'too-long' | 'no-end'; readonly says: string };

/** Whether a waiver may be honoured: enough different approvers have signed exactly this, and it is not longer than allowed. */
export function verifyWaiver(waiver: SignedWaiver, policy: WaiverPolicy | undefined): WaiverVerdict {
  if (policy === undefined) return { ok: false, code: 'no-policy', says: 'the group of this host takes no waivers' };
  const { from, until } = spanOf(waiver, 'UTC');
  if (!(until > from)) return { ok: false, code: 'no-end', says: 'it does not end after it begins' };
  // a day more for `host`: the same date lasts longer somewhere
  if (until - from > (policy.maxDays + (typeof waiver.until === 'string' ? 0 : 1)) * DAY_MS)
    return { ok: false, code: 'too-long', says: `it is longer than the ${policy.maxDays} days the group allows` };
  const approvers = approversOf(waiver, policy);
  if (approvers.length < policy.threshold) {
    const says = `${approvers.length} of ${policy.threshold} approvers have signed it${approvers.length === 0 ? '' : ` (${fewOf(approvers)})`}`;
    return { ok: false, code: 'too-few-approvers', says };
  }
  return { ok: true, approvers };
}

/** From (inclusive) and until (exclusive) in milliseconds; a date is the whole day by the wall clock it names. */
export function spanOf(
  { from, until }: Pick<SignedWaiver, 'from' | 'until'>,
  hostZone: string,
): { from: number; until: number } {
  return { from: instantOf(from, 0, hostZone), until: instantOf(until, 1, hostZone) };
}

function instantOf(when: When, daysOn: 0 | 1, hostZone: string): number {
  if (typeof when === 'string') return Date.parse(when);
  const zone = zoneOf(when.zone === 'host' ? hostZone : when.zone);
  return zone === null ? Number.NaN : zone.firstInstant((dayOf(when.date) + daysOn) * DAY_MS);
}

/** The last outcome of a control's check on this host. */
export interface ControlResult {
  readonly waiver: string;
  readonly passed: boolean;
  readonly at: number;
}

export type WaiverStanding = 'in-force' | 'to-come' | 'ended' | 'suspended' | 'refused';

export interface HostWaiver {
  readonly waiver: SignedWaiver;
  readonly standing: WaiverStanding;
  readonly from: number;
  readonly until: number;
  readonly says: string;
}

/** The waivers that are about this host, with what they are worth now. @param at milliseconds of trusted time */
export function hostWaivers(
  waivers: readonly SignedWaiver[],
  policy: WaiverPolicy | undefined,
  who: Who,
  controls: readonly ControlResult[],
  at: number,
  hostZone: string,
): HostWaiver[] {
  return waivers
    .filter((waiver) => selects(waiver.scope, who))
    .map((waiver) => ({ waiver, ...worthOf(waiver, policy, controls, at, hostZone) }))
    .toSorted((a, b) => byText(a.waiver.name, b.waiver.name));
}

function worthOf(
  waiver: SignedWaiver,
  policy: WaiverPolicy | undefined,
  controls: readonly ControlResult[],
  at: number,
  hostZone: string,
): Omit<HostWaiver, 'waiver'> {
  const { from, until } = spanOf(waiver, hostZone);
  const about = `waiver ${waiver.name} (${waiver.response}: ${waiver.reason})`;
  const make = (standing: WaiverStanding, says: string) => ({ standing, from, until, says: `${about} ${says}` });
  const verdict = verifyWaiver(waiver, policy);
  if (!verdict.ok) return make('refused', `does not count: ${verdict.says}`);
  if (!(from <= at)) return make('to-come', `begins at ${momentOf(from)}`);
  if (!(at < until)) return make('ended', `ended at ${momentOf(until)}`);
  if (waiver.control?.check !== undefined) {
    const last = controls.filter((one) => one.waiver === waiver.name && one.at <= at).toSorted((a, b) => b.at - a.at)[0];
    if (last === undefined || at - last.at > WAIVER_LIMITS.controlAgeMs)
      return make('suspended', 'does not count: its control has not been checked on this host within a day');
    if (!last.passed) return make('suspended', `does not count: the check of its control failed at ${momentOf(last.at)}`);
  }
  return make('in-force', `until ${momentOf(until)}, approved by ${fewOf(verdict.approvers)}`);
}

export interface WaiverCover {
  /** In force; all of them are needed. Empty when the patch is not covered. */
  readonly by: readonly HostWaiver[];
  /** When the first of them ends. */
  readonly until: number | null;
  /** Sentences about waivers that name the patch and do not count. */
  readonly others: readonly string[];
}

/**
 * Looks patches up in the waivers of a host. A waiver of CVEs covers a patch only when every CVE the patch fixes is waived: one
 * accepted flaw must not hide another.
 */
export function waiverCover(waivers: readonly HostWaiver[]): (patch: Patch) => WaiverCover {
  const tests = waivers.map((one) => ({ one, names: listTest(one.waiver.patches), cves: new Set(one.waiver.cves) }));
  return (patch) => {
    const about = tests.filter(({ names, cves }) => names(patch) !== null || patch.cves.some((cve) => cves.has(cve)));
    if (about.length === 0) return NOT_COVERED;
    const live = about.filter(({ one }) => one.standing === 'in-force');
    const byName = live.find(({ names }) => names(patch) !== null);
    const byFlaw = live.filter(({ cves }) => patch.cves.some((cve) => cves.has(cve)));
    const all = patch.cves.length > 0 && patch.cves.every((cve) => byFlaw.some(({ cves }) => cves.has(cve)));
    const by = byName !== undefined ? [byName.one] : all ? byFlaw.map(({ one }) => one) : [];
    const open = patch.cves.filter((cve) => !byFlaw.some(({ cves }) => cves.has(cve)));
    const others = about.flatMap(({ one }) => {
      if (by.includes(one)) return [];
      return one.standing === 'in-force'
        ? [`waiver ${one.waiver.name} covers only some of its flaws; ${fewOf(open)} stays open`]
        : [one.says];
    });
    return { by, until: by.length === 0 ? null : Math.min(...by.map(({ until }) => until)), others };
  };
}

const NOT_COVERED: WaiverCover = { by: [], until: null, others: [] };

export interface WaiverNotice {
  readonly waiver: string;
  readonly kind: 'ends-in-14-days' | 'ends-tomorrow' | 'ended' | 'ended-still-missing';
  readonly until: string;
  readonly says: string;
}

/** Notices: from fourteen days before, from one day before, on the day it ended, and for as long as what it covered is missing. */
export function waiverNotices(
  waivers: ReadonlyArray<Pick<HostWaiver, 'waiver' | 'standing' | 'until'>>,
  stillMissing: (waiver: SignedWaiver) => boolean,
  at: number,
): WaiverNotice[] {
  const [long, short] = WAIVER_LIMITS.noticeDays;
  return waivers.flatMap(({ waiver, standing, until }): WaiverNotice[] => {
    if (standing === 'refused' || standing === 'to-come' || Number.isNaN(until)) return [];
    const make = (kind: WaiverNotice['kind'], says: string): WaiverNotice[] => [
      { waiver: waiver.name, kind, until: momentOf(until), says: `waiver ${waiver.name} ${says}` },
    ];
    if (at >= until) {
      if (stillMissing(waiver))
        return make('ended-still-missing', `ended at ${momentOf(until)}, and what it covered is still missing`);
      return at < until + DAY_MS ? make('ended', `ended at ${momentOf(until)}`) : [];
    }
    if (at >= until - short * DAY_MS) return make('ends-tomorrow', `ends at ${momentOf(until)}, within a day`);
    return at >= until - long * DAY_MS ? make('ends-in-14-days', `ends at ${momentOf(until)}, within ${long} days`) : [];
  });
}
