// Staging ahead of windows: which payloads, in which order, when; against a real signed repository.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { openPayloadStore } from '#manifests/repository';
import { decodeDocument, encodeDocument, type Group, type MaintenanceWindow, type ResolvedBaseline } from '#manifests/schema';
import { folderOrigin, type Origin } from '#manifests/transfer';
import { foldersOf } from '../settings.ts';
import { groupTarget } from '../testing/group.ts';
import { makeAgent, makePublisher, sha256, type TestPatch } from '../testing/repository.ts';
import { mirrorLayout, openPreStage, openPull, readStaging, syncMirror } from './index.ts';
import { openUsage } from './usage.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-stage-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));
let counter = 0;
const fresh = () => join(root, String((counter += 1)));
const patch = (id: string, size = 2_000): TestPatch => ({ id, as: 'approved', bytes: randomBytes(size) });
const hashOf = ({ bytes }: TestPatch) => sha256(bytes);

/** A Thursday, 06:00 UTC. */
const NOW = Date.parse('2026-01-01T06:00:00Z');
const window = (name: string, start: string): MaintenanceWindow => ({
  name,
  days: ['thu'],
  start,
  durationMinutes: 120,
  cutoffMinutes: 0,
  zone: 'host',
  validFrom: null,
  validUntil: null,
});

/** A group whose baseline approves these patches alone. */
function groupWith(name: string, start: string, patches: readonly TestPatch[]): Record<string, Uint8Array> {
  const path = `policy/groups/${name}.json.zst`;
  const plain = decodeDocument('group', groupTarget(name)[path] ?? new Uint8Array(), path);
  const group: Group = {
    ...plain,
    baselines: [{ product: 'test-1', baseline: name }],
    windows: [window(`${name}-window`, start)],
  };
  const baseline: ResolvedBaseline = {
    schema: 'patchferry/resolved-baseline',
    schemaVersion: 1,
    name,
    product: 'test-1',
    evaluatedAt: '2026-01-01T00:00:00Z',
    catalogSha256: '0'.repeat(64),
    approved: patches.map(({ id }) => ({
      patch: id,
      rule: 'all',
      reason: 'test',
      level: 'high',
      approvedAt: '2025-12-01T00:00:00Z',
      explicit: false,
    })),
    pending: [],
    rejected: [],
    baselineSha256: '0'.repeat(64),
    rejectedAction: 'block',
    availableSecurityUpdates: 'non-compliant',
  };
  return {
    [path]: encodeDocument('group', group),
    [`policy/baselines/${name}.json.zst`]: encodeDocument('resolved-baseline', baseline),
  };
}

/** An origin that notes in which order payloads were asked for. */
function noting(origin: Origin): { origin: Origin; asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    origin: {
      ...origin,
      download(path, ...rest) {
        asked.push(path.slice(-64));
        return origin.download(path, ...rest);
      },
    },
  };
}

async function scene() {
  const publisher = await makePublisher(fresh(), () => NOW);
  const agents = [makeAgent(publisher.collector), makeAgent(publisher.collector)] as const;
  const [early, late, never] = [patch('early@1'), patch('late@1'), patch('never@1')] as const;
  await publisher.publish({
    patches: [
      { ...never, as: 'neither' },
      { ...late, as: 'neither' },
      { ...early, as: 'neither' },
    ],
    agents: [...agents],
    policy: {
      ...groupWith('all', '22:00', [late]),
      ...groupWith('harbour', '08:00', [early]),
    },
  });
  const folders = foldersOf({ stateDir: join(fresh(), 'state'), cacheDir: join(fresh(), 'cache') });
  const { origin, asked } = noting(folderOrigin(publisher.folder));
  let now = NOW;
  const clock = { now: () => now, monotonic: () => now };
  const common = { clock, log: silentLog, signal: new AbortController().signal };
  const here = { site: undefined as string | undefined, heard: new Set<string>(), zone: 'UTC' };
  const sync = (payloads: 'approved' | 'on-demand') =>
    syncMirror({ ...folders, ...common, origins: [origin], pinnedRoot: publisher.root, payloads, here: () => here });
  return {
    folders,
    origin,
    asked,
    agents,
    here,
    sync,
    patches: { early, late, never },
    at: (moment: number) => {
      now = moment;
    },
    preStage: (more: { hours?: number; payloadsNow?: () => boolean; quotaBytes?: number } = {}) =>
      openPreStage({
        ...common,
        mirror: folders.mirror,
        file: folders.staging,
        origins: [origin],
        hours: 24,
        here: () => here,
        ...more,
      }),
    common,
    store: () => openPayloadStore(mirrorLayout(folders.mirror).payloads),
  };
}

