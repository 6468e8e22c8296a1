// Which of the items can be installed: a package manager answers for sets, and one bad patch must never stop the rest.
import type { InstallItem, InstallPlan } from './system.ts';

export type KeptBack = InstallPlan['keptBack'][number];

/**
 * The largest set of items that the package manager and policy take: all of them when that works; else groups (packages of one patch stay
 * together) are halved until the ones at fault stand alone, so that one bad patch never stops the rest.
 */
export async function admit(
  groups: readonly (readonly InstallItem[])[],
  works: (items: readonly InstallItem[]) => Promise<string | null>,
): Promise<{ admitted: InstallItem[]; keptBack: KeptBack[] }> {
  const keptBack: KeptBack[] = [];
  const extend = async (
    admitted: readonly InstallItem[],
    some: readonly (readonly InstallItem[])[],
  ): Promise<InstallItem[]> => {
    const together = [...admitted, ...some.flat()];
    const objection = await works(together);
    if (objection === null) return together;
    if (some.length === 1) {
      for (const { name, arch } of some[0] ?? []) keptBack.push({ name, arch, says: objection });
      return [...admitted];
    }
    const middle = some.length >> 1;
    return extend(await extend(admitted, some.slice(0, middle)), some.slice(middle));
  };
  return { admitted: groups.length === 0 ? [] : await extend([], groups), keptBack };
}
