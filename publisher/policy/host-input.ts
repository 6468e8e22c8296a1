// The input of a decision about one host, as its agent would make it: what is signed, what the host last said it is, and what its
// results tell of its past. What only the host knows (ways back it keeps, checks of controls made since) is as last reported.
import type { DecideInput, HostMemory } from '#manifests/decide';
import type { Inventory, RosterAgent, SignedWaiver } from '#manifests/schema';
import type { Knowledge, RunRecord } from '../results/index.ts';
import type { SignedView } from '../sign/index.ts';

/** Runs looked at for what a host did. */
const MEMORY_SINCE = '1970-01-01T00:00:00Z';

/** @param at milliseconds */
export function hostInput(
  view: SignedView,
  { id, group: groupName, site, labels }: RosterAgent,
  inventory: Inventory,
  knowledge: Knowledge,
  at: number,
): DecideInput {
  const group = view.groups.get(groupName) ?? null;
  const used = [...(group?.baselines ?? []), ...(group?.choose ?? [])];
  const products = new Set(used.map(({ product }) => product));
  const names = new Set(used.map(({ baseline }) => baseline));
  const choice = knowledge.ownerChoices(id).get(id);
  return {
    who: { agent: id, site: site ?? null, labels },
    group,
    catalogs: [...view.catalogs.values()].filter(({ product }) => products.has(product)),
    baselines: [...view.baselines.values()].filter(({ name }) => names.has(name)),
    inventory,
    memory: memoryOf(knowledge.runs(MEMORY_SINCE, id)),
    at,
    freshness: { softExpired: at >= view.softExpires, hardExpired: at >= view.expires },
    halts: view.halts,
    recalls: view.recalls,
    waivers: view.waivers,
    controls: controlsOf(view.waivers, id, knowledge),
    site: site === undefined ? null : (view.sites.get(site) ?? null),
    choice:
      choice === undefined
        ? null
        : { window: choice.window, deferUntil: choice.deferUntil === null ? null : Date.parse(choice.deferUntil) },
  };
}

/** What an agent remembers of its runs, made again from its results. @param runs newest first */
export function memoryOf(runs: readonly RunRecord[]): HostMemory {
  const installed = new Map<string, { patch: string; boot: string; rebootNeeded: boolean }>();
  const failed = new Map<string, { patch: string; at: number; code: string }>();
  const rolledBack: { patches: readonly string[]; digest: string; at: number }[] = [];
  for (const { boot, body } of runs.toReversed()) {
    const at = Date.parse(body.finished);
    if (body.outcome === 'committed') {
      const bad = new Set(body.failedPatches?.map(({ patch }) => patch));
      for (const patch of body.patches) {
        if (bad.has(patch)) continue;
        installed.set(patch, { patch, boot, rebootNeeded: body.rebootNeeded.needed });
        failed.delete(patch);
      }
    } else if (body.error !== null) {
      for (const patch of body.patches) failed.set(patch, { patch, at, code: body.error.code });
    }
    for (const { patch, code } of body.failedPatches ?? []) failed.set(patch, { patch, at, code });
  }
  return { installedByUs: [...installed.values()], failed: [...failed.values()], rolledBack };
}

/** A waiver with a check counted at the last scan if that scan says so: its reasons name the waiver. */
function controlsOf(
  waivers: readonly SignedWaiver[],
  agent: string,
  knowledge: Knowledge,
): NonNullable<DecideInput['controls']> {
  const checked = waivers.filter(({ control }) => control?.check !== undefined);
  if (checked.length === 0) return [];
  const scan = knowledge.lastScan(agent);
  if (scan === null) return [];
  const excepted = scan.findings.filter(({ state }) => state === 'EXCEPTED').flatMap(({ reasons }) => reasons);
  return checked.flatMap(({ name }) =>
    excepted.some((reason) => reason.startsWith(`waiver ${name} `)) ? [{ waiver: name, passed: true, at: scan.at }] : [],
  );
}
