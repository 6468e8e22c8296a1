// The fuse of a rollout: failures among the results of this site's hosts, counted from verified results that are sealed to this
// relay too, brought here or handed on by the other relays of the site. What it counted is kept on disk; when it trips, the site is
// halted. It can stop, and never release.
import { isFault } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { decodePlain, type Group, type RunBody, type SignedDelegation, type SiteHalt } from '#manifests/schema';
import { type BoxKeyPair, envelopeHash, inspectEnvelope, openEnvelope } from '#manifests/trust';
import type { KeptHalt } from '../records/index.ts';
import { type CountedReport, compacted, type FuseFacts, fusesOf, laterOf, slotOf } from './counts.ts';
import { readFuseFile, type SiblingCursor, writeFuseFile } from './fuse-file.ts';
import { SITE_LIMITS } from './limits.ts';
import { openRunLog } from './run-log.ts';
import { encodeRuns } from './site-runs.ts';

export interface FuseDocuments {
  groups(): readonly Group[];
  roster(): ReadonlyMap<string, { readonly group: string; readonly site?: string | undefined }> | undefined;
  delegation(site: string): SignedDelegation | undefined;
}

interface FuseView {
  /** Empty when this relay may halt its site; else why not. */
  readonly says: string;
  readonly fuses: readonly FuseFacts[];
}

/** The same from files, for a command. @param signKey of this relay, where it is known @param at milliseconds */
export function fuseFacts(
  documents: FuseDocuments,
  view: { file: string; site: string | undefined; signKey: string | undefined; at: number },
): FuseView & { readonly siblings: readonly SiblingCursor[] } {
  const { reports, siblings } = readFuseFile(view.file);
  return { ...factsOf(documents, reports, view), siblings };
}

function factsOf(
  documents: FuseDocuments,
  reports: Iterable<CountedReport>,
  { site, signKey, at }: { site: string | undefined; signKey: string | undefined; at: number },
): FuseView {
  const delegation = site === undefined ? undefined : documents.delegation(site);
  const liftedAt = (name: string): number => {
    const own = (delegation?.lifted ?? []).filter((each) => each.name === name).map((each) => Date.parse(each.at));
    return Math.max(Number.NEGATIVE_INFINITY, ...own);
  };
  return { says: unarmed(site, delegation, signKey, at), fuses: fusesOf(documents.groups(), reports, liftedAt, at) };
}

/** Why a relay may not halt its site; empty when it may. @param at milliseconds */
export function unarmed(
  site: string | undefined,
  delegation: SignedDelegation | undefined,
  signKey: string | undefined,
  at: number,
): string {
  if (site === undefined) return 'this relay has no site (setting site)';
  if (delegation === undefined) return `policy delegates nothing to site ${site}`;
  if (!delegation.may.includes('halt')) return `policy does not let site ${site} halt`;
  if (at >= Date.parse(delegation.until)) return `the delegation of ${site} has ended`;
  if (signKey !== undefined && !(delegation.relays ?? []).some((relay) => relay.signKey === signKey))
    return `the card of this relay is not in the delegation of ${site}`;
  return '';
}

