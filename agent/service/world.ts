// The world of a run, made from an agent and what the signed documents say at this moment.
import * as fs from 'node:fs';
import { type DecideInput, evaluate, type HostMemory, runWindow, siteRules, type Who } from '#manifests/decide';
import { openPayloadStore } from '#manifests/repository';
import type { Catalog, Inventory } from '#manifests/schema';
import { choiceOf } from '../owner/index.ts';
import type { PolicyView } from '../poll/index.ts';
import type { RunWorld } from '../run/index.ts';
import { type Agent, workFolderOf } from './agent.ts';
import { controlsOf } from './controls.ts';
import { fetchOverLine } from './over-line.ts';
import { protectedRuns } from './sweep.ts';
import { UNIT_PATH } from './unit.ts';
import { wakeOf } from './wake.ts';

/** This host as the roster names it, for selectors. */
export function whoIs({ member, group }: PolicyView, { product, labels }: Pick<Inventory, 'product' | 'labels'>): Who {
  return {
    agent: member?.id ?? '',
    group: group?.name ?? null,
    site: member?.site ?? null,
    product,
    labels: { ...labels, ...member?.labels },
  };
}

/** The one input of every decision of this agent. */
export function decideInput(
  agent: Pick<Agent, 'trust' | 'trustedNow' | 'journal'>,
  view: PolicyView,
  inventory: Inventory,
  memory: HostMemory,
): DecideInput {
  const { softExpired, hardExpired } = agent.trust.freshness();
  const { member, halts, recalls, waivers, site } = view;
  return {
    who: member === null ? null : { agent: member.id, site: member.site ?? null, labels: member.labels },
    halts,
    recalls,
    waivers,
    controls: controlsOf(agent.journal, waivers),
    site,
    choice: choiceOf(agent.journal),
    wake: wakeOf(agent.journal),
    waysBack: agent.journal.ways.kept(),
    catalogs: [...view.catalogs],
    baselines: [...view.baselines],
    group: view.group,
    inventory,
    memory,
    at: agent.trustedNow(),
    freshness: { softExpired, hardExpired },
  };
}

export interface WorldOptions {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
}

export function makeWorld(agent: Agent, view: () => PolicyView, options: WorldOptions): RunWorld {
  const store = openPayloadStore(agent.places.payloads);
  const catalogs = (documents: readonly string[]): Catalog[] =>
    documents.flatMap((sha256) => {
      const known = agent.documents.bytes(sha256);
      return known === undefined ? [] : [agent.documents.read('catalog', sha256, sha256)];
    });
  return {
    journal: agent.journal,
    hands: agent.hands,
    clock: agent.clock,
    log: agent.log,
    signal: options.signal,
    failPoint: agent.failPoint,
    allowReboot: agent.settings.allowReboot,
    trustedNow: () => agent.trustedNow(),
    clockState: () => agent.trust.freshness().clock,
    line: () => agent.line.metered(),
    evaluate: (inventory, memory) => evaluate(decideInput(agent, view(), inventory, memory)),
    protectedWays: () => new Set(protectedRuns(agent, view()).keys()),
    windowOf: ({ group, lane }, hostZone, purpose) => {
      const at = agent.trustedNow();
      const now = view();
      const who = whoIs({ ...now, group }, { product: null, labels: agent.settings.labels });
      const schedule = {
        group,
        who,
        site: siteRules(now.site, who, at),
        choice: choiceOf(agent.journal),
        wake: wakeOf(agent.journal),
        at,
        hostZone,
      };
      return runWindow(schedule, lane ?? 'window', purpose);
    },
    catalogs,
    context: (run, known, signal) => {
      const workFolder = workFolderOf(agent, run);
      fs.mkdirSync(workFolder, { recursive: true, mode: 0o700 });
      return {
        root: '/',
        workFolder,
        payloadPath: (sha256) => store.pathOf(sha256),
        catalogs: known,
        log: agent.log,
        clock: agent.clock,
        signal,
        archiveRoot: agent.settings.archiveRoot,
        keyrings: agent.settings.keyrings,
        wayBackFolder: agent.places.wayBack,
        ownPaths: [agent.settings.stateDir, agent.settings.archiveRoot, process.execPath, UNIT_PATH],
        onProgress: options.say,
      };
    },
    fetchPayloads: (wanted, signal) => fetchOverLine(agent, wanted, store, signal, options.onBytes),
    say: options.say,
  };
}
