// From what people write to the documents that are signed: groups with their windows written out, waivers, recalls, halts,
// delegations, overlays. Pure; the lists of a baseline are in baseline.ts, what a rollout remembers in rollout.ts.
import type {
  Approval,
  Blackout,
  Group,
  Halt,
  MaintenanceWindow,
  PatchGroup,
  RebootLease,
  Recall,
  SignedDelegation,
  SignedHalt,
  SignedOverlay,
  SignedRecall,
  SignedRollout,
  SignedWaiver,
  SiteDelegation,
  SiteOverlay,
  Waiver,
  Window,
} from '#manifests/schema';
import { REBOOT_LEASE } from '#manifests/schema';
import { RESERVE } from './estimate.ts';
import { byText, momentOf } from './text.ts';

/** A window as it stands in a signed group, with the group's own blackout dates added. What says nothing is left out. */
export function signedWindow(
  name: string,
  { validFrom, validUntil, purposes, blackouts, catchUp, ...spec }: Window['spec'],
  more: readonly Blackout[] = [],
): MaintenanceWindow {
  const dark = [...blackouts, ...more];
  return {
    name,
    ...spec,
    ...(purposes === undefined ? {} : { purposes }),
    ...(dark.length === 0 ? {} : { blackouts: dark }),
    ...(catchUp === 'next-window' ? {} : { catchUp }),
    validFrom: validFrom ?? null,
    validUntil: validUntil ?? null,
  };
}

/** What a group's names stand for. */
export interface GroupParts {
  /** Product of each baseline. */
  readonly productOf: (baseline: string) => string | undefined;
  readonly windowOf: (window: string) => Window['spec'] | undefined;
  /** The signed rollout of the group, where it names one. */
  readonly rollout?: SignedRollout | undefined;
  readonly timings?: Group['timings'];
}

/** The signed form of a group. Names that stand for nothing are left out; the policy check has refused them before. @param at milliseconds */
export function signedGroup({ metadata, spec }: PatchGroup, parts: GroupParts, at: number): Group {
  const windows = (names: readonly string[]) =>
    names.flatMap((name) => {
      const window = parts.windowOf(name);
      return window === undefined ? [] : [signedWindow(name, window, spec.blackouts)];
    });
  const emergency = windows(spec.emergencyWindows);
  const choose = spec.choose.flatMap(({ baseline, when }) => {
    const product = parts.productOf(baseline);
    return product === undefined ? [] : [{ product, baseline, when }];
  });
  return {
    schema: 'patchferry/group',
    schemaVersion: 1,
    name: metadata.name,
    signedAt: momentOf(at),
    baselines: spec.baselines.flatMap((baseline) => {
      const product = parts.productOf(baseline);
      return product === undefined ? [] : [{ product, baseline }];
    }),
    ...(choose.length === 0 ? {} : { choose }),
    windows: windows(spec.windows),
    ...(emergency.length === 0 ? {} : { emergencyWindows: emergency }),
    ...(parts.rollout === undefined ? {} : { rollout: parts.rollout }),
    ...(spec.ownerChoice === undefined ? {} : { ownerChoice: spec.ownerChoice }),
    ...(spec.afterDeadline === 'next-window' ? {} : { afterDeadline: spec.afterDeadline }),
    ...(spec.reserve === undefined
      ? {}
      : {
          reserve: {
            floorMinutes: spec.reserve.floorMinutes ?? RESERVE.floorMinutes,
            rebootMinutes: spec.reserve.rebootMinutes ?? RESERVE.rebootMinutes,
            verifyMinutes: spec.reserve.verifyMinutes ?? RESERVE.verifyMinutes,
          },
        }),
    ...(parts.timings === undefined || parts.timings.length === 0 ? {} : { timings: parts.timings }),
    ...(spec.waivers === undefined ? {} : { waivers: spec.waivers }),
    ...(spec.hooks.length === 0 ? {} : { hooks: spec.hooks }),
    reboot: spec.reboot,
    health: spec.health,
    wayBack: spec.wayBack,
    ...(spec.rollback === 'in-place' ? {} : { rollback: spec.rollback }),
    pollMinutes: spec.pollMinutes,
    freeBytes: spec.freeMiB * 1024 * 1024,
    newDependencies: spec.newDependencies,
    removals: spec.removals,
    ...(spec.conffiles === 'keep' ? {} : { conffiles: spec.conffiles }),
    ...(spec.autoremove === 'never' ? {} : { autoremove: spec.autoremove }),
    ...(spec.otherUpdaters === 'leave' ? {} : { otherUpdaters: spec.otherUpdaters }),
    ...(spec.prechecks === undefined ? {} : { prechecks: spec.prechecks }),
    ...(spec.fixes.length === 0 ? {} : { fixes: spec.fixes }),
    ...(spec.rebootLease === undefined ? {} : { rebootLease: rebootLeaseOf(spec.rebootLease) }),
    ...(spec.rebootNotice === undefined ? {} : { rebootNotice: spec.rebootNotice }),
    ...(spec.restartServices ? { restartServices: true } : {}),
    ...(spec.clones === 'report' ? {} : { clones: spec.clones }),
  };
}

