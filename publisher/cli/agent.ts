// `agent list · invite · approve · revoke`: the roster and the codes by which hosts ask to be in it.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { suggestion } from '#manifests/schema';
import { agentIdOf, checkBoxKey, checkSigningKey } from '#manifests/trust';
import type { PublisherHome } from '../home.ts';
import { type PendingEnrolment, readPending } from '../results/index.ts';
import {
  type Activation,
  approveAgent,
  countUses,
  findAgentId,
  invite,
  readActivations,
  readRoster,
  revokeAgent,
  writeRoster,
} from '../roster/index.ts';
import { argument, counted, flag, homeOf, labelsOf, listOption, type Tools, table, textOption, withLock } from './common.ts';
import { policyOf } from './policy.ts';

const fault = defineFaults('agent-roster', {
  'unknown-group': { exit: EXIT.usage, next: 'Groups are written in the policy folder; see `publisher policy check`.' },
  'no-group': { exit: EXIT.usage, next: 'Say which group: --group NAME.' },
  number: { exit: EXIT.usage, next: 'Give a whole number of at least 1.' },
  nobody: { exit: EXIT.usage, next: 'Give the id of an agent, or --all-valid.' },
  unproven: {
    exit: EXIT.refused,
    next: 'Ask the owner of the host whether it is theirs; --unproven approves it on your word, without a valid activation code.',
  },
});

