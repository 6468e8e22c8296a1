// Approving hosts that wait: by hand, all with a valid code, or those whose code was made to approve by itself.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { name as nameSchema, suggestion } from '#manifests/schema';
import { agentIdOf, checkBoxKey, checkSigningKey } from '#manifests/trust';
import type { PublisherHome } from '../home.ts';
import { type PendingEnrolment, readPending } from '../results/index.ts';
import {
  type Activation,
  approveAgent,
  countUses,
  findAgentId,
  readActivations,
  readRoster,
  writeRoster,
} from '../roster/index.ts';
import { policyOf } from './policy.ts';

const fault = defineFaults('agent-roster', {
  'unknown-group': { exit: EXIT.usage, next: 'Groups are written in the policy folder; see `publisher policy check`.' },
  'no-group': { exit: EXIT.usage, next: 'Say which group: --group NAME.' },
  site: { exit: EXIT.usage, next: 'Take lower-case letters, digits and dashes, as the delegation of the site does.' },
  unproven: {
    exit: EXIT.refused,
    next: 'Ask the owner of the host whether it is theirs; --unproven approves it on your word, without a valid activation code.',
  },
});

export interface ApproveRequest {
  /** All with a valid code; those of them whose code approves by itself; or one, by the first digits of its id. */
  readonly which: 'valid' | 'preapproved' | { readonly start: string };
  readonly group?: string | undefined;
  readonly title?: string | undefined;
  readonly site?: string | undefined;
  /** Also without a valid code; of one that is named. */
  readonly unproven?: boolean | undefined;
}

export interface Approvals {
  readonly approved: ReadonlyArray<{ readonly agent: string; readonly title: string; readonly group: string }>;
  readonly skipped: ReadonlyArray<{ readonly agent: string; readonly title: string; readonly says: string }>;
}

/** Takes waiting hosts into the roster. The caller holds the home's lock. @throws agent-roster.*, roster.* */
export function approveWaiting(home: PublisherHome, now: number, request: ApproveRequest): Approvals {
  const { which } = request;
  let roster = readRoster(home.rosterFile);
  const pending = readPending(home.pendingFolder);
  const codes = new Map(readActivations(home.activationsFile).map((entry) => [entry.id, entry]));
  const used = new Map<string, number>();
  const hasUses = ({ activationId }: PendingEnrolment) => {
    const code = codes.get(activationId);
    return code !== undefined && code.uses + (used.get(code.id) ?? 0) < code.maxUses;
  };
  const approved: { agent: string; title: string; group: string }[] = [];
  const skipped: { agent: string; title: string; says: string }[] = [];
  const take = (one: PendingEnrolment) => {
    const code = codes.get(one.activationId);
    const group = request.group ?? code?.group;
    if (group === undefined)
      throw fault('no-group', `the code of ${one.title} is not known here, so its group is not either`, { where: one.agent });
    checkGroup(home, group);
    checkSigningKey(one.signKey);
    checkBoxKey(one.boxKey);
    if (agentIdOf(one.signKey) !== one.agent)
      throw fault('unproven', `${one.agent} is not the id of its key`, { where: one.agent });
    const title = request.title ?? one.title;
    const site = request.site ?? code?.site;
    const entry = {
      id: one.agent,
      title,
      group,
      labels: code?.labels ?? {},
      ...(site === undefined ? {} : { site }),
      signKey: one.signKey,
      boxKey: one.boxKey,
    };
    roster = approveAgent(roster, entry, now);
    if (code !== undefined && one.activation === 'valid') used.set(code.id, (used.get(code.id) ?? 0) + 1);
    approved.push({ agent: one.agent, title, group });
  };
  if (typeof which === 'string') {
    for (const one of pending.values()) {
      const says =
        whyNot(one, codes, hasUses(one)) ??
        (which === 'preapproved' && codes.get(one.activationId)?.preapproved !== true
          ? 'a person approves it: publisher agent approve'
          : undefined);
      if (says === undefined) take(one);
      else skipped.push({ agent: one.agent, title: one.title, says });
    }
  } else {
    const one = pending.get(findAgentId(pending.keys(), which.start, 'that wait'));
    if (one !== undefined) {
      const says = request.unproven === true ? undefined : whyNot(one, codes, hasUses(one));
      if (says !== undefined) throw fault('unproven', `${one.title} (${one.agent}): ${says}`, { where: one.agent });
      take(one);
    }
  }
  if (approved.length > 0) {
    // The roster first: killed after it, the next approval of the same hosts changes nothing.
    writeRoster(home.rosterFile, roster, now);
    countUses(home.activationsFile, used);
    for (const { agent } of approved) fs.rmSync(join(home.pendingFolder, `${agent}.json`), { force: true });
  }
  return { approved, skipped };
}

/** Why an enrolment is not approved on its code alone; undefined when it may be. */
function whyNot(one: PendingEnrolment, codes: ReadonlyMap<string, Activation>, hasUses: boolean): string | undefined {
  if (one.activation === 'invalid') return 'it does not know the secret of its activation code';
  if (one.activation === 'expired') return 'its activation code had ended';
  if (one.activation === 'unknown' || !codes.has(one.activationId)) return 'its activation code is not one of ours';
  return hasUses ? undefined : 'its activation code has no use left';
}

/** A name of a site as `--site` gives it. @throws agent-roster.site */
export function siteOption(given: string | undefined): string | undefined {
  if (given !== undefined && !nameSchema.safeParse(given).success)
    throw fault('site', `"${given}" is no name of a site`, { where: '--site' });
  return given;
}

/** @throws agent-roster.unknown-group */
export function checkGroup(home: PublisherHome, group: string): void {
  const known = [...policyOf(home).groups.keys()];
  if (!known.includes(group)) {
    throw fault('unknown-group', `there is no group "${group}" in the policy${suggestion(group, known)}`, { where: group });
  }
}
