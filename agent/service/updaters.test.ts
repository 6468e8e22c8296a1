// Taking over from the distribution's own updater and giving back, over recorded words of systemd.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { RunResult } from '#manifests/platform/process';
import { findUpdaters, races, switchBack, switchOff } from '../prechecks/index.ts';
import { type Journal, openJournal } from '../run/index.ts';
import { careForUpdaters, giveUpdatersBack, takenOver } from './updaters.ts';

// `systemctl show --property=Id --property=LoadState --property=UnitFileState --property=ActiveState -- …` on Debian 12
const PRINTED = `Id=apt-daily.timer
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=apt-daily-upgrade.timer
LoadState=masked
ActiveState=inactive
UnitFileState=masked

Id=dnf-automatic.timer
LoadState=not-found
ActiveState=inactive
UnitFileState=
`;

function result(stdout: string, code = 0): RunResult {
  return { code, signal: null, stdout, stderr: code === 0 ? '' : 'refused', timedOut: false, droppedBytes: 0, durationMs: 1 };
}

test('trap 24: what would race is told from what is off, masked, or not there', async () => {
  const units = await findUpdaters(async () => result(PRINTED));
  assert.deepEqual(
    units.map((one) => [one.unit, one.file, one.active, races(one)]),
    [
      ['apt-daily.timer', 'enabled', 'active', true],
      ['apt-daily-upgrade.timer', 'masked', 'inactive', false],
    ],
  );
  assert.deepEqual(await findUpdaters(async () => undefined), []);
});

describe('trap 24: the distribution’s own updater', () => {
  let folder: string;
  let journal: Journal;
  /** A small systemd: unit to file state and active state. */
  let units: Map<string, { file: string; active: string; vendor: string; stubborn?: boolean }>;
  let acts: string[];

  const ask = async (_command: string, args: readonly string[]): Promise<RunResult> => {
    const [verb = ''] = args;
    const unit = args.at(-1) ?? '';
    if (verb === 'show') {
      const blocks = [...units].map(
        ([id, { file, active }]) => `Id=${id}\nLoadState=loaded\nActiveState=${active}\nUnitFileState=${file}`,
      );
      return result(blocks.join('\n\n'));
    }
    acts.push(`${verb} ${unit}`);
    const one = units.get(unit);
    if (one === undefined || one.stubborn === true) return result('', 1);
    if (verb === 'stop') one.active = 'inactive';
    // as systemd does with a timer whose unit vanishes ("Unit to trigger vanished")
    if (verb === 'mask' && unit.endsWith('.timer') && one.active === 'active') one.active = 'failed';
    if (verb === 'mask') one.file = 'masked';
    if (verb === 'unmask') one.file = one.vendor;
    if (verb === 'enable') one.file = 'enabled';
    if (verb === 'start') one.active = 'active';
    return result('');
  };
  const hands = {
    find: () => findUpdaters(ask),
    switchOff: (unit: string) => switchOff(unit, ask),
    switchBack: (before: Parameters<typeof switchBack>[0]) => switchBack(before, ask),
  };
  const states = () => [...units].map(([unit, { file, active }]) => `${unit} ${file} ${active}`);

  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-updaters-'));
    journal = openJournal(join(folder, 'journal.sqlite'), { now: 0 });
    acts = [];
    units = new Map([
      ['apt-daily.timer', { file: 'enabled', active: 'active', vendor: 'enabled' }],
      ['apt-daily-upgrade.timer', { file: 'disabled', active: 'active', vendor: 'enabled' }],
      ['unattended-upgrades.service', { file: 'disabled', active: 'inactive', vendor: 'disabled' }],
    ]);
  });
  afterEach(() => {
    journal.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  test('left alone unless policy says so', async () => {
    assert.deepEqual(await careForUpdaters(journal, hands, 'leave'), { says: [], trouble: [] });
    assert.deepEqual(acts, []);
  });

  test('taken over once, what was off stays as it is; given back exactly as it was', async () => {
    const before = states();
    const { says, trouble } = await careForUpdaters(journal, hands, 'take-over');
    assert.deepEqual([says.length, trouble], [2, []]);
    assert.deepEqual(states(), [
      'apt-daily.timer masked inactive',
      'apt-daily-upgrade.timer masked inactive',
      'unattended-upgrades.service disabled inactive',
    ]);
    acts.length = 0;
    assert.deepEqual(await careForUpdaters(journal, hands, 'take-over'), { says: [], trouble: [] });
    assert.deepEqual(acts, []);
    // the vendor's preset would enable it, here somebody had disabled it: that comes back
    units.set('apt-daily-upgrade.timer', {
      ...units.get('apt-daily-upgrade.timer'),
      file: 'masked',
      active: 'inactive',
      vendor: 'disabled',
    });
    const back = await careForUpdaters(journal, hands, 'leave');
    assert.deepEqual([back.says.length, back.trouble], [2, []]);
    assert.deepEqual(states(), before);
    assert.deepEqual(takenOver(journal), []);
  });

  test('killed after it was written down and before anything was switched: the same again ends the same', async () => {
    const before = states();
    let first = true;
    const dying = {
      ...hands,
      switchOff: async (unit: string) => {
        if (first) throw new TypeError('killed');
        return hands.switchOff(unit);
      },
    };
    await assert.rejects(careForUpdaters(journal, dying, 'take-over'), /killed/);
    assert.equal(takenOver(journal).length, 2);
    assert.deepEqual(states(), before);
    first = false;
    assert.equal((await careForUpdaters(journal, dying, 'take-over')).says.length, 2);
    await careForUpdaters(journal, hands, 'leave');
    assert.equal(states()[0], before[0]);
  });

  test('switched on by somebody since: off again, and its first state is what comes back', async () => {
    await careForUpdaters(journal, hands, 'take-over');
    units.set('apt-daily.timer', { file: 'static', active: 'active', vendor: 'enabled' });
    assert.equal((await careForUpdaters(journal, hands, 'take-over')).says.length, 1);
    assert.equal(takenOver(journal)[0]?.file, 'enabled');
  });

  test('what cannot be switched is told each time and stays noted until it is given back', async () => {
    units.set('apt-daily.timer', { file: 'enabled', active: 'active', vendor: 'enabled', stubborn: true });
    const { trouble } = await careForUpdaters(journal, hands, 'take-over');
    assert.match(trouble.join(), /apt-daily\.timer is still enabled and active: refused/);
    assert.equal(takenOver(journal).length, 2);
  });

  test('a removed service gives back what its journal holds; without a journal there is nothing to do', async () => {
    assert.deepEqual(await giveUpdatersBack(join(folder, 'none.sqlite'), 0), { says: [], trouble: [] });
    units.set('apt-daily-upgrade.timer', { file: 'enabled', active: 'active', vendor: 'enabled' });
    const before = states();
    await careForUpdaters(journal, hands, 'take-over');
    assert.equal(takenOver(journal).length, 2);
    const slow = {
      async switchBack(one: Parameters<typeof switchBack>[0]) {
        await new Promise((resolve) => setImmediate(resolve)); // as a command of the host takes its time
        return switchBack(one, ask);
      },
    };
    const { says, trouble } = await giveUpdatersBack(join(folder, 'journal.sqlite'), 0, slow);
    assert.deepEqual([says.length, trouble], [2, []]);
    assert.deepEqual(states().toSorted(), before.toSorted());
    assert.deepEqual(takenOver(journal), []);
  });
});
