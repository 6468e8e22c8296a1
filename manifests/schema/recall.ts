// Recalls (never install, warn, replace, roll back) and halts (stop). Small, and valid even after everything else has expired.
import { z } from 'zod';
import { patchId } from './catalog.ts';
import { authored, document, line, list, moment, name } from './common.ts';
import { pattern, selector } from './targeting.ts';
import { PURPOSES } from './window.ts';

/** `never-install` and `warn` may be signed by the halts role; `replace` and `rollback` change hosts and need the policy role. */
export const RECALL_ACTIONS = ['never-install', 'warn', 'replace', 'rollback'] as const;

const recallFields = {
  patches: list(patchId, 1_000).min(1),
  action: z.enum(RECALL_ACTIONS),
  scope: selector,
  reason: line(500),
};
interface Replacing {
  readonly action: (typeof RECALL_ACTIONS)[number];
  readonly replaceWith?: unknown;
  readonly withinDays?: unknown;
}
function checkRecall(spec: Replacing, context: z.RefinementCtx): void {
  const given = (value: unknown) => value !== undefined && value !== null;
  const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  if ((spec.action === 'replace') !== given(spec.replaceWith))
    issue(
      'replaceWith',
      spec.action === 'replace' ? 'is missing: the patch to install instead' : 'is for action replace alone',
    );
  if (spec.action !== 'rollback' && given(spec.withinDays)) issue('withinDays', 'is for action rollback alone');
}

export const recall = authored(
  'Recall',
  z
    .strictObject({
      ...recallFields,
      scope: selector.default({}),
      replaceWith: patchId.optional(),
      /** rollback: only with a way back that is not older than this. */
      withinDays: z.int().min(1).max(3_650).optional(),
    })
    .superRefine(checkRecall),
);
export type Recall = z.infer<typeof recall>;

export const signedRecall = document('recall', 1, {
  name,
  signedAt: moment,
  ...recallFields,
  replaceWith: patchId.nullable(),
  withinDays: z.int().min(1).max(3_650).nullable(),
}).superRefine(checkRecall);
export type SignedRecall = z.infer<typeof signedRecall>;

const haltFields = {
  scope: selector,
  /** Patches it is about, with `*`; empty means everything. */
  patches: list(pattern, 1_000),
  stops: list(z.enum(PURPOSES), 3).min(1),
  reason: line(500),
};

export const halt = authored(
  'Halt',
  z.strictObject({
    ...haltFields,
    scope: selector.default({}),
    patches: haltFields.patches.default([]),
    stops: haltFields.stops.default([...PURPOSES]),
    until: moment.optional(),
  }),
);
export type Halt = z.infer<typeof halt>;

/** There is nothing in it that could let anything happen: its key can stop and nothing else. */
export const signedHalt = document('halt', 1, { name, signedAt: moment, ...haltFields, until: moment.nullable() });
export type SignedHalt = z.infer<typeof signedHalt>;
