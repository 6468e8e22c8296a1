// What the vendor says of reboots counts for the run that installed it, once, and for no other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Catalog, Inventory } from '#manifests/schema';
import { rebootNeed } from './need.ts';
import type { RunWorld } from './world.ts';

const patch = (id: string, rebootSuggested?: boolean) => ({ id, rebootSuggested, advisories: [`A-${id}`] });
const catalog = { patches: [patch('glibc@2', true), patch('bash@5')] } as unknown as Catalog;
const world = {
  hands: { rebootEvidence: () => [], staleUses: () => [] },
  catalogs: (documents: readonly string[]) => (documents.length === 0 ? [] : [catalog]),
} as unknown as RunWorld;
const need = (patches: string[], more: { rebooted?: boolean; installed?: 'rpm'[]; catalogs?: string[] } = {}) =>
  rebootNeed(
    { world, data: { group: null, rebooted: false, installed: ['rpm'], catalogs: ['sum'], patches, ...more } },
    {} as Inventory,
  );

test('a suggested reboot is needed until it was made, and only by a run that installed the patch', () => {
  assert.deepEqual(need(['glibc@2', 'bash@5']), {
    needed: true,
    evidence: ['the vendor suggests a reboot after glibc@2, A-glibc@2'],
  });
  for (const other of [need(['bash@5']), need(['glibc@2'], { rebooted: true }), need(['glibc@2'], { installed: [] })])
    assert.deepEqual(other, { needed: false, evidence: [] });
});
