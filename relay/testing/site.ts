// For tests and for looking at it: a relay of a branch office with hosts in every condition, some with hostile names.
import * as fs from 'node:fs';
import { utcSeconds } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { encodeDocument } from '#manifests/schema';
import { type RunningRelay, startRelay } from '../run.ts';
import { type RelaySettings, relaySettings } from '../settings.ts';
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
  await publisher.publish({
    patches,
    agents,
    revoked: [makeAgent(publisher.collector)],
    titles: Object.fromEntries(agents.map(({ id }, index) => [id, names[index] ?? id])),
    policy: groupTarget('all', { slots: 2, minGapMinutes: 0, ttlMinutes: 45 }),
    others: { 'halts/stop-kernel.json.zst': halt('stop-kernel', null), 'halts/over.json.zst': halt('over', now - 1_000) },
  });
  const settings = relaySettings.parse({
    listen: '127.0.0.1:0',
    upstream: [publisher.folder],
    upstreamRoot: publisher.root,
    inboxForward: [`${folder}/home`],
    stateDir: `${folder}/state`,
    cacheDir: `${folder}/cache`,
  });
  fs.mkdirSync(`${folder}/state`);
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
  while ((await relay.forward()).delivered === 0 && fs.readdirSync(`${folder}/home`).length === 0);
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
