// Who is meant: conditions on what a host is, and selectors by group, label, agent, site. Matched in `decide/targeting.ts`.
import { z } from 'zod';
import { agentId, labels, line, list, name } from './common.ts';

/** A pattern with `*` for any run of characters; matched by our own linear matcher (decide/pattern.ts). */
export const pattern = line(200);

export const HOST_FIELDS = ['product', 'arch', 'hostname', 'zone', 'kernel'] as const;

/** One thing that must be so. Exactly one of label, fact, host, component, package; exactly one of is, isNot, atLeast, atMost, exists. */
export const condition = z
  .strictObject({
    label: line(63).optional(),
    fact: line(64).optional(),
    host: z.enum(HOST_FIELDS).optional(),
    /** Version of own software on the host. */
    component: line(200).optional(),
    /** Version of an installed package. */
    package: line(200).optional(),
    is: list(pattern, 50).min(1).optional(),
    isNot: list(pattern, 50).min(1).optional(),
    atLeast: z.number().optional(),
    atMost: z.number().optional(),
    exists: z.boolean().optional(),
  })
  .superRefine(({ label, fact, host, component, package: installed, is, isNot, atLeast, atMost, exists }, context) => {
    const given = (values: readonly unknown[]) => values.filter((value) => value !== undefined).length;
    if (given([label, fact, host, component, installed]) !== 1)
      context.addIssue({ code: 'custom', message: 'needs exactly one of label, fact, host, component, package' });
    if (given([is, isNot, atLeast, atMost, exists]) !== 1)
      context.addIssue({ code: 'custom', message: 'needs exactly one of is, isNot, atLeast, atMost, exists' });
  });
export type Condition = z.infer<typeof condition>;

/** All of them must hold. */
export const conditions = list(condition, 20);

/**
 * Hosts: every key that is written must fit, values of one key are alternatives, label values may have `*`. No key at all
 * means every host.
 */
export const selector = z.strictObject({
  groups: list(name, 100).min(1).optional(),
  agents: list(agentId, 1_000).min(1).optional(),
  sites: list(name, 100).min(1).optional(),
  products: list(name, 100).min(1).optional(),
  labels: labels.optional(),
});
export type Selector = z.infer<typeof selector>;
