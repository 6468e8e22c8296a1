// Which payloads the fleet needs as last known: of the patches that hosts lack, the packages they have and what those need.
import * as fs from 'node:fs';
import type { PayloadStore } from '#manifests/repository';
import type { Catalog, Patch, PatchState } from '#manifests/schema';
import { openFleet } from '../results/index.ts';
import { readDependencies } from '../sources/index.ts';

/** States of a patch on a host in which its payloads may be asked for. */
const LACKING: ReadonlySet<PatchState> = new Set(['MISSING', 'FAILED', 'ROLLED_BACK', 'HELD', 'PENDING_APPROVAL']);

/** `PRODUCT PATCH` -> names of packages that some host has and lacks in this version. None before the first collect. */
export function lackingPackages(storeFile: string): Map<string, Set<string>> {
  const lacking = new Map<string, Set<string>>();
  if (!fs.existsSync(storeFile)) return lacking;
  const fleet = openFleet(storeFile);
  try {
    const agents = new Set<string>();
    for (const { agent, state } of fleet.openFindings()) if (LACKING.has(state)) agents.add(agent);
    for (const agent of agents) {
      for (const { product, patch, state, packages } of fleet.detail(agent).scan?.result.body.findings ?? []) {
        if (!LACKING.has(state)) continue;
        const key = `${product} ${patch}`;
        const names = lacking.get(key) ?? new Set();
        for (const { name } of packages) names.add(name);
        lacking.set(key, names);
      }
    }
  } finally {
    fleet.close();
  }
  return lacking;
}

/**
 * The patches cut down to the packages that are needed: those hosts lack, and what these depend on inside the same patch (a
 * kernel's metapackage needs the image of its version, which no host has yet). A patch of which no package is named stays whole.
 */
export async function onlyLacking(
  catalog: Catalog,
  patches: readonly Patch[],
  lacking: ReadonlyMap<string, ReadonlySet<string>>,
  payloads: PayloadStore,
): Promise<Patch[]> {
  const wanted = patches.filter(({ id }) => lacking.has(`${catalog.product} ${id}`));
  const needs = new Map<string, readonly string[]>();
  if (wanted.length > 0) {
    for (const repository of catalog.repositories) {
      for (const [key, names] of await readDependencies(repository, payloads)) needs.set(key, names);
    }
  }
  return wanted.map((patch) => {
    const start = lacking.get(`${catalog.product} ${patch.id}`) ?? new Set();
    if (start.size === 0) return patch;
    const taken = new Set<string>();
    const queue = [...start];
    for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
      if (taken.has(name)) continue;
      taken.add(name);
      for (const { version } of patch.packages.filter((one) => one.name === name))
        queue.push(...(needs.get(`${name} ${version}`) ?? []));
    }
    return { ...patch, packages: patch.packages.filter(({ name }) => taken.has(name)) };
  });
}
