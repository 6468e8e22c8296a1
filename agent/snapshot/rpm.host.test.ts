// A real RPM host updated by its own dnf and taken back, by snapshot and by copies: packages, files, capabilities and rpm's database as
// before, the same update again afterwards. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FerryLab, ferryItems, ferryVersions, inRoot, UPDATED } from '../../scripts/hosts/rpm/index.ts';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { packageSystems } from '../packages/index.ts';
import { differencesOf, killAllIn, writeDown } from '../packages/real-updates.ts';
import { waysBack } from './index.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const RUN = 'b2b7f0f2-run';
const { rpm } = packageSystems;
/** Shared memory of the databases, made anew by every question; the lock of a dnf that was killed, which the next one removes; and what a script wrote where no way back looks (README.md). */
const TOUCHED = /^\/var\/lib\/(?:rpm\/rpmdb\.sqlite-shm|dnf\/(?:history\.sqlite-shm|rpmdb_lock\.pid)|harbor-post-2)/;

describe('an RPM host taken back', { skip }, () => {
  let host: FerryLab;
  before(async () => {
    host = await FerryLab.open();
  });
  after(() => host?.close());

  for (const kind of ['btrfs', 'packages'] as const) {
    test(`${kind}: installed, taken back, installed again; killed in the middle and taken back`, async () => {
      const { root, context } = await host.tree();
      const way = waysBack.find((each) => each.kind === kind) ?? assert.fail();
      fs.writeFileSync(join(root, 'etc/harbor.conf'), 'of the administrator\n');
      const items = ferryItems(host.catalog, Object.values(UPDATED)).filter(({ name }) => !/^(?:reef|storm|keel-d)/.test(name));
      const plan = await rpm.plan(items, { newDependencies: 'allow', removals: 'allow' }, context);
      assert.equal(plan.refused, null);
      assert.ok(plan.removals.length === 1 && plan.newPackages.length === 1);
      const assessed = await way.assess([plan], context);
      assert.ok(assessed.possible, assessed.says);
      const before = { tree: await writeDown(root), versions: await ferryVersions(root) };
      const asBefore = async () => {
        assert.deepEqual(await ferryVersions(root), before.versions);
        assert.deepEqual(
          differencesOf(before.tree, await writeDown(root)).filter((row) => !TOUCHED.test(row)),
          [],
        );
        assert.match((await inRoot(root, 'getcap', '/usr/bin/ferry-raw')).stdout, /cap_net_raw=ep/);
        assert.deepEqual(await rpm.audit(context), []);
      };

      await way.take(RUN, [plan], context);
      const first = await rpm.install(plan, context);
      assert.ok(first.ok, `${first.says}\n${first.output}`);
      assert.notDeepEqual(await ferryVersions(root), before.versions);
      const back = await way.restore(RUN, [plan], context);
      assert.ok(back.ok, back.says);
      await asBefore();

      let killed = 0;
      const onProgress = (says: string) => {
        if (killed === 0 && says.startsWith('Cleanup')) killed = killAllIn(root);
      };
      assert.equal((await rpm.install(plan, { ...context, onProgress })).ok, false);
      assert.ok(killed > 0);
      const again = await way.restore(RUN, [plan], context);
      assert.ok(again.ok, again.says);
      await asBefore();

      const second = await rpm.install(plan, context);
      assert.ok(second.ok, `${second.says}\n${second.output}`);
      assert.deepEqual(await rpm.audit(context), []);
      await way.discard(RUN, context);
    });
  }
});
