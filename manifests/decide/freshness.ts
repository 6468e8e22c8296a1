// What a host may do given how fresh its documents are and what its clock says. Nothing here ever leads to enrolment or to state
// being given up: a wrong clock is reported and waited out (trap 14).
import { momentOf } from './text.ts';

export interface FreshnessInput {
  readonly softExpired: boolean;
  readonly hardExpired: boolean;
  readonly clock?: 'ok' | 'behind' | 'suspect';
  /** Since when it is expired, if it is. */
  readonly since?: string | undefined;
}

export const ALERTS = { behind: 'CLOCK_BEHIND', suspect: 'CLOCK_SUSPECT', soft: 'SOFT_EXPIRED', hard: 'HARD_EXPIRED' } as const;
export type FreshnessAlert = (typeof ALERTS)[keyof typeof ALERTS];

/** There is no act that enrols, forgets or resets: whatever the clock says, these are the choices. */
export interface FreshnessDecision {
  readonly scan: true;
  readonly report: true;
  readonly applyRecalls: true;
  readonly rollBack: true;
  /** New patches may be installed. */
  readonly install: boolean;
  readonly alerts: readonly FreshnessAlert[];
  readonly says: readonly string[];
}

/**
 * After the soft expiry a host warns and goes on; after the hard one it installs nothing new and does everything else (trap 9). A
 * clock behind what signatures prove is no reason to stop: trusted time has moved on. One implausibly far ahead makes documents
 * look expired at worst, which stops installations by itself. @param at milliseconds of trusted time
 */
export function freshnessDecision(
  { softExpired, hardExpired, clock = 'ok', since }: FreshnessInput,
  at: number,
): FreshnessDecision {
  const alerts: FreshnessAlert[] = [];
  const says: string[] = [];
  const tell = (alert: FreshnessAlert, text: string) => {
    alerts.push(alert);
    says.push(text);
  };
  const from = since === undefined ? '' : ` since ${since}`;
  if (hardExpired)
    tell(ALERTS.hard, `the signed documents have expired${from}: nothing new is installed until the publisher signs anew`);
  else if (softExpired) tell(ALERTS.soft, `the signed documents are older than they should be${from}`);
  if (clock === 'behind')
    tell(ALERTS.behind, `the clock of this host is behind what signatures prove; ${momentOf(at)} is reckoned with`);
  if (clock === 'suspect')
    tell(ALERTS.suspect, 'the clock of this host is further ahead of the last signature than is plausible');
  return { scan: true, report: true, applyRecalls: true, rollBack: true, install: !hardExpired, alerts, says };
}
