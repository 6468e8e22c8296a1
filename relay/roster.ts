// The roster that results are checked against: that of the generation that is served.
import type { Log } from '#manifests/platform/log';
import { decodeDocument, type Roster } from '#manifests/schema';
import { currentGeneration, mirrorLayout, readCurrentTarget } from './mirror/index.ts';

/** The roster of the current generation, decoded once for each that comes. */
export function rosterSource(mirror: string, log: Log): () => Roster | undefined {
  const layout = mirrorLayout(mirror);
  const PATH = 'roster/roster.json.zst';
  let known: { generation: number; sha256: string; roster: Roster } | undefined;
  let checkedAt = Number.NEGATIVE_INFINITY;
  return () => {
    const now = performance.now();
    if (now - checkedAt < 200) return known?.roster;
    checkedAt = now;
    try {
      const generation = currentGeneration(layout);
      if (generation === undefined || generation.number === known?.generation) return known?.roster;
      const sha256 = generation.targets.find(({ path }) => path === PATH)?.sha256;
      if (sha256 === undefined) return known?.roster;
      if (sha256 === known?.sha256) known = { ...known, generation: generation.number };
      else {
        const bytes = readCurrentTarget(layout, generation, PATH);
        if (bytes !== undefined)
          known = { generation: generation.number, sha256, roster: decodeDocument('roster', bytes, PATH) };
      }
    } catch (error) {
      log.error({ reason: (error as Error).message }, 'the roster cannot be read');
    }
    return known?.roster;
  };
}
