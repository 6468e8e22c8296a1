// `waiver request` and `waiver list`: an owner asks for an exception, and sees what became of it and which are in force here.
import { evaluate, explain, hostWaivers, inZone, waiverNotices } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import type { WaiverRequestBody } from '#manifests/schema';
import { rememberRequest, requestBody, requestStates, requestsOf } from '../owner/index.ts';
import { type Agent, controlsOf, decideInput, fault, ownedHost, sealNow, whoIs } from '../service/index.ts';
import { table, withAgent } from './frame.ts';
import { whoAsks } from './window.ts';

/** Seconds a check may take where nobody says. */
const CHECK_SECONDS = 30;

export function requestWaiver(context: CommandContext): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const { options } = context;
    const owned = await ownedHost(agent);
    const { view, group, inventory, stamp } = owned;
    const subject = String(context.args[0] ?? '').trim();
    const input = decideInput(agent, view, inventory, agent.journal.runs.memory());
    if (!subject.includes('*') && explain(evaluate(input), input, subject).foundBy === 'nothing')
      throw fault('no-such-patch', `no catalog known here has a patch, CVE or package ${JSON.stringify(subject)}`);
    const text = (name: string) => (typeof options[name] === 'string' ? options[name] : undefined);
    const body = requestBody(
      {
        subject,
        until: text('until') ?? '',
        from: text('from'),
        reason: (text('reason') ?? '').slice(0, 1_000),
        response: (text('response') ?? 'accept') as WaiverRequestBody['response'],
        control: controlFrom(options),
        requestedBy: whoAsks(),
      },
      group,
      inventory.zone,
      agent.trustedNow(),
    );
    const sequence = rememberRequest(agent.journal, body, stamp);
    const sealed = sealNow(agent, view);
    const approvers = group.waivers?.approvers.map(({ name }) => name) ?? [];
    const needed = group.waivers?.threshold ?? 1;
    return {
      exit: EXIT.done,
      text: [
        `request ${body.request.slice(0, 8)} for ${subject}: result ${sequence}, ${sealed ? 'signed and sealed' : 'sealed by the service'}, sent with the next poll`,
        `it counts once ${needed} of ${approvers.join(', ')} have signed it; until then ${subject} stays as it is`,
      ].join('\n'),
      report: { schema: 'patchferry/agent-waiver-request', schemaVersion: 1, sequence, sealed, approvers, needed, body },
    };
  });
}

function controlFrom(options: CommandContext['options']): WaiverRequestBody['control'] {
  const says = options['control'];
  const command = (options['check'] as readonly string[] | undefined) ?? [];
  if (typeof says !== 'string') {
    if (command.length === 0) return null;
    throw fault('usage', '--check is the proof of a control: say with --control what keeps the risk down');
  }
  return command.length === 0 ? { says } : { says, check: { command: [...command], timeoutSeconds: CHECK_SECONDS } };
}

export function listWaivers(context: CommandContext): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const { view, group, inventory } = await ownedHost(agent);
    const at = agent.trustedNow();
    const { zone } = inventory;
    const states = requestStates(requestsOf(agent.journal), {
      answers: view.answers,
      waivers: view.waivers,
      pending: pendingRequests(agent),
    });
    const controls = controlsOf(agent.journal, view.waivers);
    const mine = hostWaivers(view.waivers, group.waivers, whoIs(view, inventory), controls, at, zone);
    const notices = waiverNotices(mine, () => false, at);
    const about = ({ patches, cves }: { patches: readonly string[]; cves: readonly string[] }) =>
      [...patches, ...cves].join(', ');
    const lines = [
      states.length === 0
        ? 'nothing was asked for on this host'
        : table([
            ['request', 'for', 'asked', 'until', 'answer'],
            ...states.map(({ request: { body, at: asked }, says }) => [
              body.request.slice(0, 8),
              about(body),
              asked,
              typeof body.until === 'string' ? body.until : body.until.date,
              says,
            ]),
          ]),
      '',
      mine.length === 0
        ? 'no waiver is about this host'
        : table([
            ['waiver', 'standing', 'until', 'for', ''],
            ...mine.map(({ waiver, standing, until, says }) => [
              waiver.name,
              standing,
              Number.isNaN(until) ? '-' : inZone(until, zone),
              about(waiver),
              says,
            ]),
          ]),
      ...notices.map(({ says }) => says),
    ];
    return {
      exit: EXIT.done,
      text: lines.join('\n'),
      report: {
        schema: 'patchferry/agent-waivers',
        schemaVersion: 1,
        requests: states.map(({ request, standing, says, waiver }) => ({ ...request, standing, says, waiver })),
        waivers: mine.map(({ waiver, standing, from, until, says }) => ({
          name: waiver.name,
          standing,
          patches: waiver.patches,
          cves: waiver.cves,
          from: Number.isNaN(from) ? null : utcSeconds(from),
          until: Number.isNaN(until) ? null : utcSeconds(until),
          control: waiver.control,
          says,
        })),
        notices,
      },
    };
  });
}

/** Requests whose result no ack has covered, and whether it was sent. */
function pendingRequests({ journal }: Agent): Map<string, { sent: boolean }> {
  return new Map(
    journal.results.pending().flatMap((row) => {
      if (row.kind !== 'waiver-request') return [];
      const { request } = JSON.parse(row.body) as WaiverRequestBody;
      return [[request, { sent: row.sent_at !== null }] as const];
    }),
  );
}
