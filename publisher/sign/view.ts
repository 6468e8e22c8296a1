// What is signed now, decoded: what any host decides from, for explaining and planning at the publisher.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OverlayInput, readStop } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import {
  type Catalog,
  decodeDocument,
  type Group,
  type ResolvedBaseline,
  type Roster,
  type SignedDelegation,
  type SignedHalt,
  type SignedOverlay,
  type SignedRecall,
  type SignedWaiver,
} from '#manifests/schema';
import type { PublisherHome } from '../home.ts';
import { readPublished } from './published.ts';

const fault = defineFaults('published', {
  nothing: { exit: EXIT.usage, next: 'Run `publisher publish` once: until then nothing decides about any host.' },
});

export interface SignedView {
  readonly roster: Roster;
  readonly catalogs: ReadonlyMap<string, Catalog>;
  readonly baselines: ReadonlyMap<string, ResolvedBaseline>;
  readonly groups: ReadonlyMap<string, Group>;
  readonly halts: readonly SignedHalt[];
  readonly recalls: readonly SignedRecall[];
  readonly waivers: readonly SignedWaiver[];
  /** Sites that have both a delegation and an overlay. */
  readonly sites: ReadonlyMap<string, OverlayInput>;
  /** Ends of the timestamp, milliseconds; NaN where it says none. */
  readonly softExpires: number;
  readonly expires: number;
}

/** Reads everything that is published. @throws published.nothing, trust.* when the tree was tampered with */
export async function readSignedView(home: PublisherHome, signal: AbortSignal): Promise<SignedView> {
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-view-'));
  try {
    const published = await readPublished(home, scratch, signal);
    const timestamp = published.files.get('timestamp');
    if (timestamp === undefined) throw fault('nothing', `${home.repositoryFolder} holds nothing yet`);
    const catalogs = new Map<string, Catalog>();
    const baselines = new Map<string, ResolvedBaseline>();
    const groups = new Map<string, Group>();
    const halts: SignedHalt[] = [];
    const recalls: SignedRecall[] = [];
    const waivers: SignedWaiver[] = [];
    const delegations = new Map<string, SignedDelegation>();
    const overlays = new Map<string, SignedOverlay>();
    let roster: Roster | undefined;
    // In the order of the paths, as a host reads them: halts/ before policy/.
    for (const path of [...published.targets.keys()].toSorted()) {
      const bytes = () => published.read(path);
      if (path.startsWith('catalogs/')) {
        const catalog = decodeDocument('catalog', await bytes(), path);
        catalogs.set(catalog.product, catalog);
      } else if (path.startsWith('policy/baselines/')) {
        const baseline = decodeDocument('resolved-baseline', await bytes(), path);
        baselines.set(baseline.name, baseline);
      } else if (path.startsWith('policy/groups/')) {
        const group = decodeDocument('group', await bytes(), path);
        groups.set(group.name, group);
      } else if (path.startsWith('policy/recalls/')) recalls.push(decodeDocument('recall', await bytes(), path));
      else if (path.startsWith('waivers/')) waivers.push(decodeDocument('waiver', await bytes(), path));
      else if (path.startsWith('policy/sites/')) {
        const delegation = decodeDocument('site-delegation', await bytes(), path);
        delegations.set(delegation.site, delegation);
      } else if (path.startsWith('sites/')) {
        const overlay = decodeDocument('site-overlay', await bytes(), path);
        overlays.set(overlay.site, overlay);
      } else if (path === 'roster/roster.json.zst') roster = decodeDocument('roster', await bytes(), path);
      else if (path.startsWith('halts/')) {
        const stop = readStop(await bytes(), path);
        if (stop.kind === 'halt') halts.push(stop.halt);
        else recalls.push(stop.recall);
      }
    }
    if (roster === undefined) throw fault('nothing', `${home.repositoryFolder} holds no roster`);
    const sites = new Map<string, OverlayInput>();
    for (const [site, overlay] of overlays) {
      const delegation = delegations.get(site);
      if (delegation !== undefined) sites.set(site, { delegation, overlay });
    }
    const softExpires = Date.parse(String(timestamp.signed['softExpires']));
    return { roster, catalogs, baselines, groups, halts, recalls, waivers, sites, softExpires, expires: timestamp.expires };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}
