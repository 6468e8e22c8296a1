// For tests: a signed group whose reboot leases are as told, and the request for a lease as an agent makes it.
import { encodeDocument, type Group, type RebootLease } from '#manifests/schema';
import { REQUEST_HEADER, signRequest } from '#manifests/trust';
import type { TestAgent } from './repository.ts';

/** Target path and bytes of a group document. */
export function groupTarget(name: string, rebootLease?: RebootLease): Record<string, Uint8Array> {
  const group: Group = {
    schema: 'patchferry/group',
    schemaVersion: 1,
    name,
    signedAt: '2026-01-01T00:00:00Z',
    baselines: [],
    windows: [],
    reboot: 'if-needed',
    health: [],
    wayBack: 'required',
    pollMinutes: 60,
    freeBytes: 0,
    newDependencies: 'allow',
    removals: 'refuse',
    ...(rebootLease === undefined ? {} : { rebootLease }),
  };
  return { [`policy/groups/${name}.json.zst`]: encodeDocument('group', group) };
}

export interface LeaseRequest {
  readonly body: Buffer;
  readonly headers: Record<string, string>;
}

/** A signed request for (or return of) a lease. @param at milliseconds */
export function leaseRequest(agent: TestAgent, path: string, at: number, group = 'all', id = agent.id): LeaseRequest {
  const body = Buffer.from(JSON.stringify({ client_params: { id, group } }));
  const header = signRequest({ method: 'POST', path, body }, agent.id, agent.signKey, at);
  return { body, headers: { 'fleet-lock-protocol': 'true', [REQUEST_HEADER]: header } };
}