export function agentCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'agent list',
      summary: 'List the agents of the fleet and the hosts that wait for approval',
      options: [{ flags: '--pending', says: 'only those that wait' }],
      examples: [{ line: 'publisher agent list', says: 'Approved, revoked and waiting ones.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const roster = readRoster(home.rosterFile);
        const waiting = [...readPending(home.pendingFolder).values()].filter(
          ({ agent }) => !roster.agents.some(({ id }) => id === agent),
        );
        const agents = flag(context, 'pending') ? [] : roster.agents;
        const rows = [
          ...agents.map((one) => [one.id, one.title, one.group, one.status, one.since]),
          ...waiting.map((one) => [one.agent, one.title, '-', `waiting, code ${one.activation}`, one.receivedAt]),
        ];
        return {
          exit: EXIT.done,
          text:
            rows.length === 0
              ? 'no agents; `publisher agent invite` makes an activation code'
              : table(['AGENT', 'TITLE', 'GROUP', 'STATUS', 'SINCE'], rows),
          report: { schema: 'patchferry/agents', schemaVersion: 1, agents, pending: waiting },
        };
      },
    },
    {
      name: 'agent invite',
      summary: 'Make an activation code for one host or several; it is shown once',
      options: [
        { flags: '--group <name>', says: 'group the hosts get when they are approved', required: true },
        { flags: '--title <text>', says: 'what it is for, in your words', fallback: '' },
        { flags: '--label <key=value>', says: 'label the hosts get (several times)', many: true },
        { flags: '--days <number>', says: 'how long it holds; inviteDays of the settings unless told' },
        { flags: '--uses <number>', says: 'how many hosts may be approved with it', fallback: '1' },
      ],
      examples: [
        {
          line: 'publisher agent invite --group careful-servers --title "mail servers" --uses 4',
          says: 'For four hosts; type it at `agent enroll`.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const group = textOption(context, 'group') ?? '';
        checkGroup(home, group);
        const labels = labelsOf(listOption(context, 'label'));
        const days = textOption(context, 'days');
        return withLock(home, 'agent invite', () => {
          const { code, entry } = invite(home.activationsFile, {
            group,
            title: textOption(context, 'title') ?? '',
            labels,
            days: days === undefined ? home.settings.inviteDays : numberOf(days, '--days'),
            maxUses: numberOf(textOption(context, 'uses') ?? '1', '--uses'),
            now: tools.clock.now(),
          });
          return {
            exit: EXIT.done,
            text: [
              code,
              `for ${counted(entry.maxUses, 'host')} of group ${group}, until ${entry.expires}; this code is not shown again.`,
              'On the host: agent enroll, with this code and root.json.',
            ].join('\n'),
            report: {
              schema: 'patchferry/invitation',
              schemaVersion: 1,
              code,
              activationId: entry.id,
              group,
              labels,
              expires: entry.expires,
              uses: entry.maxUses,
            },
          };
        });
      },
    },
    {
      name: 'agent approve',
      summary: 'Take waiting hosts into the roster; the next publish tells them',
      args: [{ name: '[id]', says: 'id of the agent, or its first digits' }],
      options: [
        { flags: '--all-valid', says: 'every host that waits with a valid activation code' },
        { flags: '--group <name>', says: 'group instead of the one of the activation code' },
        { flags: '--title <text>', says: 'title instead of the name of the host' },
        { flags: '--unproven', says: 'also without a valid activation code, on your own word' },
      ],
      examples: [
        { line: 'publisher agent approve --all-valid && publisher publish', says: 'All with a valid code.' },
        {
          line: 'publisher agent approve 3f9a --group careful-servers --unproven',
          says: 'One whose code had ended, after asking its owner.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        return withLock(home, 'agent approve', () => {
          let roster = readRoster(home.rosterFile);
          const pending = readPending(home.pendingFolder);
          const codes = new Map(readActivations(home.activationsFile).map((entry) => [entry.id, entry]));
          const used = new Map<string, number>();
          const hasUses = (one: PendingEnrolment) => {
            const code = codes.get(one.activationId);
            return code !== undefined && code.uses + (used.get(code.id) ?? 0) < code.maxUses;
          };
          const approved: { agent: string; title: string; group: string }[] = [];
          const skipped: { agent: string; title: string; says: string }[] = [];
          const take = (one: PendingEnrolment) => {
            const code = codes.get(one.activationId);
            const group = textOption(context, 'group') ?? code?.group;
            if (group === undefined)
              throw fault('no-group', `the code of ${one.title} is not known here, so its group is not either`, {
                where: one.agent,
              });
            checkGroup(home, group);
            checkSigningKey(one.signKey);
            checkBoxKey(one.boxKey);
            if (agentIdOf(one.signKey) !== one.agent)
              throw fault('unproven', `${one.agent} is not the id of its key`, { where: one.agent });
            const title = textOption(context, 'title') ?? one.title;
            const entry = { id: one.agent, title, group, labels: code?.labels ?? {}, signKey: one.signKey, boxKey: one.boxKey };
            roster = approveAgent(roster, entry, tools.clock.now());
            if (code !== undefined && one.activation === 'valid') used.set(code.id, (used.get(code.id) ?? 0) + 1);
            approved.push({ agent: one.agent, title, group });
          };
          if (flag(context, 'allValid')) {
            for (const one of pending.values()) {
              const says = whyNot(one, codes, hasUses(one));
              if (says === undefined) take(one);
              else skipped.push({ agent: one.agent, title: one.title, says });
            }
          } else {
            const start = argument(context, 0);
            if (start === '') throw fault('nobody', 'no agent was named');
            const one = pending.get(findAgentId(pending.keys(), start, 'that wait'));
            if (one !== undefined) {
              const says = flag(context, 'unproven') ? undefined : whyNot(one, codes, hasUses(one));
              if (says !== undefined) throw fault('unproven', `${one.title} (${one.agent}): ${says}`, { where: one.agent });
              take(one);
            }
          }
          if (approved.length > 0) {
            // The roster first: killed after it, the next approval of the same hosts changes nothing.
            writeRoster(home.rosterFile, roster, tools.clock.now());
            countUses(home.activationsFile, used);
            for (const { agent } of approved) fs.rmSync(join(home.pendingFolder, `${agent}.json`), { force: true });
          }
          return {
            exit: approved.length > 0 ? EXIT.done : EXIT.current,
            text: [
              ...approved.map(({ agent, title, group }) => `approved ${agent} ${title} into ${group}`),
              ...skipped.map(({ agent, title, says }) => `left ${agent} ${title}: ${says}`),
              approved.length > 0 ? 'Next: publisher publish' : 'nobody approved',
            ].join('\n'),
            report: { schema: 'patchferry/agent-approve', schemaVersion: 1, approved, skipped },
          };
        });
      },
    },
    {
      name: 'agent revoke',
      summary: 'Put an agent out of the fleet for good; the next publish tells relays and hosts',
      args: [{ name: '<id>', says: 'id of the agent, or its first digits' }],
      examples: [
        { line: 'publisher agent revoke 3f9a && publisher publish', says: 'After a host was lost, stolen or scrapped.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        return withLock(home, 'agent revoke', () => {
          const roster = readRoster(home.rosterFile);
          const pending = readPending(home.pendingFolder);
          const ids = [...roster.agents.map(({ id }) => id), ...pending.keys()];
          const id = findAgentId(ids, argument(context, 0), 'of this home');
          const entry = roster.agents.find((agent) => agent.id === id);
          const isNew = entry?.status === 'approved';
          if (isNew) writeRoster(home.rosterFile, revokeAgent(roster, id, tools.clock.now()), tools.clock.now());
          const waited = entry === undefined && pending.has(id);
          if (waited) fs.rmSync(join(home.pendingFolder, `${id}.json`), { force: true });
          const title = entry?.title ?? pending.get(id)?.title ?? '';
          return {
            exit: isNew || waited ? EXIT.done : EXIT.current,
            text: isNew
              ? `revoked ${id} ${title}. Next: publisher publish`
              : waited
                ? `turned away ${id} ${title}, which was waiting`
                : `${id} ${title} was revoked before`,
            report: { schema: 'patchferry/agent-revoke', schemaVersion: 1, agent: id, title, changed: isNew || waited },
          };
        });
      },
    },
  ];
}

/** Why an enrolment is not approved on its code alone; undefined when it may be. */
function whyNot(one: PendingEnrolment, codes: ReadonlyMap<string, Activation>, hasUses: boolean): string | undefined {
  if (one.activation === 'invalid') return 'it does not know the secret of its activation code';
  if (one.activation === 'expired') return 'its activation code had ended';
  if (one.activation === 'unknown' || !codes.has(one.activationId)) return 'its activation code is not one of ours';
  return hasUses ? undefined : 'its activation code has no use left';
}

function checkGroup(home: PublisherHome, group: string): void {
  const known = [...policyOf(home).groups.keys()];
  if (!known.includes(group)) {
    throw fault('unknown-group', `there is no group "${group}" in the policy${suggestion(group, known)}`, { where: group });
  }
}

function numberOf(text: string, where: string): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw fault('number', `${where}: ${JSON.stringify(text)} is no number of at least 1`, { where });
  return value;
}
