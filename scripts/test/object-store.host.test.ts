// A repository in a real object store (OpenStack Swift with its S3 interface): a relay keeps in step with it by plain HTTP, a host
// reads it there itself, and of two publishers who upload at the same time the older does not take the newer one's place.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type TryOut, tryOut } from '../../publisher/cli/try-out.ts';
import { type ObjectStore, startSwift } from '../../publisher/upload/testing/swift.ts';
import type { RunningRelay } from '../../relay/run.ts';
import { ensureDebianPackages } from '../setup/debian.ts';
import { type Branch, type BranchHost, type BranchRelay, openBranch } from './branch.ts';

const skip = (await ensureDebianPackages(['store'])) ?? false;

describe('a repository in an object store', { skip }, () => {
  let branch: Branch;
  let swift: ObjectStore;
  let bucket: string;
  let relay: BranchRelay;
  let running: RunningRelay;
  let host: BranchHost;
  const upload = (publisher: TryOut = branch.publisher) =>
    publisher.run(
      'upload',
      's3://updates/fleet',
      '--endpoint',
      swift.endpoint,
      '--credentials',
      join(branch.folder, 'credentials'),
    );
  const bring = async () => {
    const ended = await upload();
    assert.ok(ended.exit === 0 || ended.exit === 3, ended.err);
  };
  const timestampThere = async (): Promise<number> => {
    const told = (await (await fetch(`${bucket}/metadata/timestamp.json`)).json()) as { signed: { version: number } };
    return told.signed.version;
  };

  before(async () => {
    branch = await openBranch();
    swift = await startSwift(join(branch.folder, 'swift'));
    bucket = `${await swift.makeBucket('updates')}/fleet`;
    const { accessKeyId, secretAccessKey } = swift.credentials;
    const lines = `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
    fs.writeFileSync(join(branch.folder, 'credentials'), lines, { mode: 0o600 });
    await bring();
    relay = branch.relay('relay', { upstream: [bucket], inboxForward: [branch.inbox] });
    running = await relay.start();
    host = branch.host('kiosk');
  });
  after(async () => {
    swift.stop();
    await branch.close();
  });

  test('a relay syncs from the bucket; a host of it enrols, installs, and its results go by the relay', async () => {
    const synced = await running.sync();
    assert.equal(synced?.changed, true);
    assert.equal((await running.sync())?.changed, false, 'and is in step');
    host.settings({ relays: [bucket, running.url] });
    const enrolled = await host.enrol(running.url);
    assert.equal(enrolled.exit, 0, enrolled.out + enrolled.err);
    await running.forward();
    await branch.approve();
    await bring();
    assert.equal((await relay.run('sync')).exit, 0);
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /1\.0\.0/);
    await running.forward();
    assert.ok(((await branch.publisher.json('collect')) as { stored: number }).stored > 0, 'results came home');
  });

  test('a new release: the relay sees it in the bucket; where the bucket is not there the host goes on at the relay', async () => {
    await branch.release('2.0.0');
    assert.equal((await host.agent('once')).exit, 3, 'nothing new before the upload');
    await bring();
    assert.equal((await relay.run('sync')).exit, 0);
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /2\.0\.0/);
    await branch.release('3.0.0');
    await bring();
    assert.equal((await relay.run('sync')).exit, 0);
    host.settings({ relays: [`${swift.endpoint}/v1/AUTH_test/gone`, running.url] });
    const other = await host.agent('once');
    assert.equal(other.exit, 0, other.out + other.err);
    assert.match(host.tool() ?? '', /3\.0\.0/);
  });

  test('no relay at all: the host reads the bucket itself and installs; its results wait for a relay that takes them', async () => {
    await running.stop();
    await branch.release('4.0.0');
    await bring();
    host.settings({ relays: [bucket] });
    const ran = await host.agent('once');
    assert.match(host.tool() ?? '', /4\.0\.0/, ran.out + ran.err);
    const { relayUse, outbox } = JSON.parse((await host.agent('status', '--json')).out) as {
      relayUse: { relays: { relay: string; takesResults: boolean }[] };
      outbox: { unsent: number };
    };
    assert.deepEqual(
      relayUse.relays.filter(({ takesResults }) => !takesResults).map(({ relay: name }) => name),
      [bucket],
      'a bucket takes none, which is noticed once',
    );
    assert.ok(outbox.unsent > 0);
    running = await relay.start();
    host.settings({ relays: [bucket, running.url] });
    await host.agent('once');
    await running.forward();
    assert.ok(((await branch.publisher.json('collect')) as { stored: number }).stored > 0, 'and go with the next one');
  });

  test('two publishers upload at the same time: the newer timestamp stays, whoever is faster', async () => {
    for (const olderFirst of [true, false]) {
      await branch.must('publish', '--payloads', 'approved', '--refresh');
      const copy = join(branch.folder, `second-${olderFirst}`);
      fs.cpSync(branch.publisher.home, join(copy, 'home'), { recursive: true });
      const second = tryOut({ folder: copy });
      assert.equal((await second.run('publish', '--payloads', 'approved', '--refresh')).exit, 0);
      const order = olderFirst ? [branch.publisher, second] : [second, branch.publisher];
      const ends = await Promise.all(order.map((publisher) => upload(publisher)));
      const [older, newer] = olderFirst ? ends : [ends[1], ends[0]];
      assert.ok(older !== undefined && newer !== undefined);
      assert.equal(newer.exit, 0, newer.err);
      assert.ok(older.exit === 0 || (older.exit === 5 && older.err.includes('upload.older')), older.err);
      const { signed } = JSON.parse(fs.readFileSync(join(second.repository, 'metadata/timestamp.json'), 'utf8')) as {
        signed: { version: number };
      };
      assert.equal(await timestampThere(), signed.version);
      assert.equal((await upload()).exit, 5, 'and an older one is refused afterwards');
      // The first home has to catch up before it publishes again.
      fs.rmSync(branch.publisher.home, { recursive: true });
      fs.cpSync(second.home, branch.publisher.home, { recursive: true });
    }
  });
});
