// Sites: what a site's own key may do (delegation, signed by policy) and what it does (overlay, signed by the site).
// An overlay has no field that could let more happen than the policy does; bounds are checked in `decide/overlay.ts`.
import { z } from 'zod';
import { authored, document, labels, line, list, moment, name, publicKeyHex, sha256 } from './common.ts';
import { pattern } from './targeting.ts';
import { blackout, maintenanceWindow } from './window.ts';

/** `halt`: relays of the site may stop its hosts by themselves (decide/site-halt.ts); the others are for overlays. */
export const SITE_POWERS = ['narrow-window', 'reject', 'delay', 'smaller-ring', 'hooks', 'halt'] as const;

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
  may: list(z.enum(SITE_POWERS), 6),
  /** Days an approval may be put off at most; never past the deadline of a patch, never for an emergency. */
  maxDelayDays: z.int().min(0).max(360),
  /** The least share of the hosts the site must leave to a ring, percent. */
  minRingPercent: z.number().min(0).max(100),
  /** What a site may choose its hooks from. */
  hooks: list(hook, 50),
  /** Hours after which a halt of the site ends by itself on a host; without, only the publisher ends it. */
  maxHaltHours: z.int().min(1).max(8_760).optional(),
};

/** What a relay of the site signs with, and what results of the site's hosts are sealed to so that it can count failures. */
const siteRelay = z.strictObject({ signKey: publicKeyHex, boxKey: publicKeyHex });

/** A halt of the site that counts no more; failures before this moment do not bring it back. */
const liftedHalt = z.strictObject({ halt: sha256, name, at: moment });

/** The line that `patchferry-relay courier key` prints. */
const card = z.string().regex(/^patchferry-site:[a-z0-9.-]{1,63}:[0-9a-f]{64}:[0-9a-f]{64}$/, {
  error: 'must be the card of a relay: patchferry-site:NAME:KEY:KEY',
});

const common = {
  maxDelayDays: delegationFields.maxDelayDays.default(0),
  minRingPercent: delegationFields.minRingPercent.default(0),
  hooks: delegationFields.hooks.default([]),
};

export const siteDelegation = authored(
  'SiteDelegation',
  z
    .strictObject({
      ...delegationFields,
      ...common,
      /** Of the site, for its overlays; a site that may only halt has none. */
      keys: list(publicKeyHex, 10).default([]),
      /** Cards of the relays of the site that may halt it. */
      relays: list(card, 8).default([]),
      /** Halts of the site that count no more; `publisher site lift` writes these. */
      lifted: list(liftedHalt, 1_000).default([]),
      until: moment,
    })
    .superRefine(({ site, may, keys, relays }, context) => {
      if (keys.length === 0 && (relays.length === 0 || may.some((power) => power !== 'halt')))
        context.addIssue({ code: 'custom', path: ['keys'], message: 'name a key of the site: only halt goes without one' });
      for (const [index, each] of relays.entries())
        if (each.split(':')[1] !== site)
          context.addIssue({ code: 'custom', path: ['relays', index], message: `is the card of another site than ${site}` });
      if (may.includes('halt') !== relays.length > 0)
        context.addIssue({ code: 'custom', path: ['relays'], message: 'go with halt in may, and halt with them' });
    }),
);
export type SiteDelegation = z.infer<typeof siteDelegation>;

export const signedDelegation = document('site-delegation', 1, {
  ...delegationFields,
  signedAt: moment,
  keys: list(publicKeyHex, 10),
  relays: list(siteRelay, 8).optional(),
  lifted: list(liftedHalt, 1_000).optional(),
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
