// What the hosts of a site are known to lack, reckoned here from their last inventories (of the enrolment, before the first scan)
// and today's catalogs and policy: so that it travels with the next stick, without a missing list and its extra journey.
import { evaluate } from '#manifests/decide';
import type { PayloadStore } from '#manifests/repository';
import { type Catalog, canonicalJson, type Group, type Inventory, type PatchState, sha256Of } from '#manifests/schema';
import type { PublisherHome } from '../home.ts';
import { openKnowledge } from '../results/index.ts';
import { readRoster } from '../roster/index.ts';
import { type Documents, onlyArchitectures, type Wish, withNeeds } from './plan.ts';
import type { SiteRecord } from './sites.ts';

/** States of a patch on a host in which its payloads may be asked for, now or when it becomes approved. */
const LACKING: ReadonlySet<PatchState> = new Set(['MISSING', 'FAILED', 'ROLLED_BACK', 'HELD', 'PENDING_APPROVAL']);

/** Payloads that hosts of the site lack, and what these need inside the same patch. Nothing where nothing is known of its hosts. */
export async function wishOfHosts(
  home: PublisherHome,
  documents: Documents,
  site: SiteRecord,
  store: PayloadStore,
  now: number,
): Promise<Wish[]> {
  const lacking = lackingAt(home, documents, site, now);
  const wishes: Wish[] = [];
  for (const catalog of lacking.size === 0 ? [] : documents.catalogs) {
    const names = (id: string) => lacking.get(`${catalog.product} ${id}`);
    const patches = catalog.patches.filter(({ id }) => names(id) !== undefined);
    if (patches.length === 0) continue;
    const cut = await withNeeds(
      catalog,
      patches,
      ({ id }, { name }) => names(id)?.size === 0 || names(id)?.has(name) === true,
      store,
    );
    wishes.push({ catalog, patches: onlyArchitectures(cut, site.architectures) });
  }
  return wishes;
}

/** `PRODUCT PATCH` -> names of packages that some host of the site has and lacks in this version. */
function lackingAt(home: PublisherHome, documents: Documents, site: SiteRecord, now: number): Map<string, Set<string>> {
  const lacking = new Map<string, Set<string>>();
  const members = readRoster(home.rosterFile).agents.filter(
    ({ id, status }) => status === 'approved' && site.agents.includes(id),
  );
  if (members.length === 0) return lacking;
  const knowledge = openKnowledge(home.storeFile);
  const judged = new Set<string>();
  try {
    for (const { id, group: name } of members) {
      const inventory = knowledge.inventory(id);
      const group = documents.groups.get(name);
      if (inventory === null || group === undefined) continue;
      const same = likeness(inventory, name);
      if (judged.has(same)) continue; // hosts of one image are judged once
      judged.add(same);
      for (const [key, packages] of lackingOf(documents, group, inventory, now)) {
        const known = lacking.get(key) ?? new Set();
        for (const one of packages) known.add(one);
        lacking.set(key, known);
      }
    }
  } finally {
    knowledge.close();
  }
  return lacking;
}

const likeness = ({ product, arch, packages, components }: Inventory, group: string) =>
  sha256Of(canonicalJson({ product, arch, packages, components, group }));

function lackingOf({ catalogs, baselines }: Documents, group: Group, inventory: Inventory, at: number) {
  const own = catalogs.filter((catalog) => catalog.product === inventory.product || isOwn(catalog));
  const memory = { installedByUs: [], failed: [], rolledBack: [] };
  const freshness = { softExpired: false, hardExpired: false };
  const { findings } = evaluate({ catalogs: own, baselines: [...baselines], group, inventory, memory, at, freshness });
  return findings
    .filter(({ state }) => LACKING.has(state))
    .map(({ product, patch, packages }) => [`${product} ${patch}`, packages.map((one) => one.name)] as const);
}

const isOwn = ({ patches }: Catalog) => patches.some(({ format }) => format === 'archive');
