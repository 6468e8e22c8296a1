// For tests and for looking at it: a relay of a branch office with hosts in every condition, some with hostile names.
import * as fs from 'node:fs';
import { utcSeconds } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { decodeDocument, encodeDocument, encodePlain } from '#manifests/schema';
import { generateBoxKey, openRecord, type SigningKeyPair, signRecord } from '#manifests/trust';
import { type RunningRelay, startRelay } from '../run.ts';
import { foldersOf, type RelaySettings, relaySettings } from '../settings.ts';
import { relayKeys } from '../site/index.ts';
import { groupTarget, leaseRequest } from './group.ts';
import { makeAgent, makePublisher } from './repository.ts';

export const HOSTILE = '<script>alert(1)</script>"\'&\u202ecod.exe';

export interface SampleSite {
  readonly relay: RunningRelay;
  readonly settings: RelaySettings;
  /** The relay was stopped and is started again without its upstream. */
  restart(): Promise<RunningRelay>;
}

/** @param folder does not exist yet */
export async function sampleSite(folder: string, now = Date.now()): Promise<SampleSite> {
  fs.mkdirSync(folder);
  const publisher = await makePublisher(`${folder}/publisher`);
  const agents = Array.from({ length: 7 }, () => makeAgent(publisher.collector));
  const names = [
    'till-01.mainz.example',
    'till-02.mainz.example',
    HOSTILE,
    'scale-07',
    'backoffice',
    'door-controller-with-a-very-long-name.mainz.branch.example',
    'kiosk',
  ];
  const acked = agents[0];
  const patches = [{ id: 'openssl@3.0.11', as: 'approved' as const, bytes: Buffer.alloc(70_000, 'x') }];
  const selector = {};
  const halt = (name: string, until: number | null) =>
    encodeDocument('halt', {
      schema: 'patchferry/halt',
      schemaVersion: 1,
      name,
      signedAt: utcSeconds(now - 3_600_000),
      scope: selector,
      patches: ['linux@*'],
      stops: ['install'],
      reason: `does not boot <b>${HOSTILE}</b>`,
      until: until === null ? null : utcSeconds(until),
    });
  const keys = await relayKeys(foldersOf({ stateDir: `${folder}/state`, cacheDir: `${folder}/cache` }), 'mainz');
  await publisher.publish({
    sites: Object.fromEntries(agents.map(({ id }) => [id, 'mainz'])),
    patches,
    agents,
    revoked: [makeAgent(publisher.collector)],
    titles: Object.fromEntries(agents.map(({ id }, index) => [id, names[index] ?? id])),
    policy: { ...carefulGroup(), ...delegationTo('mainz', keys.sign, now) },
    others: { 'halts/stop-kernel.json.zst': halt('stop-kernel', null), 'halts/over.json.zst': halt('over', now - 1_000) },
  });
  const settings = relaySettings.parse({
    listen: '127.0.0.1:0',
    upstream: [publisher.folder],
    upstreamRoot: publisher.root,
    site: 'mainz',
    inboxForward: [`${folder}/home`],
    stateDir: `${folder}/state`,
    cacheDir: `${folder}/cache`,
  });
  putRecords(`${folder}/state/records`, keys.sign, agents.at(-1)?.id ?? '', now);
  // Heard in days before: one host has been silent since.
  const ago = (hours: number) => utcSeconds(now - hours * 3_600_000);
  fs.writeFileSync(
    `${folder}/state/observed.json`,
    JSON.stringify({
      schema: 'patchferry/relay-observed',
      schemaVersion: 1,
      writtenAt: ago(1),
      agents: [
        { agent: agents[4]?.id, at: ago(100), sequence: 12 },
        { agent: agents[5]?.id, at: ago(5), sequence: 3 },
      ],
      days: [
        {
          day: ago(48).slice(0, 10),
          fetchedBytes: 12_345_678,
          sentBytes: 987_654_321,
          receivedBytes: 45_000,
          requests: 1_234,
          taken: 14,
          passedOn: 14,
        },
        {
          day: ago(24).slice(0, 10),
          fetchedBytes: 0,
          sentBytes: 54_321,
          receivedBytes: 9_000,
          requests: 1_100,
          taken: 5,
          passedOn: 5,
        },
      ],
    }),
  );
  const relay = await startRelay(settings, { log: silentLog });
  await relay.sync();
  const post = (path: string, body: Uint8Array, headers: Record<string, string> = {}) =>
    fetch(`${relay.url}${path}`, { method: 'POST', body: Uint8Array.from(body), headers });
  // The inbox folder is not there: these wait, but for those that went on while it was.
  fs.mkdirSync(`${folder}/home`);
  for (const sequence of [1, 2]) if (acked !== undefined) await post('/inbox/results', acked.result(sequence));
  const arrived = () =>
    fs.readdirSync(`${folder}/home`, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pfe'));
  while (arrived().length < 2) await relay.forward();
  await relay.forward(); // the one that brought them has ended, too
  fs.rmSync(`${folder}/home`, { recursive: true });
  for (const [index, agent] of agents.slice(0, 4).entries())
    for (let sequence = 3; sequence <= 3 + index; sequence += 1) await post('/inbox/results', agent.result(sequence));
  for (const agent of agents.slice(1, 3)) {
    const { body, headers } = leaseRequest(agent, '/v1/pre-reboot', now);
    await post('/v1/pre-reboot', body, headers);
  }
  let running = relay;
  return {
    relay,
    settings,
    async restart() {
      await running.stop();
      running = await startRelay({ ...settings, upstream: [] }, { log: silentLog });
      return running;
    },
  };
}

/** Two may reboot at once; a window each night; a rollout with a fuse. */
function carefulGroup(): Record<string, Uint8Array> {
  const path = 'policy/groups/all.json.zst';
  const plain = groupTarget('all', { slots: 2, minGapMinutes: 0, ttlMinutes: 45 })[path] ?? new Uint8Array();
  const anyTime = { groups: [], labels: {}, afterHours: 0, stepped: false, gate: null, maxConcurrency: null, hosts: null };
  return {
    [path]: encodeDocument('group', {
      ...decodeDocument('group', plain, path),
      baselines: [{ product: 'test-1', baseline: 'base' }],
      windows: [
        {
          name: 'night',
          days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
          start: '02:00',
          durationMinutes: 120,
          cutoffMinutes: 0,
          zone: 'UTC',
          validFrom: null,
          validUntil: null,
        },
      ],
      rollout: {
        name: 'careful',
        id: 'careful',
        canaries: 'same',
        rings: [{ name: 'one', ramp: [{ afterHours: 0, percent: 100 }], ...anyTime }],
        opened: [],
        halted: [],
        fuse: { withinHours: 24, minReports: 4, maxFailures: { hosts: 1 }, scope: 'group' },
      },
    }),
  };
}

function delegationTo(site: string, key: SigningKeyPair, now: number): Record<string, Uint8Array> {
  return {
    [`policy/sites/${site}.json.zst`]: encodeDocument('site-delegation', {
      schema: 'patchferry/site-delegation',
      schemaVersion: 1,
      signedAt: utcSeconds(now - 86_400_000),
      site,
      may: ['halt'],
      maxDelayDays: 0,
      minRingPercent: 0,
      hooks: [],
      keys: [key.publicKey],
      relays: [{ signKey: key.publicKey, boxKey: generateBoxKey().publicKey }],
      until: utcSeconds(now + 300 * 86_400_000),
    }),
  };
}

/** A halt that this relay signed, and a drop. */
function putRecords(folder: string, key: SigningKeyPair, agent: string, now: number): void {
  const put = (kind: 'halts' | 'gaps', body: Uint8Array) => {
    const record = signRecord(body, key);
    fs.mkdirSync(`${folder}/${kind}`, { recursive: true });
    fs.writeFileSync(`${folder}/${kind}/${openRecord(record).id}.pfr`, record);
  };
  const signedAt = utcSeconds(now - 2 * 86_400_000);
  put(
    'halts',
    encodePlain('site-halt', {
      schema: 'patchferry/site-halt',
      schemaVersion: 1,
      site: 'mainz',
      name: 'fuse-all',
      signedAt,
      groups: ['all'],
      stops: ['download', 'install'],
      reason: `2 of 7 hosts failed ${HOSTILE}`,
      until: null,
      fuse: { rollout: 'careful', reports: 7, failures: 2, failed: [] },
    }),
  );
  put(
    'gaps',
    encodePlain('relay-gap', {
      schema: 'patchferry/relay-gap',
      schemaVersion: 1,
      site: 'mainz',
      signedAt,
      agent,
      dropped: [
        { from: 3, to: 7 },
        { from: 9, to: 9 },
      ],
      results: 6,
      bytes: 24_576,
      why: 'quota',
    }),
  );
}
