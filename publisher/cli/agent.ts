// `agent list · invite · approve · move · revoke`: the roster and the codes by which hosts ask to be in it.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { readPending } from '../results/index.ts';
import { approveAgent, findAgentId, invite, readRoster, revokeAgent, writeRoster } from '../roster/index.ts';
import { approveWaiting, checkGroup, siteOption } from './approve.ts';
import { argument, counted, flag, homeOf, labelsOf, listOption, type Tools, table, textOption, withLock } from './common.ts';

const fault = defineFaults('agent-roster', {
  number: { exit: EXIT.usage, next: 'Give a whole number of at least 1.' },
  nobody: { exit: EXIT.usage, next: 'Give the id of an agent, or --all-valid.' },
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
        { flags: '--site <name>', says: 'site the hosts stand at, for overlays and reports' },
        { flags: '--days <number>', says: 'how long it holds; inviteDays of the settings unless told' },
        { flags: '--uses <number>', says: 'how many hosts may be approved with it', fallback: '1' },
        {
          flags: '--preapproved',
          says: 'who proves this code is approved when it is collected, by nobody else: a new host of a closed site needs one journey',
        },
      ],
      examples: [
        {
          line: 'publisher agent invite --group careful-servers --title "mail servers" --uses 4',
          says: 'For four hosts; type it at `agent enroll`.',
        },
        {
          line: 'publisher agent invite --group ward --preapproved --days 14',
          says: 'For a closed site: approval and updates come back with the same stick.',
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
            site: siteOption(textOption(context, 'site')),
            days: days === undefined ? home.settings.inviteDays : numberOf(days, '--days'),
            maxUses: numberOf(textOption(context, 'uses') ?? '1', '--uses'),
            preapproved: flag(context, 'preapproved'),
            now: tools.clock.now(),
          });
          return {
            exit: EXIT.done,
            text: [
              code,
              `for ${counted(entry.maxUses, 'host')} of group ${group}, until ${entry.expires}; this code is not shown again.`,
              ...(entry.preapproved
                ? ['Whoever proves it is in the fleet at the next collect, without a further question.']
                : []),
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
              preapproved: entry.preapproved,
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
        { flags: '--site <name>', says: 'site instead of the one of the activation code' },
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
          const { approved, skipped } = approveWaiting(home, tools.clock.now(), {
            which: flag(context, 'allValid') ? 'valid' : one(argument(context, 0)),
            group: textOption(context, 'group'),
            title: textOption(context, 'title'),
            site: siteOption(textOption(context, 'site')),
            unproven: flag(context, 'unproven'),
          });
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
      name: 'agent move',
      summary: 'Give an approved agent another group, site, title or labels; the next publish tells it',
      args: [{ name: '<id>', says: 'id of the agent, or its first digits' }],
      options: [
        { flags: '--group <name>', says: 'group from now on' },
        { flags: '--site <name>', says: 'site from now on' },
        { flags: '--title <text>', says: 'title from now on' },
        { flags: '--label <key=value>', says: 'labels from now on, in place of those it has (several times)', many: true },
      ],
      examples: [{ line: 'publisher agent move 3f9a --site ship-7 && publisher publish', says: 'A host that goes to sea.' }],
      async run(context) {
        const home = homeOf(context, tools);
        return withLock(home, 'agent move', () => {
          const roster = readRoster(home.rosterFile);
          const approved = roster.agents.filter(({ status }) => status === 'approved');
          const id = findAgentId(
            approved.map((one) => one.id),
            argument(context, 0),
            'of this home',
          );
          const before = approved.find((one) => one.id === id);
          if (before === undefined) throw fault('nobody', 'no agent was named');
          const group = textOption(context, 'group') ?? before.group;
          checkGroup(home, group);
          const site = siteOption(textOption(context, 'site')) ?? before.site;
          const labels = listOption(context, 'label');
          const { status: _status, since: _since, ...known } = before;
          const entry = {
            ...known,
            group,
            title: textOption(context, 'title') ?? before.title,
            labels: labels.length === 0 ? before.labels : labelsOf(labels),
            ...(site === undefined ? {} : { site }),
          };
          writeRoster(home.rosterFile, approveAgent(roster, entry, tools.clock.now()), tools.clock.now());
          return {
            exit: EXIT.done,
            text: `${entry.title} (${id}) is in group ${group}${site === undefined ? '' : ` at site ${site}`}. Next: publisher publish`,
            report: { schema: 'patchferry/agent-move', schemaVersion: 1, agent: entry },
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

/** @throws agent-roster.nobody */
function one(start: string): { readonly start: string } {
  if (start === '') throw fault('nobody', 'no agent was named');
  return { start };
}

function numberOf(text: string, where: string): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw fault('number', `${where}: ${JSON.stringify(text)} is no number of at least 1`, { where });
  return value;
}
