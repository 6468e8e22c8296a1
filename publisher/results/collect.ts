// Collecting: from the inbox folder into the store. Every file ends in one of four ways: stored, recognised as stored before,
// put aside with a note, or left for the next run. A file goes only after what it held is durable.
import * as fs from 'node:fs';
import type { Clock } from '#manifests/platform/clock';
import { utcSeconds } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import type { Log } from '#manifests/platform/log';
import type { Progress } from '#manifests/platform/progress';
import type { Roster } from '#manifests/schema';
import { type InboxFile, listInbox, putAside, readInboxFile } from './inbox.ts';
import { RESULT_LIMITS } from './limits.ts';
import { type Activation, type ActivationSecret, type OpenContext, type Opened, openArrival } from './open.ts';
import { type PendingEnrolment, readPending, writePending } from './pending.ts';
import { type Arrival, type OddChain, openStore, type Store } from './store.ts';

export interface CollectOptions {
  readonly inboxFolder: string;
  readonly storeFile: string;
  /** Who belongs to the fleet; results of others are not believed. */
  readonly roster: Roster;
  /** Box key that agents seal their results to. */
  readonly recipient: { readonly publicKey: string; readonly secretKey: Uint8Array };
  readonly pendingFolder: string;
  /** Secret part of an activation code by its public id; undefined when there is no such code. */
  activationSecrets(id: string): ActivationSecret | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Named points between acts, for tests that end the process there. */
  readonly onStep?: ((step: CollectStep) => void) | undefined;
}

export type CollectStep = 'opened' | 'pending-written' | 'stored' | 'committed' | 'removed' | 'put-aside';

export interface CollectReport {
  readonly schema: 'patchferry/collect';
  readonly schemaVersion: 1;
  readonly at: string;
  readonly files: number;
  readonly stored: number;
  readonly duplicates: number;
  /** How many results of each kind came: scan, run, alert, waiver-request, owner-choice. */
  readonly kinds: Readonly<Record<string, number>>;
  readonly enrolments: ReadonlyArray<{ agent: string; title: string; activation: Activation; known: boolean }>;
  /** Results of agents that have asked to be enrolled and have no answer yet; their files stay in the inbox. */
  readonly waiting: number;
  /** Whole number refused; `refused` names the first thousand, `inbox/refused/` has a note on each. */
  readonly refusedCount: number;
  readonly refused: ReadonlyArray<{ file: string; agent: string | null; code: string; says: string }>;
  /** Files that could not be read or taken in this time for a reason of this machine; they stay. */
  readonly left: ReadonlyArray<{ file: string; says: string }>;
  /** Things in the inbox that are no envelope files; untouched. */
  readonly others: number;
  /** Alerts that came with this run. */
  readonly alerts: ReadonlyArray<{ agent: string; code: string; message: string; at: string }>;
  /** Agents whose chain has a gap or a fork, now. */
  readonly chains: readonly OddChain[];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends ReadonlyArray<infer E> ? E[] : T[K] };

/**
 * Takes everything in the inbox into the store. Killed anywhere, the next run ends the same: nothing twice, nothing lost.
 * @throws lock.held when another collect is at work; results.inbox-missing; results.store-*
 */
export async function collect(options: CollectOptions): Promise<CollectReport> {
  const lock = takeLock(`${options.storeFile}.lock`, 'collect');
  try {
    const store = openStore(options.storeFile);
    try {
      return await collectInto(store, options);
    } finally {
      store.close();
    }
  } finally {
    options.progress?.end();
    lock.release();
  }
}

async function collectInto(store: Store, options: CollectOptions): Promise<CollectReport> {
  const { inboxFolder, clock, log, progress, signal } = options;
  const step = options.onStep ?? (() => undefined);
  const { files, others } = listInbox(inboxFolder);
  const at = utcSeconds(clock.now());
  const pending = readPending(options.pendingFolder);
  const context: OpenContext = {
    agents: new Map(options.roster.agents.map((agent) => [agent.id, agent])),
    recipient: options.recipient,
    activationSecrets: (id) => options.activationSecrets(id),
    now: clock.now(),
    hasResult: (agent, sequence, hash) => store.hasResult(agent, sequence, hash),
    hasEnrolment: (hash) => store.hasEnrolment(hash),
    isPending: (agent) => pending.has(agent),
  };
  const report: Mutable<CollectReport> = {
    schema: 'patchferry/collect',
    schemaVersion: 1,
    at,
    files: files.length,
    stored: 0,
    duplicates: 0,
    kinds: {},
    enrolments: [],
    waiting: 0,
    refusedCount: 0,
    refused: [],
    left: [],
    others,
    alerts: [],
    chains: [],
  };

  let batch: { file: InboxFile; opened: Taken }[] = [];
  let batchBytes = 0;
  const flush = () => {
    if (batch.length > 0) storeBatch(store, batch, { report, pending, options, at, step });
    batch = [];
    batchBytes = 0;
  };
  for (const [index, file] of files.entries()) {
    signal?.throwIfAborted();
    if (index % YIELD_EVERY === 0) await new Promise<void>((resolve) => void setImmediate(resolve));
    progress?.at(index);
    const opened = readAndOpen(file, context, report);
    step('opened');
    if (opened === undefined) continue;
    if (opened.kind === 'waiting') report.waiting += 1;
    else if (opened.kind === 'refused') {
      putAside(inboxFolder, file.path, opened, at);
      step('put-aside');
      report.refusedCount += 1;
      const { agent, code, says } = opened;
      log.warn({ file: file.path, agent, code, says }, 'envelope refused');
      if (report.refused.length < RESULT_LIMITS.reportEntries) report.refused.push({ file: file.path, agent, code, says });
    } else {
      batch.push({ file, opened });
      batchBytes += opened.kind === 'duplicate' ? 0 : opened.arrival.bytes.length + opened.arrival.plain.length;
      // An enrolment is taken in at once, so that the agent's results behind it are seen as waiting.
      const full = batch.length >= RESULT_LIMITS.batchEnvelopes || batchBytes >= RESULT_LIMITS.batchBytes;
      if (full || files[index + 1]?.kind !== file.kind) flush();
    }
  }
  flush();
  if (files.length > 0) progress?.at(files.length);
  report.chains = store.oddChains().slice(0, RESULT_LIMITS.reportEntries);
  for (const { agent, forks } of report.chains) {
    for (const { kind, sequence } of forks) log.warn({ agent, kind, sequence }, 'two results where there can be one');
  }
  log.info(
    { files: files.length, stored: report.stored, duplicates: report.duplicates, refused: report.refusedCount },
    'collected',
  );
  return report;
}