interface FuseOptions {
  readonly file: string;
  /** Where envelopes are kept for the other relays of the site. */
  readonly kept: string;
  readonly site: string | undefined;
  /** This relay's box key, to read results that are sealed to it; and its signing key as policy knows it. */
  readonly box: BoxKeyPair | undefined;
  readonly signKey: string;
  readonly documents: FuseDocuments;
  /** Names of the other relays of the site; what is known of others is forgotten. */
  readonly siblings: readonly string[];
  readonly inForce: (site: string) => readonly KeptHalt[];
  readonly halt: (halt: SiteHalt) => string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface FuseBox {
  /** Counts a result that was taken in, once, however often it comes; durable when it returns. @returns whether it counted */
  note(envelope: Uint8Array): boolean;
  /**
   * Counts results that another relay handed on and that were checked as the inbox checks them, and keeps how far it was read, in
   * one write. @returns whether any counted
   */
  take(envelopes: readonly Uint8Array[], cursor: SiblingCursor): boolean;
  /** Whether exactly this envelope was counted before. */
  knows(envelope: Uint8Array): boolean;
  /** How far another relay was read. */
  cursor(sibling: string): SiblingCursor | undefined;
  /** What is handed on: behind a number of this log, or from its beginning when another log is named. */
  page(log: string, after: number): Uint8Array | undefined;
  readonly log: string;
  /** Whether this relay may halt, and there is something to count for. */
  armed(): boolean;
  /** Halts the site for every fuse that has tripped. @returns ids of the halts that were signed now */
  look(): string[];
}

const HOUR = 3_600_000;
/** The longest time a fuse can look back. */
const LONGEST_HOURS = 720;

export function openFuse(options: FuseOptions): FuseBox {
  const { documents, site, clock, log } = options;
  const before = readFuseFile(options.file);
  const { id } = before.log;
  let { next } = before.log;
  let slots = compacted(before.reports);
  const siblings = new Map(
    before.siblings.flatMap((cursor) => (options.siblings.includes(cursor.sibling) ? [[cursor.sibling, cursor] as const] : [])),
  );
  const shared = openRunLog(options.kept, new Set(before.reports.flatMap(({ number }) => number ?? [])));
  const facts = () => factsOf(documents, slots.values(), { site, signKey: options.signKey, at: clock.now() });
  const hashOf = (envelope: Uint8Array) => envelopeHash(envelope).slice(0, 16);

  /** How the run ended that is told of; undefined when it is none of this site's, or nothing was tried. */
  function reportOf(envelope: Uint8Array, from: CountedReport['from']): CountedReport | undefined {
    const { agent, sequence, recipients } = inspectEnvelope(envelope);
    const { box } = options;
    const member = documents.roster()?.get(agent);
    if (box === undefined || !recipients.includes(box.publicKey) || member === undefined || member.site !== site)
      return undefined;
    const slot = { from, agent, group: member.group };
    const known = slots.get(slotOf(slot));
    const hash = hashOf(envelope);
    if (known !== undefined && (known.sequence > sequence || known.hash === hash)) return undefined;
    let run: RunBody;
    try {
      const result = decodePlain('result', openEnvelope(envelope, { recipient: box }).body, 'a result');
      if (result.kind !== 'run' || result.agent !== agent || result.sequence !== sequence) return undefined;
      run = result.body;
    } catch (error) {
      if (!isFault(error)) throw error;
      log.warn({ agent, sequence, reason: error.message }, 'a result that is sealed to this relay cannot be read');
      return undefined;
    }
    const ok = isGood(run);
    const at = utcSeconds(Math.min(clock.now(), Date.parse(run.finished)));
    const report = ok === undefined ? undefined : { ...slot, sequence, at, ok, hash, number: null };
    return report === undefined || (known !== undefined && laterOf(known, report) === known) ? undefined : report;
  }

  /** Keeps an envelope for the others; a host's run before it is of no use to them any more. */
  function share(report: CountedReport, envelope: Uint8Array): CountedReport {
    const number = next;
    next += 1;
    const { agent, sequence } = report;
    try {
      const says = shared.put(number, envelope);
      if (says === undefined) return { ...report, number };
      log.warn({ agent, sequence, reason: says }, 'a run is not handed on to the other relays of the site');
    } catch (error) {
      if (!isFault(error)) throw error;
      log.warn({ agent, sequence, reason: error.message }, 'a run cannot be kept for the other relays of the site');
    }
    return report;
  }

  /** Writes what is new, and only then forgets what it replaces. */
  function keep(news: readonly CountedReport[]): void {
    const now = clock.now();
    const all = [...slots.values(), ...news].filter((each) => now - Date.parse(each.at) < LONGEST_HOURS * HOUR);
    const after = [...compacted(all).values()].toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
    const reports = after.slice(-SITE_LIMITS.fuseReports);
    writeFuseFile(options.file, { log: { id, next }, reports, siblings: [...siblings.values()] });
    const gone = [...slots.values(), ...news].flatMap(({ number }) => number ?? []);
    slots = compacted(reports);
    const still = new Set(reports.map(({ number }) => number));
    for (const number of gone) if (!still.has(number)) shared.drop(number);
  }

  if (siblings.size < before.siblings.length) {
    try {
      keep([]);
    } catch (error) {
      if (!isFault(error)) throw error;
      log.error({ reason: error.message }, 'what the fuse has counted cannot be written');
    }
  }

  return {
    log: id,
    note(envelope) {
      const report = reportOf(envelope, 'here');
      if (report === undefined) return false;
      keep([share(report, envelope)]);
      return true;
    },
    take(envelopes, cursor) {
      const news = envelopes.flatMap((envelope) => reportOf(envelope, 'sibling') ?? []);
      const known = siblings.get(cursor.sibling);
      if (news.length === 0 && known !== undefined && JSON.stringify(known) === JSON.stringify(cursor)) return false;
      siblings.set(cursor.sibling, cursor);
      keep(news);
      return news.length > 0;
    },
    knows(envelope) {
      const { agent } = inspectEnvelope(envelope);
      const group = documents.roster()?.get(agent)?.group ?? '';
      const hash = hashOf(envelope);
      return (['here', 'sibling'] as const).some((from) => slots.get(slotOf({ from, agent, group }))?.hash === hash);
    },
    cursor: (sibling) => siblings.get(sibling),
    page(of, after) {
      if (site === undefined) return undefined;
      return encodeRuns({ site, log: id, ...shared.after(of === id ? after : 0) });
    },
    armed() {
      const { fuses, says } = facts();
      return site !== undefined && says === '' && fuses.length > 0;
    },
    look() {
      const { fuses, says } = facts();
      if (site === undefined || says !== '') return [];
      return fuses.flatMap(({ name, rollout, groups, state, failed }) => {
        if (!state.tripped || options.inForce(site).some(({ halt }) => halt.name === name)) return [];
        const halt: SiteHalt = {
          schema: 'patchferry/site-halt',
          schemaVersion: 1,
          site,
          name,
          signedAt: utcSeconds(clock.now()),
          groups: groups.slice(0, 100),
          stops: ['download', 'install'],
          reason: state.says,
          until: null,
          fuse: { rollout, reports: state.reports, failures: state.failures, failed: failed.slice(0, 1_000) },
        };
        return [options.halt(halt)];
      });
    },
  };
}

/** Whether a run counts for or against its patches; undefined when nothing was tried. */
function isGood({ outcome, failedPatches = [] }: RunBody): boolean | undefined {
  if (outcome === 'refused') return undefined;
  return outcome === 'committed' && failedPatches.length === 0;
}
