// Requests for waivers: made within what the group allows, and what became of each.
import { randomUUID } from 'node:crypto';
import { utcSeconds } from '#manifests/platform/clock';
import type { Group, SignedWaiver, WaiverAnswer, WaiverRequestBody } from '#manifests/schema';
import { endOf, whenOf } from './choice.ts';
import { fault } from './faults.ts';
import type { KeptRequest } from './memory.ts';

const DAY_MS = 86_400_000;

export interface Asked {
  /** A patch, source, package (with `*`) or CVE. */
  readonly subject: string;
  readonly until: string;
  readonly from?: string | undefined;
  readonly reason: string;
  readonly response: WaiverRequestBody['response'];
  readonly control: WaiverRequestBody['control'];
  readonly requestedBy: string;
}

/** @param at milliseconds of trusted time @throws owner.waiver-bounds, owner.moment, owner.no-group */
export function requestBody(asked: Asked, group: Group | null, hostZone: string, at: number): WaiverRequestBody {
  if (group === null) throw fault('no-group', 'this host is in no patch group, so that nobody could approve a waiver');
  const policy = group.waivers;
  if (policy === undefined) throw fault('waiver-bounds', `group ${group.name} takes no waivers`);
  const until = whenOf(asked.until);
  const from = asked.from === undefined ? utcSeconds(at) : whenOf(asked.from);
  const start = asked.from === undefined ? at : endOf(from, hostZone) - (typeof from === 'string' ? 0 : DAY_MS);
  const end = endOf(until, hostZone);
  if (end <= at || end <= start) throw fault('waiver-bounds', `it would end at ${utcSeconds(end)}, before it begins`);
  const most = start + policy.maxDays * DAY_MS;
  if (end > most) {
    const bound = `${policy.maxDays} days, so until ${utcSeconds(most)} at most`;
    throw fault('waiver-bounds', `group ${group.name} allows waivers of at most ${bound}`);
  }
  const isFlaw = /^CVE-\d{4}-\d{4,}$/i.test(asked.subject);
  return {
    request: randomUUID(),
    patches: isFlaw ? [] : [asked.subject],
    cves: isFlaw ? [asked.subject.toUpperCase()] : [],
    from,
    until,
    response: asked.response,
    reason: asked.reason,
    control: asked.control,
    requestedBy: asked.requestedBy,
  };
}

export interface RequestState {
  readonly request: KeptRequest;
  readonly standing: 'waiting' | 'sent' | 'received' | 'approved' | 'rejected';
  /** In words. */
  readonly says: string;
  /** Name of the waiver it became. */
  readonly waiver: string | null;
}

interface Known {
  readonly answers: readonly WaiverAnswer[];
  readonly waivers: readonly SignedWaiver[];
  /** Results that no ack has covered: whether each was sent, by the request inside. */
  readonly pending: ReadonlyMap<string, { readonly sent: boolean }>;
}

/** What became of each request. */
export function requestStates(requests: readonly KeptRequest[], { answers, waivers, pending }: Known): RequestState[] {
  return requests.map((request) => {
    const answer = answers.find((one) => one.request === request.body.request);
    const make = (standing: RequestState['standing'], says: string, waiver: string | null = null) => ({
      request,
      standing,
      says,
      waiver,
    });
    if (answer?.decision === 'rejected') return make('rejected', `rejected at ${answer.at}: ${answer.reason}`);
    if (answer !== undefined) {
      const gone = waivers.some(({ name }) => name === answer.waiver) ? '' : '; it is in force no more';
      return make('approved', `approved as waiver ${answer.waiver} at ${answer.at}${gone}`, answer.waiver);
    }
    const row = pending.get(request.body.request);
    if (row === undefined) return make('received', 'the publisher has it; nobody has answered it yet');
    return row.sent ? make('sent', 'on its way to the publisher') : make('waiting', 'waits for the next poll');
  });
}