/** Envelopes between two turns of the event loop, so that signals and progress get through. */
const YIELD_EVERY = 50;

type Taken = Exclude<Opened, { kind: 'refused' | 'waiting' }>;

function readAndOpen(file: InboxFile, context: OpenContext, report: Mutable<CollectReport>): Opened | undefined {
  let read: ReturnType<typeof readInboxFile>;
  try {
    read = readInboxFile(file.path);
  } catch (error) {
    if (report.left.length < RESULT_LIMITS.reportEntries) report.left.push({ file: file.path, says: (error as Error).message });
    return undefined;
  }
  if (read.kind === 'gone') return undefined;
  if (read.kind === 'refused') return { kind: 'refused', agent: null, code: read.code, says: read.says };
  return openArrival(read.bytes, file.kind, context);
}

interface BatchContext {
  readonly report: Mutable<CollectReport>;
  readonly pending: Map<string, PendingEnrolment>;
  readonly options: CollectOptions;
  readonly at: string;
  readonly step: (step: CollectStep) => void;
}

function storeBatch(store: Store, batch: ReadonlyArray<{ file: InboxFile; opened: Taken }>, context: BatchContext): void {
  const { report, at, step } = context;
  const results: Arrival[] = [];
  const kept = new Set<InboxFile>();
  let duplicates = 0;
  const outcome = store.transaction(() => {
    for (const { file, opened } of batch) {
      if (opened.kind === 'duplicate') duplicates += 1;
      else if (opened.kind === 'result') results.push(opened.arrival);
      else if (!takeEnrolment(store, opened, context)) kept.add(file);
    }
    const added = store.addResults(results, at);
    step('stored');
    return added;
  });
  step('committed');
  report.stored += outcome.stored;
  report.duplicates += duplicates + outcome.duplicates;
  for (const { result } of results) {
    report.kinds = { ...report.kinds, [result.kind]: (report.kinds[result.kind] ?? 0) + 1 };
    if (result.kind !== 'alert' || report.alerts.length >= RESULT_LIMITS.reportEntries) continue;
    const { code, message } = result.body;
    report.alerts.push({ agent: result.agent, code, message, at: result.trustedTime });
  }
  // Only now that all of it is durable. A removal that is lost in a power cut comes back as duplicates.
  for (const { file } of batch) {
    if (kept.has(file)) continue;
    fs.rmSync(file.path, { force: true });
    step('removed');
  }
}

/** False when too many unproven enrolments wait already: the file stays in the inbox. */
function takeEnrolment(store: Store, opened: Extract<Taken, { kind: 'enrolment' }>, context: BatchContext): boolean {
  const { report, pending, options, at, step } = context;
  const { arrival, known } = opened;
  const { agent } = arrival.result;
  if (!known) {
    const before = pending.get(agent);
    if (before === undefined && arrival.activation !== 'valid' && unproven(pending) >= RESULT_LIMITS.pendingUnproven) {
      report.waiting += 1;
      return false;
    }
    // The file first: when it is written and the transaction is lost, the next run writes the same file again.
    const written = writePending(options.pendingFolder, arrival, at, before);
    if (written !== undefined) pending.set(agent, written);
    step('pending-written');
  }
  store.addEnrolment(arrival, at);
  const title = arrival.result.kind === 'enrol' ? arrival.result.body.title : '';
  report.enrolments.push({ agent, title, activation: arrival.activation, known });
  return true;
}

function unproven(pending: ReadonlyMap<string, PendingEnrolment>): number {
  let count = 0;
  for (const { activation } of pending.values()) if (activation !== 'valid') count += 1;
  return count;
}
