// The world of a run, made from an agent and what the signed documents say at this moment.
import * as fs from 'node:fs';
import { catchUp, type DecideInput, evaluate, type HostMemory, windowState } from '#manifests/decide';
import { openPayloadStore } from '#manifests/repository';
import type { Catalog, Inventory } from '#manifests/schema';
import { fetchPayloads, type PolicyView } from '../poll/index.ts';
import type { RunWorld } from '../run/index.ts';
import { type Agent, workFolderOf } from './agent.ts';
import { protectedRuns } from './sweep.ts';
import { wakeOf } from './wake.ts';

/** The one input of every decision of this agent. */
export function decideInput(
  agent: Pick<Agent, 'trust' | 'trustedNow'> & Partial<Pick<Agent, 'journal'>>,
  view: PolicyView,
  inventory: Inventory,
  memory: HostMemory,
): DecideInput {
  const { softExpired, hardExpired } = agent.trust.freshness();
  const { member, halts, recalls, waivers, site } = view;
  return {
    ...(member === null ? {} : { who: { agent: member.id, site: member.site ?? null, labels: member.labels } }),
    halts,
    recalls,
    waivers,
    site,
    wake: agent.journal === undefined ? null : wakeOf(agent.journal),
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
    evaluate: (inventory, memory) => evaluate(decideInput(agent, view(), inventory, memory)),
    protectedWays: () => new Set(protectedRuns(agent, view()).keys()),
    windowOf: (group, hostZone) => {
      const now = agent.trustedNow();
      const windows = group?.windows ?? [];
      const open = windowState(windows, now, hostZone);
      return open.open ? open : (catchUp(windows, wakeOf(agent.journal), now, hostZone).window ?? open);
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
        onProgress: options.say,
      };
    },
    fetchPayloads: async (wanted, signal) => {
      const { failover } = await import('#manifests/transfer');
      await fetchPayloads(wanted, failover(agent.origins, { clock: agent.clock }), store, {
        signal,
        ...(options.onBytes === undefined ? {} : { onBytes: options.onBytes }),
      });
    },
    say: options.say,
  };
}
