// Waivers as people read them: the list, one in full, and the same for programs.
import { utcSeconds } from '#manifests/platform/clock';
import type { SignedWaiver, When } from '#manifests/schema';
import type { WaiverRequest } from '../results/index.ts';
import type { WaiverState } from '../waivers/index.ts';
import { counted, table } from './common.ts';
import type { Exceptions } from './exceptions.ts';

/** `openssl-3f2a9c01`: what it is about, and the request it came from. */
export function nameOfRequest({ patches, cves, request }: WaiverRequest['body']): string {
  const about = (patches[0] ?? cves[0] ?? 'waiver').toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  return `${about.slice(0, 40).replaceAll(/^-+|-+$/g, '') || 'waiver'}-${request.slice(0, 8)}`;
}

const whenText = (when: When) => (typeof when === 'string' ? when : `${when.date} (${when.zone})`);
const aboutText = ({ patches, cves }: { patches: readonly string[]; cves: readonly string[] }) =>
  [...patches, ...cves].join(', ');

function scopeText(scope: SignedWaiver['scope'], exceptions: Exceptions): string {
  const titles = new Map(exceptions.roster.agents.map(({ id, title }) => [id, title]));
  const rows = Object.entries(scope).map(([key, value]) => {
    if (key === 'agents') return (value as string[]).map((id) => titles.get(id) ?? id).join(', ');
    if (Array.isArray(value)) return `${key} ${value.join(', ')}`;
    return Object.entries(value ?? {})
      .map(([label, text]) => `${label}=${text}`)
      .join(', ');
  });
  return rows.length === 0 ? 'every host' : rows.join('; ');
}

/** `2 of 3 (anna, ben)`. */
function signedText({ verdicts, approvers }: WaiverState, exceptions: Exceptions): string {
  const thresholds = verdicts.flatMap(
    ({ group }) => exceptions.groups.find(({ name }) => name === group)?.policy?.threshold ?? [],
  );
  const least = thresholds.length === 0 ? '-' : String(Math.min(...thresholds));
  return `${approvers.length} of ${least}${approvers.length === 0 ? '' : ` (${approvers.join(', ')})`}`;
}

export function listText(exceptions: Exceptions, open: boolean): string {
  const { requests, states, answers, revoked, excepted } = exceptions;
  const titles = new Map(exceptions.roster.agents.map(({ id, title }) => [id, title]));
  const rows = [
    ...requests.map(({ agent, body }) => [
      'requested',
      body.request.slice(0, 8),
      aboutText(body),
      titles.get(agent) ?? agent,
      whenText(body.from),
      whenText(body.until),
      '-',
      `${body.response}: ${body.reason}`,
    ]),
    ...states
      .filter(({ standing }) => !open || standing === 'pending')
      .map((state) => [
        state.standing,
        state.waiver.name,
        aboutText(state.waiver),
        scopeText(state.waiver.scope, exceptions),
        whenText(state.waiver.from),
        whenText(state.waiver.until),
        signedText(state, exceptions),
        `${state.waiver.response}: ${state.waiver.reason}`,
      ]),
    ...(open
      ? []
      : [
          ...answers
            .filter(({ decision }) => decision === 'rejected')
            .map(({ request, agent, reason, at }) => [
              'rejected',
              request.slice(0, 8),
              '-',
              titles.get(agent) ?? agent,
              '-',
              at,
              '-',
              reason,
            ]),
          ...revoked.map(({ waiver, at, reason }) => ['revoked', waiver.name, aboutText(waiver), '-', '-', at, '-', reason]),
        ]),
  ];
  const last = `${counted(excepted.findings, 'patch finding')} EXCEPTED on ${counted(excepted.hosts, 'host')}, by what hosts last said`;
  const said = exceptions.notices.map(({ says }) => says);
  if (rows.length === 0)
    return `no ${open ? 'open request and no pending waiver' : 'request and no waiver'}\n${[...said, last].join('\n')}`;
  return [table(['STATE', 'NAME', 'ABOUT', 'HOSTS', 'FROM', 'UNTIL', 'SIGNED', 'WHY'], rows), '', ...said, last].join('\n');
}

export function reportOf(exceptions: Exceptions, open: boolean) {
  const { requests, states, notices, answers, revoked, excepted } = exceptions;
  return {
    excepted,
    notices,
    requests,
    waivers: states
      .filter(({ standing }) => !open || standing === 'pending')
      .map(({ waiver, standing, approvers, verdicts, from, until, request }) => ({
        standing,
        request,
        from: utcSeconds(from),
        until: utcSeconds(until),
        approvers,
        groups: verdicts,
        waiver,
      })),
    rejected: open ? [] : answers.filter(({ decision }) => decision === 'rejected'),
    revoked: open ? [] : revoked.map(({ waiver, at, reason }) => ({ waiver: waiver.name, at, reason })),
  };
}

export function showText({ request, state }: { request?: WaiverRequest; state?: WaiverState }): string {
  if (request !== undefined) {
    const { agent, at, body } = request;
    return [
      `request ${body.request}: nobody has answered it`,
      `asked for   by ${body.requestedBy} on host ${agent} at ${at}`,
      `about       ${aboutText(body)}`,
      `from        ${whenText(body.from)}`,
      `until       ${whenText(body.until)}`,
      `response    ${body.response}: ${body.reason}`,
      ...controlLines(body.control),
    ].join('\n');
  }
  if (state === undefined) return '';
  const { waiver, standing, verdicts } = state;
  return [
    `waiver ${waiver.name}: ${standing}`,
    ...(waiver.requestedBy === null ? [] : [`asked for   on host ${waiver.requestedBy}`]),
    `about       ${aboutText(waiver)}`,
    `from        ${whenText(waiver.from)}`,
    `until       ${whenText(waiver.until)}`,
    `response    ${waiver.response}: ${waiver.reason}`,
    ...controlLines(waiver.control),
    ...waiver.approvals.map(
      ({ approver, publicKey, at }) =>
        `signature   of ${approver} (${publicKey.slice(0, 12)}…) at ${at}${state.approvers.includes(approver) ? '' : ', which does not hold'}`,
    ),
    ...verdicts.map(({ group, says }) => `group       ${group}: ${says}`),
  ].join('\n');
}

function controlLines(control: SignedWaiver['control']): string[] {
  if (control === null) return [];
  const check = control.check === undefined ? 'without a check' : `checked by ${control.check.command.join(' ')}`;
  return [`control     ${control.says} (${check})`];
}
