import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Prechecks } from '#manifests/schema';
import type { HostLook } from './check.ts';
import { checkKernel, checkLoad, checkPower, checkReboot, checkRoom, onBattery } from './machine.ts';

const laptop = { type: 'Battery', scope: '', online: '', status: 'Discharging', capacity: '71' };
const mains = { type: 'Mains', scope: '', online: '1', status: '', capacity: '' };
const mouse = { type: 'Battery', scope: 'Device', online: '', status: 'Discharging', capacity: '5' };

describe('the machine', () => {
  let root: string;
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'patchferry-machine-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));
  const look = (policy: Prechecks = {}, more: Partial<HostLook> = {}): HostLook => ({
    policy,
    inventory: { kernels: { running: '6.1.0-18-amd64', installed: ['6.1.0-18-amd64'] }, product: 'debian-12' },
    clock: 'ok',
    line: { metered: false, says: '' },
    rebootEvidence: [],
    workFolder: root,
    environment: {},
    root,
    ...more,
  });
  const supply = (name: string, fields: Record<string, string>) => {
    const folder = join(root, 'sys/class/power_supply', name);
    fs.mkdirSync(folder, { recursive: true });
    for (const [field, value] of Object.entries(fields)) fs.writeFileSync(join(folder, field), `${value}\n`);
  };

  test('a host is on battery when a battery of its own discharges and no mains is on', () => {
    assert.deepEqual(onBattery([]), { on: false, percent: null });
    assert.deepEqual(onBattery([mains]), { on: false, percent: null });
    assert.deepEqual(onBattery([laptop]), { on: true, percent: 71 });
    assert.deepEqual(onBattery([laptop, { ...mains, online: '0' }]), { on: true, percent: 71 });
    assert.deepEqual(onBattery([laptop, mains]), { on: false, percent: 71 });
    assert.deepEqual(onBattery([mouse]), { on: false, percent: null });
    assert.deepEqual(onBattery([laptop, { ...laptop, capacity: '9' }]), { on: true, percent: 9 });
  });

  test('on battery: told, or waited for, or fine with enough charge', () => {
    supply('BAT0', { type: 'Battery', status: 'Discharging', capacity: '60' });
    supply('AC', { type: 'Mains', online: '0' });
    assert.deepEqual(checkPower(look()), {
      name: 'power',
      ok: false,
      blocks: false,
      says: 'runs on battery, 60 % left',
      retryLater: true,
    });
    assert.equal(checkPower(look({ battery: 'refuse' })).blocks, true);
    assert.equal(checkPower(look({ battery: 'refuse', batteryPercent: 61 })).ok, false);
    assert.equal(checkPower(look({ battery: 'refuse', batteryPercent: 60 })).ok, true);
    supply('AC', { type: 'Mains', online: '1' });
    assert.equal(checkPower(look({ battery: 'refuse' })).ok, true);
  });

  test('load is by processor, and only a limit makes it wait', () => {
    assert.equal(checkLoad(look(), 100, 2).ok, true);
    const busy = checkLoad(look({ loadPerProcessor: 1.5 }), 4, 2);
    assert.deepEqual([busy.ok, busy.blocks, busy.retryLater], [false, true, true]);
    assert.match(busy.says, /2\.00 for each of 2/);
    assert.equal(checkLoad(look({ loadPerProcessor: 1.5 }), 3, 2).ok, true);
  });

  test('a running kernel whose modules are gone, and a reboot that is due', () => {
    assert.deepEqual([checkKernel(look()).ok, checkKernel(look()).blocks], [false, false]);
    assert.equal(checkKernel(look({ runningKernel: 'refuse' })).blocks, true);
    fs.mkdirSync(join(root, 'usr/lib/modules/6.1.0-18-amd64'), { recursive: true });
    assert.equal(checkKernel(look()).ok, true);
    const container = { inventory: { kernels: { running: '5.0-machine', installed: [] }, product: null } };
    assert.equal(checkKernel(look({}, container)).ok, true, 'a container has no kernel of its own');
    const due = checkReboot(look({ pendingReboot: 'refuse' }, { rebootEvidence: ['kernel 1 runs, 2 is installed'] }));
    assert.deepEqual([due.ok, due.blocks, due.says], [false, true, 'kernel 1 runs, 2 is installed']);
    assert.equal(checkReboot(look({ pendingReboot: 'refuse' })).ok, true);
  });

  test('each mount is looked at once, folders that are not there are none', () => {
    const [room, ...others] = checkRoom(look());
    assert.deepEqual(others, []);
    assert.equal(room?.ok, true);
    assert.equal(room?.blocks, true);
    assert.match(room?.says ?? '', /free, 16/);
  });
});
