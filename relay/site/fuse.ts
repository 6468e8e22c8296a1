// The fuse of a rollout: failures among the results of this site's hosts, counted from verified results that are sealed to this
// relay too. What it counted is kept on disk; when it trips, the site is halted. It can stop, and never release.
import { z } from 'zod';
import { type FuseReport, type FuseState, fuseState } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import type { Log } from '#manifests/platform/log';
import { decodePlain, type Group, type RunBody, type SignedDelegation, type SiteHalt } from '#manifests/schema';
import { type BoxKeyPair, inspectEnvelope, openEnvelope } from '#manifests/trust';
import type { KeptHalt } from '../records/index.ts';
import { SITE_LIMITS } from './limits.ts';

const report = z.strictObject({
  agent: z.string(),
  sequence: z.int(),
  group: z.string(),
  /** When the run ended by the host, and not later than it came. */
  at: z.string(),
  ok: z.boolean(),
});
type CountedReport = z.infer<typeof report>;

const fuseFile = z.strictObject({
  schema: z.literal('patchferry/relay-fuse'),
  schemaVersion: z.literal(1),
  reports: z.array(report),
});

/** What is counted so far, as last written; a torn file counts as none: its results come again while no ack has covered them. */
function readFuseReports(file: string): readonly CountedReport[] {
  try {
    const bytes = readFileBounded(file, SITE_LIMITS.fuseFileBytes);
    return bytes === undefined ? [] : fuseFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).reports;
  } catch {
    return [];
  }
}

export interface FuseDocuments {
  groups(): readonly Group[];
  roster(): ReadonlyMap<string, { readonly group: string; readonly site?: string | undefined }> | undefined;
  delegation(site: string): SignedDelegation | undefined;
}

/** One fuse: of a group, or of all groups of the site that share a rollout. */
export interface FuseFacts {
  /** Name of the halt that it signs. */
  readonly name: string;
  readonly rollout: string;
  readonly groups: readonly string[];
  readonly withinHours: number;
  readonly limit: string;
  readonly state: FuseState;
  /** Hosts that failed. */
  readonly failed: readonly string[];
}

/**
 * Every fuse of the signed groups with what was counted for it. Failures before the publisher lifted one of its halts count no
 * more. Pure. @param at milliseconds
 */
export function fusesOf(
  groups: readonly Group[],
  reports: readonly CountedReport[],
  liftedAt: (name: string) => number,
  at: number,
): FuseFacts[] {
  const found = new Map<string, FuseFacts>();
  for (const group of groups) {
    const fuse = group.rollout?.fuse;
    if (fuse === undefined || fuse === null || group.rollout === undefined) continue;
    const rollout = group.rollout.name;
    const name = nameOf(fuse.scope === 'group' ? group.name : rollout);
    if (found.has(name)) continue;
    const own = fuse.scope === 'group' ? [group] : groups.filter((each) => each.rollout?.name === rollout);
    const names = own.map((each) => each.name).toSorted();
    const since = liftedAt(name);
    const counted = reports
      .filter((each) => names.includes(each.group) && Date.parse(each.at) > since)
      .map(({ agent, at: when, ok }): FuseReport => ({ agent, at: Date.parse(when), ok }));
    const last = new Map(counted.toSorted((a, b) => a.at - b.at).map((each) => [each.agent, each.ok]));
    const allowed = 'hosts' in fuse.maxFailures ? `${fuse.maxFailures.hosts}` : `${fuse.maxFailures.percent} %`;
    found.set(name, {
      name,
      rollout,
      groups: names,
      withinHours: fuse.withinHours,
      limit: `${allowed} of at least ${fuse.minReports}`,
      state: fuseState(fuse, counted, at),
      failed: [...last].flatMap(([agent, ok]) => (ok ? [] : [agent])).toSorted(),
    });
  }
  return [...found.values()];
}

/** A name for the halt, of the form that names have. */
const nameOf = (of: string) => `fuse-${of.slice(0, 55).replace(/[.-]+$/, '')}`;

interface FuseView {
  /** Empty when this relay may halt its site; else why not. */
  readonly says: string;
  readonly fuses: readonly FuseFacts[];
}

/** The same from files, for a command. @param signKey of this relay, where it is known @param at milliseconds */
export function fuseFacts(
  documents: FuseDocuments,
  view: { file: string; site: string | undefined; signKey: string | undefined; at: number },
): FuseView {
  return factsOf(documents, readFuseReports(view.file), view);
}

function factsOf(
  documents: FuseDocuments,
  reports: readonly CountedReport[],
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
  readonly site: string | undefined;
  /** This relay's box key, to read results that are sealed to it; and its signing key as policy knows it. */
  readonly box: BoxKeyPair | undefined;
  readonly signKey: string;
  readonly documents: FuseDocuments;
  readonly inForce: (site: string) => readonly KeptHalt[];
  readonly halt: (halt: SiteHalt) => string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface FuseBox {
  /** Counts a result that was taken in, once, however often it comes; durable when it returns. @returns whether it counted */
  note(envelope: Uint8Array): boolean;
  /** Halts the site for every fuse that has tripped. @returns ids of the halts that were signed now */
  look(): string[];
}

const HOUR = 3_600_000;
/** The longest time a fuse can look back. */
const LONGEST_HOURS = 720;

export function openFuse(options: FuseOptions): FuseBox {
  const { documents, site, clock, log } = options;
  let reports = [...readFuseReports(options.file)];
  const keyOf = ({ agent, sequence }: Pick<CountedReport, 'agent' | 'sequence'>) => `${agent} ${sequence}`;
  const known = new Set(reports.map(keyOf));
  const facts = () => factsOf(documents, reports, { site, signKey: options.signKey, at: clock.now() });

  return {
    note(envelope) {
      const { agent, sequence, recipients } = inspectEnvelope(envelope);
      const { box } = options;
      if (box === undefined || !recipients.includes(box.publicKey) || known.has(keyOf({ agent, sequence }))) return false;
      const member = documents.roster()?.get(agent);
      if (member === undefined || member.site !== site) return false;
      let run: RunBody;
      try {
        const result = decodePlain('result', openEnvelope(envelope, { recipient: box }).body, 'a result');
        if (result.kind !== 'run' || result.agent !== agent || result.sequence !== sequence) return false;
        run = result.body;
      } catch (error) {
        if (!isFault(error)) throw error;
        log.warn({ agent, sequence, reason: error.message }, 'a result that is sealed to this relay cannot be read');
        return false;
      }
      const ok = isGood(run);
      if (ok === undefined) return false;
      const now = clock.now();
      const at = utcSeconds(Math.min(now, Date.parse(run.finished)));
      reports = [...reports, { agent, sequence, group: member.group, at, ok }]
        .filter((each) => now - Date.parse(each.at) < LONGEST_HOURS * HOUR)
        .slice(-SITE_LIMITS.fuseReports);
      const content: z.infer<typeof fuseFile> = { schema: 'patchferry/relay-fuse', schemaVersion: 1, reports };
      writeFileAtomic(options.file, `${JSON.stringify(content)}\n`, { mode: 0o640 });
      known.add(keyOf({ agent, sequence }));
      return true;
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
