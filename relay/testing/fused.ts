// For tests: a group with a fuse, a site whose relays may halt it, and results of runs that are sealed to them.
import { utcSeconds } from '#manifests/platform/clock';
import {
  decodeDocument,
  encodeDocument,
  encodePlain,
  type Fuse,
  type Group,
  type Result,
  type SignedDelegation,
} from '#manifests/schema';
import { sealEnvelope } from '#manifests/trust';
import { groupTarget } from './group.ts';
import type { TestAgent } from './repository.ts';

const HOUR = 3_600_000;

const PATH = 'policy/groups/all.json.zst';
const ONE_OF_FOUR: Fuse = { withinHours: 24, minReports: 4, maxFailures: { hosts: 1 }, scope: 'group' };

/** The group `all` with a rollout under a fuse; one host may fail unless told. */
export function fusedGroup(fuse: Fuse = ONE_OF_FOUR): Group {
  const plain = decodeDocument('group', groupTarget('all')[PATH] ?? new Uint8Array(), PATH);
  const anyTime = { groups: [], labels: {}, afterHours: 0, stepped: false, gate: null, maxConcurrency: null, hosts: null };
  const rings = [{ name: 'one', ramp: [{ afterHours: 0, percent: 100 }], ...anyTime }];
  return { ...plain, rollout: { name: 'careful', id: 'careful', canaries: 'same', rings, opened: [], halted: [], fuse } };
}

/** That group, and a delegation that lets relays halt the site; policy documents by target path. */
export function fusedPolicy(
  { site, relays, at }: { site: string; relays: readonly { signKey: string; boxKey: string }[]; at: number },
  changes: Partial<SignedDelegation> = {},
): Record<string, Uint8Array> {
  return {
    [PATH]: encodeDocument('group', fusedGroup()),
    [`policy/sites/${site}.json.zst`]: encodeDocument('site-delegation', {
      schema: 'patchferry/site-delegation',
      schemaVersion: 1,
      signedAt: utcSeconds(at),
      site,
      may: ['halt'],
      maxDelayDays: 0,
      minRingPercent: 0,
      hooks: [],
      keys: relays.slice(0, 1).map(({ signKey }) => signKey),
      relays: [...relays],
      until: utcSeconds(at + 300 * 24 * HOUR),
      ...changes,
    }),
  };
}

/** How a run ended, as its host seals it. */
export function runResult(
  agent: Pick<TestAgent, 'id' | 'signKey'>,
  sequence: number,
  outcome: 'committed' | 'rolled-back' | 'refused',
  at: number,
  to: string[],
): Uint8Array {
  const moment = utcSeconds(at);
  const kernels = { running: '', installed: [] };
  const result: Result = {
    schema: 'patchferry/result',
    schemaVersion: 1,
    agent: agent.id,
    boot: 'boot',
    sequence,
    previous: null,
    trustedTime: moment,
    wallTime: moment,
    kind: 'run',
    body: {
      run: '00000000-0000-4000-8000-000000000000',
      started: moment,
      finished: moment,
      outcome,
      error: null,
      patches: [],
      states: [],
      wayBack: null,
      health: [],
      changes: [],
      kernelsBefore: kernels,
      kernelsAfter: kernels,
      resumed: 0,
      rebootNeeded: { needed: false, evidence: [] },
      packagesBeforeSha256: '0'.repeat(64),
      packagesAfterSha256: '0'.repeat(64),
    },
  };
  return sealEnvelope({
    body: encodePlain('result', result),
    kind: 'result',
    agent: agent.id,
    sequence,
    signKey: agent.signKey,
    recipients: to,
  });
}
