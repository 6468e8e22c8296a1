// Made-up agents, results and stores for the tests of this folder and of report. Not used by the product.
import { randomUUID } from 'node:crypto';
import { utcSeconds } from '#manifests/platform/clock';
import {
  encodePlain,
  type Inventory,
  PATCH_STATES,
  type PackageChange,
  type PatchFinding,
  type PatchState,
  type Result,
  type Roster,
  type RunBody,
  sha256Of,
} from '#manifests/schema';
import type { Arrival } from './store.ts';

export const NOW = Date.parse('2026-03-02T12:00:00Z');
export const DAY_MS = 86_400_000;

type Source = Pick<Result, 'agent' | 'boot' | 'sequence' | 'previous' | 'trustedTime' | 'wallTime'>;

export function source(agent: string, sequence: number, previous: string | null, at: number, boot = 'boot-1'): Source {
  return { agent, boot, sequence, previous, trustedTime: utcSeconds(at), wallTime: utcSeconds(at) };
}

export function sampleInventory(over: Partial<Inventory> = {}): Inventory {
  return {
    schema: 'patchferry/inventory',
    schemaVersion: 1,
    takenAt: utcSeconds(NOW),
    hostname: 'web-01',
    product: 'debian-12',
    arch: 'amd64',
    bootId: 'boot-1',
    kernels: { running: '6.1.0-13-amd64', installed: ['6.1.0-13-amd64'] },
    zone: 'Europe/Berlin',
    labels: {},
    facts: {},
    packages: [],
    components: {},
    freeBytes: {},
    ...over,
  };
}

export function finding(patch: string, state: PatchState, over: Partial<PatchFinding> = {}): PatchFinding {
  const compliant = [
    'INSTALLED',
    'INSTALLED_OTHER',
    'NOT_APPLICABLE',
    'PENDING_APPROVAL',
    'AVAILABLE_SECURITY_UPDATE',
  ].includes(state);
  const name = patch.split('@')[0] ?? patch;
  const to = patch.split('@')[1] ?? '1';
  const packages: PackageChange[] = [{ name, arch: 'amd64', from: state === 'INSTALLED' ? to : '0.9', to }];
  return { patch, product: 'debian-12', state, compliant, level: 'high', packages, reasons: [], changesAt: null, ...over };
}

export function scan(
  from: Source,
  findings: readonly PatchFinding[],
  over: { inventory?: Inventory | null; inventorySha256?: string } = {},
): Result {
  const inventory = over.inventory === undefined ? sampleInventory() : over.inventory;
  const counts = Object.fromEntries(PATCH_STATES.map((state) => [state, findings.filter((f) => f.state === state).length]));
  return {
    schema: 'patchferry/result',
    schemaVersion: 1,
    ...from,
    kind: 'scan',
    body: {
      inventory,
      evidence: {
        inventorySha256:
          over.inventorySha256 ?? (inventory === null ? sha256Of('unknown') : sha256Of(encodePlain('inventory', inventory))),
        timestampVersion: 4,
        snapshotVersion: 4,
        baselines: [{ name: 'security', product: 'debian-12', sha256: sha256Of('baseline') }],
        group: 'servers',
        softExpired: false,
        hardExpired: false,
      },
      findings: [...findings],
      counts: counts as Record<PatchState, number>,
      next: { action: 'wait', says: 'waits for window nightly', at: utcSeconds(NOW + DAY_MS) },
    },
  };
}

export function run(from: Source, over: Partial<RunBody> = {}): Result {
  const at = from.trustedTime;
  return {
    schema: 'patchferry/result',
    schemaVersion: 1,
    ...from,
    kind: 'run',
    body: {
      run: randomUUID(),
      started: at,
      finished: at,
      outcome: 'committed',
      error: null,
      patches: ['openssl@3.0.15-1'],
      states: [
        { state: 'Stage', at, says: 'payloads are here' },
        { state: 'Install', at, says: 'apt finished' },
        { state: 'Commit', at, says: 'healthy' },
      ],
      wayBack: { kind: 'packages', id: 'run-1', says: 'earlier packages kept' },
      health: [{ name: 'http', healthy: true, says: 'answers' }],
      changes: [{ name: 'openssl', arch: 'amd64', from: '3.0.11-1', to: '3.0.15-1' }],
      kernelsBefore: { running: '6.1.0-13-amd64', installed: ['6.1.0-13-amd64'] },
      kernelsAfter: { running: '6.1.0-13-amd64', installed: ['6.1.0-13-amd64', '6.1.0-32-amd64'] },
      resumed: 0,
      rebootNeeded: { needed: true, evidence: ['a newer kernel is installed than the one that runs'] },
      packagesBeforeSha256: sha256Of('before'),
      packagesAfterSha256: sha256Of('after'),
      ...over,
    },
  };
}

export function alert(from: Source, code = 'agent.reverted', message = 'something happened'): Result {
  return { schema: 'patchferry/result', schemaVersion: 1, ...from, kind: 'alert', body: { code, message, where: null } };
}

/** A result as if its envelope had been opened; the envelope's bytes stand in for the sealed ones. */
export function arrivalOf(result: Result, seal = ''): Arrival {
  const plain = encodePlain('result', result);
  const bytes = Buffer.from(`envelope${seal}:${sha256Of(plain)}`);
  return { hash: sha256Of(bytes), bytes, plain, result };
}

/** Links results into a chain: each names the envelope before it. */
export function chainOf(
  agent: string,
  makers: ReadonlyArray<(from: Source) => Result>,
  start = { sequence: 1, previous: null as string | null, at: NOW - DAY_MS },
): Arrival[] {
  const arrivals: Arrival[] = [];
  let { sequence, previous } = start;
  for (const make of makers) {
    const arrival = arrivalOf(make(source(agent, sequence, previous, start.at + arrivals.length * 60_000)));
    arrivals.push(arrival);
    previous = arrival.hash;
    sequence += 1;
  }
  return arrivals;
}

export function rosterOf(
  agents: ReadonlyArray<{ id: string; title: string; status?: 'approved' | 'revoked'; signKey?: string; boxKey?: string }>,
  recipient = 'a'.repeat(64),
): Roster {
  return {
    schema: 'patchferry/roster',
    schemaVersion: 1,
    signedAt: utcSeconds(NOW),
    recipients: [{ name: 'publisher', boxKey: recipient }],
    agents: agents.map(({ id, title, status, signKey, boxKey }) => ({
      id,
      title,
      group: 'servers',
      labels: {},
      signKey: signKey ?? sha256Of(`sign ${id}`),
      boxKey: boxKey ?? sha256Of(`box ${id}`),
      status: status ?? 'approved',
      since: utcSeconds(NOW - 30 * DAY_MS),
    })),
  };
}

/** A made-up agent id. */
export const agentNamed = (text: string): string => sha256Of(text).slice(0, 32);
