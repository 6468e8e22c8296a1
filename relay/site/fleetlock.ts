// Reboot leases over HTTP: the FleetLock protocol, with a signature of the agent beside it. Errors are FleetLock's
// `{kind, value}`; clients wait and ask again.
import { z } from 'zod';
import type { Clock } from '#manifests/platform/clock';
import { utcSeconds } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { REBOOT_LEASE } from '#manifests/schema';
import { parseRequestHeader, REQUEST_HEADER, verifyRequest } from '#manifests/trust';
import type { PostHandler } from '../serve/index.ts';
import type { LeaseChoice } from './choices.ts';
import type { SignedSource } from './documents.ts';
import type { LeaseStore } from './lease-store.ts';
import { SITE_LIMITS } from './limits.ts';

export const LEASE_PATHS = { acquire: '/v1/pre-reboot', release: '/v1/steady-state' } as const;

const request = z.object({
  client_params: z.object({
    id: z.string().regex(/^[\u0021-\u007e]{1,128}$/),
    group: z.string().regex(/^[a-zA-Z0-9.-]{1,63}$/),
  }),
});

interface Told {
  readonly status: number;
  readonly body: { kind: string; value: string };
}

const no = (status: number, kind: string, value: string): Told => ({ status, body: { kind, value } });

export interface LeaseService {
  readonly posts: ReadonlyMap<string, PostHandler>;
  /** Answers given so far, by kind. */
  answers(): ReadonlyMap<string, number>;
}

/** @param documents the signed roster and groups of this relay's mirror */
export function leaseService(
  choice: Exclude<LeaseChoice, 'off'>,
  { documents, store, clock, log }: { documents: SignedSource; store: LeaseStore; clock: Clock; log: Log },
): LeaseService {
  const counts = new Map<string, number>();

  /** Refuses who may not ask; undefined lets him. */
  function refusal(path: string, body: Uint8Array, header: string | undefined, id: string, group: string): Told | undefined {
    const roster = documents.roster();
    if (roster === undefined) return no(503, 'no_policy', 'this relay has not synced yet');
    const agent = roster.get(id);
    if (header === undefined) {
      if (agent !== undefined || choice !== 'plain') return no(401, 'unsigned', `a ${REQUEST_HEADER} header is needed`);
      return undefined;
    }
    const signed = parseRequestHeader(header);
    if (signed === undefined) return no(400, 'bad_request', `the ${REQUEST_HEADER} header cannot be read`);
    if (agent === undefined || signed.agent !== id)
      return no(403, 'unknown_client', `${id} is not in the roster, or did not sign`);
    if (agent.status === 'revoked') return no(403, 'revoked_client', `agent ${id} was revoked`);
    if (!verifyRequest({ method: 'POST', path, body }, signed, agent.signKey))
      return no(403, 'bad_signature', 'the signature does not hold');
    if (agent.group !== group) return no(403, 'wrong_group', `the roster has ${id} in group ${agent.group}`);
    const now = clock.now();
    if (Math.abs(signed.at - now) > SITE_LIMITS.requestSkewMs)
      return no(403, 'wrong_time', `it was signed at another time than ${utcSeconds(now)}, which it is here`);
    if (!store.isNewer(id, signed.at)) return no(409, 'replayed', 'a request of this time or a later one was here already');
    return undefined;
  }

  function acquire(id: string, group: string): Told {
    const policy = documents.group(group);
    if (policy === undefined) return no(404, 'unknown_group', `no signed policy of a group ${group} is here`);
    const answer = store.acquire(id, group, policy.rebootLease ?? REBOOT_LEASE);
    if (answer.kind === 'held') return { status: 200, body: { kind: 'held', value: utcSeconds(answer.until) } };
    const at = utcSeconds(answer.freeAt);
    if (answer.kind === 'full')
      return no(409, 'failed_lock_semaphore_full', `all ${answer.slots} slots of ${group} are taken, one at least until ${at}`);
    if (answer.kind === 'gap') return no(409, 'failed_lock_minimum_gap', `the next reboot in ${group} may begin at ${at}`);
    return no(409, 'failed_lock_state_lost', `leases of before were lost; new ones from ${at} on`);
  }

  function answerTo(path: string, body: Uint8Array, headers: Readonly<Record<string, string | string[] | undefined>>): Told {
    if (headers['fleet-lock-protocol'] !== 'true')
      return no(400, 'bad_request', 'the header fleet-lock-protocol: true is missing');
    let params: { id: string; group: string };
    try {
      params = request.parse(JSON.parse(Buffer.from(body).toString('utf8'))).client_params;
    } catch {
      return no(400, 'bad_request', 'the body must be {"client_params": {"id": …, "group": …}}');
    }
    const { id, group } = params;
    const header = headers[REQUEST_HEADER];
    const refused = refusal(path, body, typeof header === 'string' ? header : undefined, id, group);
    if (refused !== undefined) return refused;
    try {
      if (path === LEASE_PATHS.acquire) return acquire(id, group);
      store.release(id);
      return { status: 200, body: { kind: 'released', value: id } };
    } catch (error) {
      log.error({ reason: (error as Error).message }, 'leases cannot be written');
      return no(507, 'failed_lock_storage', 'the relay cannot write its leases');
    }
  }

  const handler = (path: string): PostHandler => ({
    limitBytes: SITE_LIMITS.leaseRequestBytes,
    memoryBytes: SITE_LIMITS.leaseMemoryBytes,
    handle(body, _address, headers) {
      const told = answerTo(path, body, headers);
      counts.set(told.body.kind, (counts.get(told.body.kind) ?? 0) + 1);
      return Promise.resolve({ status: told.status, body: told.body });
    },
  });
  return {
    posts: new Map(Object.values(LEASE_PATHS).map((path) => [path, handler(path)])),
    answers: () => counts,
  };
}
