// `explain`: why a patch is as it is on a host, by the function the agent itself asks, from what is signed and last known of it.
import { evaluate, explain } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { type RosterAgent, suggestion } from '#manifests/schema';
import { hostInput } from '../policy/index.ts';
import { openKnowledge } from '../results/index.ts';
import { readSignedView, type SignedView } from '../sign/index.ts';
import { homeOf, type Tools, textOption } from './common.ts';

const fault = defineFaults('explain', {
  'unknown-host': { exit: EXIT.usage, next: 'See `publisher agent list` for titles and ids.' },
  'no-inventory': { exit: EXIT.usage, next: 'Run `publisher collect` once the host has reported.' },
  'no-such-patch': {
    exit: EXIT.usage,
    next: 'See `publisher patch list` for what is known; CVEs and package names work as well.',
  },
  moment: { exit: EXIT.usage, next: 'Write it as 2026-01-31T00:00:00Z.' },
});

export function explainCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'explain',
      summary: 'Why a patch, CVE or package is as it is on a host: the same text as `agent explain` there',
      options: [
        { flags: '--host <title-or-id>', says: 'the host; the first digits of its id are enough', required: true },
        { flags: '--patch <query>', says: 'patch id, CVE, advisory, source or package', required: true },
        { flags: '--at <moment>', says: 'as of this moment instead of now (2026-01-31T00:00:00Z)' },
      ],
      examples: [
        {
          line: 'publisher explain --host mail-1 --patch CVE-2024-5535',
          says: 'From what is published and the host’s last inventory.',
        },
        {
          line: 'publisher explain --host mail-1 --patch openssl --at 2026-12-24T00:00:00Z',
          says: 'What it will be on that day.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const at = momentOf(textOption(context, 'at')) ?? tools.clock.now();
        const view = await readSignedView(home, context.signal);
        const member = hostNamed(view, textOption(context, 'host') ?? '');
        const knowledge = openKnowledge(home.storeFile);
        try {
          const inventory = knowledge.inventory(member.id);
          if (inventory === null)
            throw fault('no-inventory', `${member.title} has never reported what it is`, { where: member.id });
          const query = textOption(context, 'patch') ?? '';
          const input = hostInput(view, member, inventory, knowledge, at);
          const explanation = explain(evaluate(input), input, query);
          if (explanation.foundBy === 'nothing')
            throw fault('no-such-patch', `no catalog of ${member.title} has a patch, CVE or package ${JSON.stringify(query)}`);
          return {
            exit: EXIT.done,
            text: explanation.text,
            report: {
              schema: 'patchferry/explain',
              schemaVersion: 1,
              agent: member.id,
              inventoryTakenAt: inventory.takenAt,
              ...explanation,
            },
          };
        } finally {
          knowledge.close();
        }
      },
    },
  ];
}

function hostNamed({ roster }: SignedView, given: string): RosterAgent {
  const approved = roster.agents.filter(({ status }) => status === 'approved');
  const found = approved.filter(
    ({ id, title }) => title === given || (given.length >= 4 && id.startsWith(given.toLowerCase())),
  );
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  const says = found.length > 1 ? `${found.length} hosts are called` : 'the published roster has no host';
  throw fault(
    'unknown-host',
    `${says} "${given}"${suggestion(
      given,
      approved.map(({ title }) => title),
    )}`,
    { where: '--host' },
  );
}

function momentOf(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const at = Date.parse(given);
  if (Number.isNaN(at)) throw fault('moment', `${JSON.stringify(given)} is no moment`, { where: '--at' });
  return at;
}