function rebootLeaseOf(given: NonNullable<PatchGroup['spec']['rebootLease']>): RebootLease {
  const { slots, minGapMinutes, ttlMinutes } = REBOOT_LEASE;
  return {
    slots: given.slots ?? slots,
    minGapMinutes: given.minGapMinutes ?? minGapMinutes,
    ttlMinutes: given.ttlMinutes ?? ttlMinutes,
    ...(given.proceedAfterHours === undefined ? {} : { proceedAfterHours: given.proceedAfterHours }),
  };
}

/** A waiver with the approvals it has so far, in the order of the approvers' names. */
export function signedWaiverOf(
  { metadata, spec: { control, ...spec } }: Waiver,
  approvals: readonly Approval[],
  requestedBy: string | null = null,
): SignedWaiver {
  return {
    schema: 'patchferry/waiver',
    schemaVersion: 1,
    name: metadata.name,
    ...spec,
    control: control ?? null,
    requestedBy,
    approvals: approvals.toSorted((a, b) => byText(a.approver, b.approver)),
  };
}

/** @param at milliseconds */
export function signedRecallOf({ metadata, spec: { replaceWith, withinDays, ...spec } }: Recall, at: number): SignedRecall {
  return {
    schema: 'patchferry/recall',
    schemaVersion: 1,
    name: metadata.name,
    signedAt: momentOf(at),
    ...spec,
    replaceWith: replaceWith ?? null,
    withinDays: withinDays ?? null,
  };
}

/** @param at milliseconds */
export function signedHaltOf({ metadata, spec: { until, ...spec } }: Halt, at: number): SignedHalt {
  return {
    schema: 'patchferry/halt',
    schemaVersion: 1,
    name: metadata.name,
    signedAt: momentOf(at),
    ...spec,
    until: until ?? null,
  };
}

/** @param at milliseconds */
export function signedDelegationOf({ spec: { relays, lifted, ...spec } }: SiteDelegation, at: number): SignedDelegation {
  const keys = relays.map((card) => card.split(':')).map(([, , signKey = '', boxKey = '']) => ({ signKey, boxKey }));
  return {
    schema: 'patchferry/site-delegation',
    schemaVersion: 1,
    signedAt: momentOf(at),
    ...spec,
    ...(keys.length === 0 ? {} : { relays: keys }),
    ...(lifted.length === 0 ? {} : { lifted }),
  };
}

/** @param at milliseconds */
export function signedOverlayOf({ metadata, spec }: SiteOverlay, at: number): SignedOverlay {
  const reason = metadata.description ?? '';
  return { schema: 'patchferry/site-overlay', schemaVersion: 1, signedAt: momentOf(at), reason, ...spec };
}
