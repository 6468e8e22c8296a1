// Groups as they are signed: what nobody wrote is left out, and what was half written is filled up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeDocument, encodeDocument, readAuthored } from '#manifests/schema';
import { signedGroup } from './sign.ts';

function signed(lease: string) {
  const text = `apiVersion: patchferry/v1\nkind: PatchGroup\nmetadata: { name: tills }\nspec:\n  baselines: [b]\n${lease}`;
  const { documents, problems } = readAuthored(text, 'groups.yaml');
  const [group] = documents;
  if (group?.kind !== 'PatchGroup') return { problems, rebootLease: undefined, back: undefined };
  const parts = { productOf: () => 'debian-12', windowOf: () => undefined };
  const bytes = encodeDocument('group', signedGroup(group, parts, 0));
  const { rebootLease, wayBack, rollback } = decodeDocument('group', bytes, 'group');
  return { problems, rebootLease, back: [wayBack, rollback ?? null] };
}

test('reboot leases: left out, filled up, and refused where they make no sense', () => {
  assert.deepEqual(signed('').problems, []);
  assert.equal(signed('').rebootLease, undefined);
  assert.deepEqual(signed('  rebootLease: {}\n').rebootLease, { slots: 1, minGapMinutes: 0, ttlMinutes: 60 });
  assert.deepEqual(signed('  rebootLease: { slots: 3, minGapMinutes: 10 }\n').rebootLease, {
    slots: 3,
    minGapMinutes: 10,
    ttlMinutes: 60,
  });
  assert.equal(signed('  rebootLease: { proceedAfterHours: 12 }\n').rebootLease?.proceedAfterHours, 12);
  for (const wrong of ['slots: 0', 'ttlMinutes: 0', 'minGapMinutes: -1', 'slots: 1.5']) {
    const [problem] = signed(`  rebootLease: { ${wrong} }\n`).problems;
    assert.equal(problem?.line, 6, wrong);
  }
  assert.match(signed('  rebootLease: { slot: 2 }\n').problems[0]?.says ?? '', /did you mean "slots"/);
});

test('ways back: one is demanded, preferred or not wanted; in place unless the whole root is asked for', () => {
  assert.deepEqual(signed('').back, ['required', null]);
  assert.deepEqual(signed('  wayBack: none\n  rollback: in-place\n').back, ['none', null]);
  assert.deepEqual(signed('  wayBack: preferred\n  rollback: whole-root\n').back, ['preferred', 'whole-root']);
  assert.match(signed('  rollback: whole\n').problems[0]?.says ?? '', /whole-root/);
  assert.match(signed('  wayBack: never\n').problems[0]?.says ?? '', /none/);
});
