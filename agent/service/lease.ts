// Leave to reboot, asked of the relays where the group wants hosts to take turns (FleetLock protocol, signed by this agent).
import { utcSeconds } from '#manifests/platform/clock';
import type { Group } from '#manifests/schema';
import { REQUEST_HEADER, signRequest } from '#manifests/trust';
import { NEEDED_SINCE, type RunWorld } from '../run/index.ts';
import type { Agent } from './agent.ts';

/** The relay that gave this host its lease, in the journal. */
const LEASE_FROM = 'reboot-lease-from';
/** When a host that was told to wait asks again, milliseconds of trusted time; also in the journal. */
const ASK_AGAIN = 'reboot-lease-again';

const LEASE_LIMITS = {
  /** Milliseconds for one relay to answer. */
  answerMs: 15_000,
  /** Milliseconds until a host that has to wait asks again. */
  againMs: 5 * 60_000,
} as const;

type Asker = Pick<Agent, 'keys' | 'clock' | 'journal' | 'log'> & { readonly relays: Pick<Agent['relays'], 'origins'> };
type Answer = { readonly kind: 'yes' | 'no'; readonly says: string } | { readonly kind: 'none' };

/** Sends one request of the protocol; `none` when this relay has no leases or does not answer as one does. @throws transfer.* */
async function send(
  { keys, clock }: Asker,
  origin: Asker['relays']['origins'][number],
  path: 'v1/pre-reboot' | 'v1/steady-state',
  group: string,
  signal: AbortSignal,
): Promise<Answer> {
  if (keys === undefined) return { kind: 'none' };
  const sent = Buffer.from(JSON.stringify({ client_params: { id: keys.id, group } }));
  const request = { method: 'POST', path: `/${path}`, body: sent };
  const { status, body } = await origin.post(path, sent, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(LEASE_LIMITS.answerMs)]),
    headers: {
      'content-type': 'application/json',
      'fleet-lock-protocol': 'true',
      [REQUEST_HEADER]: signRequest(request, keys.id, keys.sign, clock.now()),
    },
  });
  const told = answerOf(body);
  if (told === undefined) return { kind: 'none' };
  return { kind: status === 200 ? 'yes' : 'no', says: `${told.value} (${told.kind})` };
}

/** A body of the protocol; anything else is not from a relay that gives leases. */
function answerOf(body: Uint8Array): { kind: string; value: string } | undefined {
  try {
    const { kind, value } = JSON.parse(Buffer.from(body).toString('utf8')) as Record<string, unknown>;
    if (typeof kind !== 'string' || typeof value !== 'string' || !/^[a-z_]{1,60}$/.test(kind)) return undefined;
    return { kind, value: value.replaceAll(/[^\u0020-\u007e]/g, '?').slice(0, 200) };
  } catch {
    return undefined;
  }
}

/** This world with leases, where the group has them. The first relay that gives leases decides; being refused is an answer. */
export function withLeases(world: RunWorld, agent: Asker): RunWorld {
  return {
    ...world,
    async rebootLease(group: Group | null) {
      const policy = group?.rebootLease;
      agent.journal.setMeta(ASK_AGAIN, null);
      if (group === null || policy === undefined) return undefined;
      const wait = (says: string) => {
        agent.journal.setMeta(ASK_AGAIN, String(world.trustedNow() + LEASE_LIMITS.againMs));
        return says;
      };
      for (const origin of agent.relays.origins) {
        try {
          const answer = await send(agent, origin, 'v1/pre-reboot', group.name, world.signal);
          if (answer.kind === 'none') continue;
          if (answer.kind === 'no') return wait(`the relay has it wait for others: ${answer.says}`);
          agent.journal.setMeta(LEASE_FROM, origin.name);
          return undefined;
        } catch (error) {
          agent.log.info({ relay: origin.name, reason: (error as Error).message }, 'no answer to a request for a lease');
        }
      }
      if (policy.proceedAfterHours === undefined) return wait('no relay answers the request for a lease');
      const since = Number(world.journal.meta(NEEDED_SINCE) ?? world.trustedNow());
      const from = since + policy.proceedAfterHours * 3_600_000;
      return world.trustedNow() >= from
        ? undefined
        : wait(`no relay answers the request for a lease; without one from ${utcSeconds(from)} on`);
    },
  };
}

/** Gives a lease back when nothing of this host is under way any more. What cannot be given back now ends by itself. */
export async function giveLeaseBack(agent: Asker, group: Group | null, signal: AbortSignal): Promise<void> {
  const { journal } = agent;
  const from = journal.meta(LEASE_FROM);
  if (from === undefined || journal.runs.open() !== undefined) return;
  const origin = agent.relays.origins.find(({ name }) => name === from);
  try {
    if (origin !== undefined && group !== null) await send(agent, origin, 'v1/steady-state', group.name, signal);
    journal.setMeta(LEASE_FROM, null);
  } catch (error) {
    agent.log.info({ relay: from, reason: (error as Error).message }, 'the lease could not be given back yet');
  }
}

/** When a host that waits for a lease asks again, milliseconds of trusted time; null when it does not wait for one. */
export function askAgainAt({ journal }: Pick<Asker, 'journal'>): number | null {
  const at = journal.meta(ASK_AGAIN);
  return at === undefined ? null : Number(at);
}
