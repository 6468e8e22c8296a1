// Rollouts: which share of the hosts may take a patch by when. Written by people as a Rollout; signed inside the groups that
// use it, together with what was decided at signing (rings opened, halts). Evaluated in `decide/rollout.ts`.
import { z } from 'zod';
import { patchId } from './catalog.ts';
import { authored, count, labels, line, list, moment, name } from './common.ts';

/** How large a share of a ring may take a patch so many hours after the ring opened for it. */
export const rampPoint = z.strictObject({ afterHours: z.number().min(0).max(8_760), percent: z.number().min(0).max(100) });

/** Never falls, in neither direction: a host that was chosen stays chosen. */
const ramp = list(rampPoint, 100)
  .min(1)
  .superRefine((points, context) => {
    for (const [index, point] of points.entries()) {
      const before = points[index - 1];
      if (before === undefined) continue;
      if (point.afterHours <= before.afterHours)
        context.addIssue({ code: 'custom', path: [index, 'afterHours'], message: 'must be later than the point before' });
      if (point.percent < before.percent)
        context.addIssue({ code: 'custom', path: [index, 'percent'], message: 'must not be less than at the point before' });
    }
  });

/** What the ring before must have shown before this one opens; judged by the publisher when it signs, per patch. */
export const gate = z.strictObject({
  /** Of the hosts that tried. */
  minSuccessPercent: z.number().min(0).max(100).default(70),
  /** So many hosts must have it. */
  minHosts: z.int().min(1).max(1_000_000).default(1),
  /** Hours since the ring before opened for the patch. */
  soakHours: z.number().min(0).max(8_760).default(0),
});
export type Gate = z.infer<typeof gate>;

/** At most so many hosts of the ring at once: a hint that staggers starts, not a lock. */
export const maxConcurrency = z.union(
  [z.strictObject({ hosts: z.int().min(1).max(1_000_000) }), z.strictObject({ percent: z.number().min(0.1).max(100) })],
  {
    error: 'needs exactly one of hosts or percent',
  },
);

/** A relay's fuse between two signings: it stops offering after so many failures among at least so many reports. */
export const fuse = z.strictObject({
  withinHours: z.int().min(1).max(720),
  minReports: z.int().min(1).max(1_000_000),
  maxFailures: z.union(
    [z.strictObject({ hosts: z.int().min(0).max(1_000_000) }), z.strictObject({ percent: z.number().min(0).max(100) })],
    {
      error: 'needs exactly one of hosts or percent',
    },
  ),
  scope: z.enum(['group', 'site']),
});
export type Fuse = z.infer<typeof fuse>;

const ringFields = {
  name,
  /** Hosts of these groups and with all these labels; empty means any. A host is in the first ring that takes it. */
  groups: list(name, 100),
  labels,
  /** Hours after the approval of a patch at which the ring opens at the earliest. */
  afterHours: z.number().min(0).max(8_760),
  /** Between two points the share grows evenly, or (stepped) stays as it is until the next. */
  stepped: z.boolean(),
};

export const rollout = authored(
  'Rollout',
  z
    .strictObject({
      /** What hosts are shuffled by. The same id gives the same order for ever; the name of the rollout unless told. */
      id: line(100).optional(),
      /** `same`: the same hosts are early each time. `by-patch`: each patch has its own order. */
      canaries: z.enum(['same', 'by-patch']).default('same'),
      rings: list(
        z.strictObject({
          ...ringFields,
          groups: ringFields.groups.default([]),
          labels: ringFields.labels.default({}),
          afterHours: ringFields.afterHours.default(0),
          stepped: ringFields.stepped.default(false),
          ramp: ramp.default([{ afterHours: 0, percent: 100 }]),
          gate: gate.optional(),
          maxConcurrency: maxConcurrency.optional(),
        }),
        20,
      ).min(1),
      fuse: fuse.optional(),
      /** Patches (or `*`) that go to no further host until the line is taken out again. */
      halt: list(z.strictObject({ patch: z.union([patchId, z.literal('*')]), reason: line(500) }), 100).default([]),
    })
    .superRefine(({ rings }, context) => {
      if (rings[0]?.gate !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['rings', 0, 'gate'],
          message: 'the first ring has none before it to wait for',
        });
      const names = rings.map((ring) => ring.name);
      for (const [index, ring] of names.entries())
        if (names.indexOf(ring) !== index)
          context.addIssue({ code: 'custom', path: ['rings', index, 'name'], message: `there is already a ring "${ring}"` });
    }),
);
export type Rollout = z.infer<typeof rollout>;

export const signedRing = z.strictObject({
  ...ringFields,
  ramp,
  gate: gate.nullable(),
  maxConcurrency: maxConcurrency.nullable(),
  /** Hosts in it when it was signed; null when nobody counted. */
  hosts: count.nullable(),
});
export type SignedRing = z.infer<typeof signedRing>;

export const signedRollout = z.strictObject({
  name,
  id: line(100),
  canaries: z.enum(['same', 'by-patch']),
  rings: list(signedRing, 20).min(1),
  /** Rings with a gate are closed for a patch until they are named here; `at` may be to come. Never taken back but by a halt. */
  opened: list(z.strictObject({ ring: name, patch: patchId, at: moment }), 200_000),
  halted: list(z.strictObject({ patch: z.union([patchId, z.literal('*')]), at: moment, reason: line(500) }), 10_000),
  fuse: fuse.nullable(),
});
export type SignedRollout = z.infer<typeof signedRollout>;
