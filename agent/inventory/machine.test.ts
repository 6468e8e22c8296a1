// Which machine this is, by files as Linux has them.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { isSameMachine, readMachine } from './machine.ts';

const UUID = 'sys/class/dmi/id/product_uuid';
const ID = 'etc/machine-id';

function machine(files: Readonly<Record<string, string>>) {
  const root = fs.mkdtempSync(join(tmpdir(), 'patchferry-machine-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      fs.mkdirSync(join(root, dirname(path)), { recursive: true });
      fs.writeFileSync(join(root, path), text);
    }
    return readMachine(root);
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}
const card = (name: string, address: string) => ({
  [`sys/class/net/${name}/address`]: address,
  [`sys/class/net/${name}/device/vendor`]: '',
});

test('one machine or two', () => {
  const first = { [UUID]: '4C4C4544-0042-3510-8056-B4C04F4B4E32\n', [ID]: 'a'.repeat(32) };
  const other = { ...first, [UUID]: '4C4C4544-0042-3510-8056-B4C04F4B4E33\n' };
  const nameless = { [ID]: first[ID] };
  for (const [before, now, same, why] of [
    [first, first, true, 'the same'],
    [first, other, false, 'a copied disk in other hardware'],
    [first, { ...first, [ID]: 'b'.repeat(32) }, true, 'set up anew on the same hardware'],
    [first, nameless, true, 'another kernel that tells nothing of the hardware'],
    [nameless, { [ID]: 'c'.repeat(32) }, false, 'only the ids are known, and differ'],
    [{}, nameless, true, 'nobody can tell'],
    [{ ...nameless, [UUID]: '00000000-0000-0000-0000-000000000000' }, nameless, true, 'a UUID that means nothing'],
    [card('eth0', '02:00:00:00:00:01'), card('eth0', '02:00:00:00:00:02'), false, 'other network hardware'],
    [card('eth0', '02:00:00:00:00:01'), card('ens3', '02:00:00:00:00:01'), true, 'the same card under another name'],
  ] as const) {
    assert.equal(isSameMachine(machine(before), machine(now)), same, why);
  }
});

test('nothing of it can be read back', () => {
  const { hardware, system } = machine({ [UUID]: '4c4c4544-0042-3510-8056-b4c04f4b4e32', [ID]: 'a'.repeat(32) });
  assert.match(`${hardware} ${system}`, /^[0-9a-f]{64} [0-9a-f]{64}$/);
});
