// Checks of compensating controls: a waiver that names one counts on this host only while its check passes. They are run here, as
// programs with a time-out, and their outcomes kept. Only a waiver that enough approvers have signed has its program run.
import { type ControlResult, hostWaivers, type Who } from '#manifests/decide';
import { canonicalJson, type Group, type SignedWaiver, sha256Of } from '#manifests/schema';
import type { Hands, Journal } from '../run/index.ts';

const CONTROLS = 'waiver.controls';

const LIMITS = {
  /** A check that passed is made again after this long, milliseconds; it counts for a day. */
  againMs: 6 * 3_600_000,
  /** One that failed is made again after this long. */
  failedAgainMs: 15 * 60_000,
  /** Kept of what a check printed, characters. */
  shown: 300,
} as const;

interface KeptResult extends ControlResult {
  readonly says: string;
  /** Hash of the check that was made: another check under the same name has not been made yet. */
  readonly check: string;
}

function kept({ meta }: Pick<Journal, 'meta'>): readonly KeptResult[] {
  const text = meta(CONTROLS);
  return text === undefined ? [] : (JSON.parse(text) as KeptResult[]);
}

const digestOf = ({ control }: SignedWaiver) => sha256Of(canonicalJson(control?.check ?? null));

/** Outcomes that are about the checks of these waivers, as the decision wants them. */
export function controlsOf(journal: Pick<Journal, 'meta'>, waivers: readonly SignedWaiver[]): ControlResult[] {
  const results = kept(journal);
  return waivers.flatMap((waiver) => {
    const found = results.find((one) => one.waiver === waiver.name && one.check === digestOf(waiver));
    return found === undefined ? [] : [{ waiver: found.waiver, passed: found.passed, at: found.at }];
  });
}

interface Situation {
  readonly waivers: readonly SignedWaiver[];
  readonly group: Group | null;
  readonly who: Who;
  readonly zone: string;
  /** Milliseconds of trusted time. */
  readonly at: number;
}

/** Waivers of this host, in force but for their control, whose check has to be made now. */
function due(journal: Pick<Journal, 'meta'>, { waivers, group, who, zone, at }: Situation): SignedWaiver[] {
  const results = kept(journal);
  return hostWaivers(waivers, group?.waivers, who, [], at, zone).flatMap(({ waiver, standing }) => {
    if (standing !== 'suspended' || waiver.control?.check === undefined) return [];
    const last = results.find((one) => one.waiver === waiver.name && one.check === digestOf(waiver));
    const rest = last?.passed === false ? LIMITS.failedAgainMs : LIMITS.againMs;
    return last === undefined || at < last.at || at - last.at >= rest ? [waiver] : [];
  });
}

export interface CheckedControl {
  readonly waiver: string;
  readonly passed: boolean;
  readonly says: string;
}

/** Makes the checks that are due and keeps their outcomes. @returns those that came out other than the last time */
export async function checkControls(
  journal: Pick<Journal, 'meta' | 'setMeta'>,
  hands: Pick<Hands, 'checkHealth'>,
  situation: Situation,
  signal: AbortSignal,
): Promise<CheckedControl[]> {
  const changed: CheckedControl[] = [];
  for (const waiver of due(journal, situation)) {
    const check = waiver.control?.check;
    if (check === undefined) continue;
    const { healthy, says } = await hands.checkHealth({ name: waiver.name, ...check }, signal);
    if (signal.aborted) return changed; // it was cut off, not failed
    const before = kept(journal);
    const last = before.find((one) => one.waiver === waiver.name);
    const result: KeptResult = {
      waiver: waiver.name,
      passed: healthy,
      at: situation.at,
      says: says.slice(0, LIMITS.shown),
      check: digestOf(waiver),
    };
    const names = new Set(situation.waivers.map(({ name }) => name));
    const others = before.filter((one) => one.waiver !== waiver.name && names.has(one.waiver));
    journal.setMeta(CONTROLS, JSON.stringify([...others, result]));
    if (last?.passed !== healthy) changed.push({ waiver: waiver.name, passed: healthy, says: result.says });
  }
  return changed;
}

/** When the next check of a control is due, milliseconds; null when there is none to make. */
export function nextControlAt(journal: Pick<Journal, 'meta'>, waivers: readonly SignedWaiver[]): number | null {
  const results = kept(journal).filter((one) => waivers.some((w) => w.name === one.waiver && digestOf(w) === one.check));
  const times = results.map(({ at, passed }) => at + (passed ? LIMITS.againMs : LIMITS.failedAgainMs));
  return times.length === 0 ? null : Math.min(...times);
}
