// Clones and copied disks: a machine notices that it is not the one of before, and does what the group says.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Group } from '#manifests/schema';
import { readKeys } from '../outbox/index.ts';
import { makeHost, type TestHost } from './testing/host.ts';
import { memberOf, openAll } from './testing/publisher.ts';

describe('trap 13: a cloned machine', () => {
  let host: TestHost;
  let version = 0;
  before(async () => {
    host = await makeHost();
    await host.enrol();
  });
  after(() => host.remove());

  /** Another disk would now be in the hardware that the journal does not know. */
  const putElsewhere = () => {
    using journal = host.journal();
    journal.setMeta('machine', JSON.stringify({ hardware: '0'.repeat(64), system: '0'.repeat(64) }));
  };
  const offer = async (group: Partial<Group>) => {
    version += 1;
    await host.publish({ releases: [{ version: `${version}.0.0`, content: `content ${version}` }], group });
    return `content ${version}`;
  };
  const alerts = () =>
    openAll(host.relay.results, host.publisher).flatMap(({ result }) => (result.kind === 'alert' ? [result.body.code] : []));

  test('report, which is the default: told once, and everything goes on', async () => {
    await host.agent(['once']);
    assert.deepEqual(alerts(), [], 'the first machine is the one');
    putElsewhere();
    const content = await offer({});
    const ran = await host.agent(['once']);
    assert.match(ran.out, /this is another machine .* goes on as policy says/);
    assert.equal(host.tool(), content);
    await host.agent(['once']);
    assert.deepEqual(alerts(), ['agent.copied']);
  });

  test('stop: nothing is installed until a person says that this machine is the one', async () => {
    await host.publish({ releases: [], group: { clones: 'stop' } });
    await host.agent(['once']);
    putElsewhere();
    const before = host.tool();
    const content = await offer({ clones: 'stop' });
    for (let poll = 0; poll < 2; poll += 1) {
      const ran = await host.agent(['once']);
      assert.equal(ran.code, 4, ran.out + ran.err);
      assert.match(ran.out, /nothing is installed until a person has looked/);
      assert.equal(host.tool(), before);
    }
    const settled = await host.agent(['once', '--retry']);
    assert.equal(settled.code, 0, settled.out + settled.err);
    assert.equal(host.tool(), content);
  });

  test('re-enrol: the copy makes keys of its own, asks by name, and tells nothing under the shared identity any more', async () => {
    await host.publish({ releases: [], group: { clones: 're-enrol' } });
    await host.agent(['once']);
    const shared = await readKeys(join(host.stateDir, 'keys'));
    putElsewhere();
    const left = await host.agent(['once']);
    assert.equal(left.code, 4, left.out + left.err);
    assert.match(left.out, /identity of its own/);
    const told = host.relay.results.length;
    const asks = await host.agent(['once']);
    const own = await readKeys(join(host.stateDir, 'keys'));
    assert.ok(own !== undefined && shared !== undefined && own.id !== shared.id);
    assert.match(asks.out, new RegExp(`agent ${own.id} .*copy of ${shared.id.slice(0, 8)}.* asks to be enrolled`));
    assert.equal(host.relay.results.length, told, 'nothing was told under either name');
    assert.ok(fs.existsSync(join(host.stateDir, `identity-${shared.id.slice(0, 16)}`, 'keys', 'sign.key')));
    assert.equal((await host.agent(['once'])).code, 4, 'it waits for approval, and asks no second time');

    const members = [memberOf({ id: own.id, signKey: own.sign.publicKey, boxKey: own.box.publicKey })];
    await host.publish({ members, releases: [{ version: '99.0.0', content: 'of its own' }] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'of its own');
    const results = openAll(host.relay.results, host.publisher).filter(({ result }) => result.agent === own.id);
    assert.deepEqual(
      results.map(({ result }) => result.sequence),
      results.map((_, index) => index + 1),
    );
    assert.ok(results.some(({ result }) => result.kind === 'run'));
  });
});
