// What a person has to know although nothing has failed: waivers that end, halts, recalls that warn, what a site's overlay was
// refused, expiry and clocks. Told once a day as an alert, logged, and kept for `status`.
import { type Evaluation, freshnessDecision } from '#manifests/decide';
import type { TrustClient } from '#manifests/trust';
import { tellAlert } from '../outbox/index.ts';
import type { Journal, ResultStamp } from '../run/index.ts';
import type { CheckedControl } from './controls.ts';

export interface Notice {
  readonly code: string;
  /** What it is about: a waiver, a halt, a site. Two of one code about different things are told apart by it. */
  readonly about: string;
  readonly says: string;
}

/** Everything that is to be told of this decision. */
export function noticesOf(
  evaluation: Evaluation,
  freshness: ReturnType<TrustClient['freshness']>,
  controls: readonly CheckedControl[],
): Notice[] {
  const fresh = freshnessDecision(freshness, freshness.trustedTime);
  return [
    ...fresh.alerts.map((code, index) => ({ code, about: 'this host', says: fresh.says[index] ?? code })),
    ...evaluation.halts.map(({ name, stops, says }) => ({
      code: 'policy.halt',
      about: name,
      says: `${says} (it stops ${stops.join(', ')})`,
    })),
    ...evaluation.warnings.map((says) => ({ code: 'policy.recall', about: says.split(' ')[0] ?? '', says })),
    ...evaluation.notices.map(({ waiver, kind, says }) => ({ code: `waiver.${kind}`, about: waiver, says })),
    ...controls.map(({ waiver, passed, says }) => ({
      code: passed ? 'waiver.control-passes' : 'waiver.control-fails',
      about: waiver,
      says: `the check of the control of waiver ${waiver} ${passed ? 'passes' : 'fails, so that it does not count'}: ${says}`,
    })),
    ...evaluation.site.refused.map(({ bound, says }) => ({
      code: `site.${bound}`,
      about: bound,
      says: `${says}: this part of the overlay does not count`,
    })),
  ];
}

/** Tells them as alerts; what was told in the last day is not told again. @returns those that were told now */
export function tellNotices(journal: Journal, notices: readonly Notice[], stamp: ResultStamp, now: number): Notice[] {
  return notices.filter(({ code, about, says }) =>
    tellAlert(journal, { code, message: says, where: about === '' ? null : about, about }, stamp, now),
  );
}