test('a sync brings first what the window needs that opens first, and what nobody waits for last', async () => {
  const { sync, asked, patches } = await scene();
  await sync('approved');
  const order = asked.filter((hash) => [hashOf(patches.early), hashOf(patches.late)].includes(hash));
  assert.deepEqual(order, [hashOf(patches.early), hashOf(patches.late)]);
});

test('on demand, yet there before the window opens: packages hosts here ask for, of groups with hosts here, within the hours', async () => {
  const { sync, asked, patches, folders, here, agents, preStage, store, at } = await scene();
  await sync('on-demand');
  const usage = openUsage(mirrorLayout(folders.mirror), () => NOW);
  for (const name of ['early', 'late', 'never']) usage.note('0'.repeat(64), `test-1 ${name} all`);
  usage.save();
  asked.length = 0;
  const six = preStage({ hours: 6 });
  await six.look();
  assert.deepEqual(asked, [hashOf(patches.early)], 'the window at 22:00 is more than six hours away');
  assert.equal(readStaging(folders.staging)?.openings.length, 1);
  // Only hosts of group "all" are here: the harbour's window is nobody's.
  here.heard = new Set(agents.map(({ id }) => id));
  at(NOW + 12 * 3_600_000);
  const day = preStage();
  await day.look();
  assert.deepEqual(asked, [hashOf(patches.early), hashOf(patches.late)]);
  const told = readStaging(folders.staging);
  assert.deepEqual(
    told?.openings.map(({ group, window: name, opensAt, payloads, here: there }) => [group, name, opensAt, payloads, there]),
    [['all', 'all-window', '2026-01-01T22:00:00Z', 2, 2]],
    'the index and the payload',
  );
  assert.ok(day.pinned().has(hashOf(patches.late)));
  assert.ok(!store().has(hashOf(patches.never), 2_000));
  await day.look();
  assert.equal(asked.length, 2, 'nothing twice');
});

test('staging keeps to the hours of the line and to the quota, says so, and its payloads stay when room is made', async () => {
  const { sync, patches, folders, preStage, store, common, origin } = await scene();
  await sync('on-demand');
  const usage = openUsage(mirrorLayout(folders.mirror), () => NOW);
  for (const name of ['early', 'late']) usage.note('0'.repeat(64), `test-1 ${name} all`);
  usage.save();
  await preStage({ payloadsNow: () => false }).look();
  assert.match(readStaging(folders.staging)?.says ?? '', /signed documents alone/);
  assert.ok(!store().has(hashOf(patches.early), 2_000));
  const tight = preStage({ quotaBytes: 3_000 });
  await tight.look();
  assert.equal(readStaging(folders.staging)?.says, '1 beyond the quota');
  assert.deepEqual(
    [patches.early, patches.late].map((each) => store().has(hashOf(each), 2_000)),
    [true, false],
    'the earlier window has it',
  );
  const pull = openPull({
    ...common,
    mirror: folders.mirror,
    origins: [origin],
    quotaBytes: 1,
    pinned: () => tight.pinned(),
  });
  assert.equal(pull.makeRoom().payloads, 0);
  await pull.close();
  fs.writeFileSync(folders.staging, '{"schema"');
  assert.equal(readStaging(folders.staging), null, 'a torn file is none');
});
