// Debian's own update timers on a real host with systemd: taken over, not brought back by their package, given back as they were.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Lab, type TestHost } from '../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { findUpdaters, races, switchBack, switchOff } from '../prechecks/index.ts';
import { openJournal } from '../run/index.ts';
import { careForUpdaters, takenOver } from './updaters.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

describe('trap 24: unattended updates of a real Debian', { skip }, () => {
  let lab: Lab;
  let host: TestHost;
  before(async () => {
    lab = await Lab.open();
    host = await lab.host('updaters');
    await host.boot();
  });
  after(() => lab?.close());

  test('timers are found, switched off for good, and come back as they were', async () => {
    const ask = (command: string, args: readonly string[], timeoutMs: number) => host.exec([command, ...args], { timeoutMs });
    const hands = {
      find: () => findUpdaters(ask),
      switchOff: (unit: string) => switchOff(unit, ask),
      switchBack: (one: Parameters<typeof switchBack>[0]) => switchBack(one, ask),
    };
    const found = await hands.find();
    assert.deepEqual(
      found.filter(races).map(({ unit }) => unit),
      ['apt-daily.timer', 'apt-daily-upgrade.timer'],
    );
    await host.must(['systemctl', 'disable', '--quiet', 'apt-daily.timer']); // its owner: not at the next boot
    const before = await hands.find();
    using journal = openJournal(join(lab.folder, 'journal.sqlite'), { now: 0 });
    const { says, trouble } = await careForUpdaters(journal, hands, 'take-over');
    assert.deepEqual([says.length, trouble], [2, []]);
    assert.deepEqual((await hands.find()).filter(races), []);
    const failed = await host.must(['systemctl', 'list-units', '--failed', '--no-legend', '--plain', 'apt-daily*']);
    assert.equal(failed, '', 'switched off is not failed');
    // what an upgrade of their package does (its postinst)
    await host.exec(['deb-systemd-helper', 'enable', 'apt-daily-upgrade.timer']);
    await host.exec(['systemctl', 'start', 'apt-daily-upgrade.timer']);
    assert.deepEqual((await hands.find()).filter(races), []);
    assert.equal(takenOver(journal).length, 2);
    const back = await careForUpdaters(journal, hands, 'leave');
    assert.deepEqual([back.says.length, back.trouble], [2, []]);
    assert.deepEqual(await hands.find(), before);
  });
});
