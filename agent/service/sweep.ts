// Gives back what nothing needs any more: ways back by the owner's rules, work folders, payloads of old runs. What goes is written
// into the journal first, so that no way back is offered that may be half gone.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { recallsOf } from '#manifests/decide';
import { openPayloadStore } from '#manifests/repository';
import type { PolicyView } from '../poll/index.ts';
import {
  forgetRoot,
  HANDS_NEEDED,
  LAST_COMMITTED,
  type OldRoot,
  oldRoots,
  type RunRow,
  type RunWorld,
  toGiveUp,
} from '../run/index.ts';
import type { Agent } from './agent.ts';

const DAY_MS = 86_400_000;

/** Payloads that no run needs stay this long, milliseconds: an attempt that is repeated tomorrow fetches nothing twice. */
const PAYLOADS_KEPT_MS = 7 * DAY_MS;

/** Ways back that stay whatever the owner's rules say, with the reason: a recall or a reboot may still need them. */
export function protectedRuns(
  agent: Pick<Agent, 'journal' | 'trustedNow'>,
  { recalls, member }: PolicyView,
): Map<string, string> {
  const { journal } = agent;
  const kept = journal.ways.kept();
  const found = new Map<string, string>();
  const undone = journal.runs.open()?.data.undoes;
  if (typeof undone === 'string') found.set(undone, 'it is being taken back');
  const newest = kept.at(-1);
  if (newest !== undefined && journal.runs.memory().installedByUs.some(({ rebootNeeded }) => rebootNeeded))
    found.set(newest.run, 'the host has not been started anew since');
  if (member === null) return found;
  const about = recallsOf(recalls, { agent: member.id, site: member.site ?? null, labels: member.labels });
  for (const { run, patches, takenAt } of kept) {
    const recall = patches
      .flatMap((patch) => about(patch))
      .find(
        ({ action, withinDays }) =>
          action === 'rollback' && (withinDays === null || agent.trustedNow() <= takenAt + withinDays * DAY_MS),
      );
    if (recall !== undefined) found.set(run, `recall ${recall.name} wants it taken back`);
  }
  return found;
}

/** One pass; cheap when there is nothing to do. A kill at any point leaves at most room that the next pass gives back. */
export async function sweep(agent: Agent, view: PolicyView, world: RunWorld): Promise<void> {
  const { journal } = agent;
  const context = world.context('sweep', [], world.signal);
  await measure(agent, world);
  for (const { run, why } of overBudget(agent, view)) {
    journal.ways.giveUp(run, why);
    agent.log.info({ run, why }, 'a way back is given up');
  }
  const open = journal.runs.open();
  const kept = journal.ways.kept().flatMap(({ run }) => journal.runs.get(run) ?? []);
  const needed = [open?.id, journal.meta(LAST_COMMITTED), journal.meta(HANDS_NEEDED)].flatMap((id) =>
    id === undefined ? [] : (journal.runs.get(id) ?? []),
  );
  const ids = new Set([...kept, ...needed].flatMap(({ id, data }) => [id, ...data.ways.map((way) => way.id)]));
  for (const way of agent.hands.ways) {
    for (const { id } of await way.list(context)) if (!ids.has(id)) await way.discard(id, context);
  }
  await sweepRoots(agent, world);
  fs.rmSync(context.workFolder, { recursive: true, force: true });
  sweepFolders(agent, needed);
  if (open === undefined) sweepPayloads(agent, needed); // the downloads of an open run may be half-way
}

/**
 * Roots that were left: given back after the days that ways back are kept, when room is short, when a newer one was left, and at once
 * when they were never finished. One that holds what is not patchferry's stays, and the log says so.
 */
async function sweepRoots(agent: Agent, world: RunWorld): Promise<void> {
  const { journal, hands, log, settings } = agent;
  const list = oldRoots(journal);
  const { blocks, bavail } = fs.statfsSync('/');
  const short = bavail < (blocks * settings.waysBack.freePercent) / 100;
  const open = journal.runs.open()?.data.root?.id;
  const goes = ({ run, root, since }: OldRoot, index: number) =>
    run !== open &&
    (root === null || short || index < list.length - 1 || agent.trustedNow() - since > settings.waysBack.days * DAY_MS);
  for (const { run, kind, root } of list.filter(goes)) {
    const context = world.context('sweep', [], world.signal);
    try {
      await hands.ways.find((way) => way.kind === kind)?.wholeRoot?.discard(run, root?.id ?? null, context);
      forgetRoot(journal, run, root?.id ?? null);
      log.info({ run, root }, 'an old root is given back');
    } catch (error) {
      log.warn({ run, root, err: error }, 'an old root cannot be given back');
    }
  }
}

function sweepFolders({ places }: Agent, runs: readonly RunRow[]): void {
  const keep = new Set(runs.map(({ id }) => id));
  for (const name of fs.existsSync(places.work) ? fs.readdirSync(places.work) : []) {
    if (!keep.has(name)) fs.rmSync(join(places.work, name), { recursive: true, force: true });
  }
}

function sweepPayloads({ places, clock }: Agent, runs: readonly RunRow[]): void {
  const needed = new Set(runs.flatMap(({ data }) => data.plans.flatMap((plan) => plan.payloads.map(({ sha256 }) => sha256))));
  const store = openPayloadStore(places.payloads);
  const old = clock.now() - PAYLOADS_KEPT_MS;
  for (const { sha256 } of store.list()) {
    if (!needed.has(sha256) && fs.statSync(store.pathOf(sha256)).mtimeMs < old) store.remove(sha256);
  }
}

/** Room of each way back, looked at again whenever a new one has come. */
async function measure({ journal, hands, log }: Agent, world: RunWorld): Promise<void> {
  const kept = journal.ways.kept();
  if (kept.at(-1)?.bytes !== null) return;
  const context = world.context('sweep', [], world.signal);
  for (const { run } of kept) {
    let bytes = 0;
    for (const { kind, id } of journal.runs.get(run)?.data.ways ?? []) {
      const way = hands.ways.find((one) => one.kind === kind);
      const found = await way?.bytes?.(id, context).catch((error: unknown) => {
        log.warn({ run, kind, err: error }, 'the room of a way back cannot be told');
        return null;
      });
      bytes += found ?? 0;
    }
    journal.ways.measured(run, bytes);
  }
}

function overBudget(agent: Agent, view: PolicyView) {
  const { journal, settings, places } = agent;
  const kept = journal.ways.kept();
  const newest = kept.at(-1);
  if (newest === undefined) return [];
  const onRoot = journal.runs.get(newest.run)?.data.ways.some(({ kind }) => kind !== 'packages' && kind !== 'archive');
  const { blocks, bavail, bsize } = fs.statfsSync(onRoot === true ? '/' : places.wayBack.replace(/\/[^/]*$/, '') || '/');
  return toGiveUp(kept, settings.waysBack, {
    at: agent.trustedNow(),
    totalBytes: blocks * bsize,
    freeBytes: bavail * bsize,
    protected: protectedRuns(agent, view),
  });
}
