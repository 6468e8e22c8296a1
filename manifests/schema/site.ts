// Sites: what a site's own key may do (delegation, signed by policy) and what it does (overlay, signed by the site).
// An overlay has no field that could let more happen than the policy does; bounds are checked in `decide/overlay.ts`.
import { z } from 'zod';
import { authored, document, labels, line, list, moment, name, publicKeyHex } from './common.ts';
import { pattern } from './targeting.ts';
import { blackout, maintenanceWindow } from './window.ts';

export const SITE_POWERS = ['narrow-window', 'reject', 'delay', 'smaller-ring', 'hooks'] as const;

/**
 * Where a hook may stand, in the order of a run. `before` and `after` are other words for `pre-install` and `post-install`.
 * The last one runs however the run ends.
 */
export const HOOK_POINTS = ['pre-download', 'pre-install', 'post-install', 'pre-reboot', 'post-reboot', 'on-exit'] as const;
export type HookPoint = (typeof HOOK_POINTS)[number];

/** A program that is run around a change. Exit 0 is fine; before a change anything else stops it, and 21 means: later. */
export const hook = z.strictObject({
  name,
  at: z.enum(['before', 'after', ...HOOK_POINTS]),
  command: list(line(), 100).min(1),
  timeoutSeconds: z.int().min(1).max(3_600),
});
export type Hook = z.infer<typeof hook>;

const delegationFields = {
  site: name,
  may: list(z.enum(SITE_POWERS), 5),
  /** Days an approval may be put off at most; never past the deadline of a patch, never for an emergency. */
  maxDelayDays: z.int().min(0).max(360),
  /** The least share of the hosts the site must leave to a ring, percent. */
  minRingPercent: z.number().min(0).max(100),
  /** What a site may choose its hooks from. */
  hooks: list(hook, 50),
};
const common = {
  maxDelayDays: delegationFields.maxDelayDays.default(0),
  minRingPercent: delegationFields.minRingPercent.default(0),
  hooks: delegationFields.hooks.default([]),
};

export const siteDelegation = authored(
  'SiteDelegation',
  z.strictObject({ ...delegationFields, ...common, keys: list(publicKeyHex, 10).min(1), until: moment }),
);
export type SiteDelegation = z.infer<typeof siteDelegation>;

export const signedDelegation = document('site-delegation', 1, {
  ...delegationFields,
  signedAt: moment,
  keys: list(publicKeyHex, 10).min(1),
  until: moment,
});
export type SignedDelegation = z.infer<typeof signedDelegation>;

const overlayFields = {
  site: name,
  /** Empty: every host of the site; else those with all of these labels. */
  labels,
  /** Hosts change only while a window of their group and one of these is open; empty: as the group says. */
  windows: list(maintenanceWindow, 20),
  /** Nothing is open on these days. By `blackoutZone`. */
  blackouts: list(blackout, 100),
  /** Patches, sources, packages, CVEs that are not installed here, with `*`. */
  reject: list(pattern, 200),
  delayDays: z.int().min(0).max(3_650),
  /** Of the hosts a ring would choose, so many percent. */
  ringPercent: z.number().min(0).max(100).nullable(),
  /** Names from the delegation's list. */
  hooks: list(name, 50),
};

/** Windows are written out in full here: a site's file does not know the publisher's. */
export const siteOverlay = authored(
  'SiteOverlay',
  z.strictObject({
    ...overlayFields,
    labels: labels.default({}),
    windows: overlayFields.windows.default([]),
    blackouts: overlayFields.blackouts.default([]),
    reject: overlayFields.reject.default([]),
    delayDays: overlayFields.delayDays.default(0),
    ringPercent: overlayFields.ringPercent.default(null),
    hooks: overlayFields.hooks.default([]),
  }),
);
export type SiteOverlay = z.infer<typeof siteOverlay>;

export const signedOverlay = document('site-overlay', 1, { ...overlayFields, signedAt: moment, reason: line(500) });
export type SignedOverlay = z.infer<typeof signedOverlay>;
