// One agent, put together from its settings: journal, keys, trust, documents, outbox, and the hands that touch the host.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT, isFault } from '#manifests/errors';
import { type Clock, pause } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import type { Log } from '#manifests/platform/log';
import type { Inventory } from '#manifests/schema';
import type { Origin } from '#manifests/transfer';
import { openTrust, type TrustClient } from '#manifests/trust';
import { packagesDigest, readBootId, readMachine, takeInventory } from '../inventory/index.ts';
import { type AgentKeys, type Outbox, openOutbox, readEnrolment, readKeys } from '../outbox/index.ts';
import { type DocumentStore, openDocuments, openRelays, type Relays } from '../poll/index.ts';
import { armFailPoints, asRunError, type FailPoint, type Hands, type Journal, openJournal } from '../run/index.ts';
import { checkHealth, runHook } from './checks.ts';
import { leaveIdentity } from './copies.ts';
import { type Line, openLine } from './line.ts';
import { openRelayOrigins } from './reach.ts';
import { loggedIn, notifyUsers, rebootEvidence, rebootHost } from './reboot.ts';
import { type AgentSettings, placesOf } from './settings.ts';
import { mayRestart, restartUnit, staleUses } from './stale.ts';

export const fault = defineFaults('agent', {
  'not-enrolled': { exit: EXIT.usage, next: 'Enrol this host: `agent enroll --code CODE --relay URL --root root.json`.' },
  'nothing-known': {
    exit: EXIT.usage,
    next: 'Run `agent once` first, or name a --catalog FILE or --repository DIR --root FILE.',
  },
  'no-such-patch': { exit: EXIT.usage, next: '`agent scan` lists the patches that concern this host.' },
  'not-kept': { exit: EXIT.usage, next: '`agent history` shows the runs and which can still be taken back.' },
  usage: { exit: EXIT.usage, next: 'Add --help for the options and examples.' },
  disk: {
    exit: EXIT.deferred,
    next: 'Make room on the disk that holds the state folder, or mend it; what was begun goes on at the next start.',
  },
  'root-switched': {
    exit: EXIT.deferred,
    next: 'Reboot the host: the agent goes on there. What is written now would be left behind.',
  },
  'not-systemd': { exit: EXIT.usage, next: 'Start `agent run` by whatever supervises services on this host.' },
  'not-root': { exit: EXIT.usage, next: 'Run it as root.' },
});

/** An error of the disk that reached the end of a command, in words; undefined for any other. */
export function diskTrouble(error: unknown): Error | undefined {
  if (isFault(error)) return undefined;
  if (((error as { errcode?: number }).errcode ?? 0) === SQLITE_READONLY)
    return fault('root-switched', 'the host starts from another root at its next boot', { cause: error });
  const { code, message } = asRunError(error);
  return code === 'run.io' ? fault('disk', message, { cause: error }) : undefined;
}

/** The journal stands still (journal.ts). */
const SQLITE_READONLY = 8;

const ROOT_BYTES = 4 * 1024 * 1024;

export interface Agent {
  readonly settings: AgentSettings;
  readonly places: ReturnType<typeof placesOf>;
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly trust: TrustClient;
  readonly documents: DocumentStore;
  /** This host's own keys; undefined before it is enrolled. */
  readonly keys: AgentKeys | undefined;
  readonly outbox: Outbox | undefined;
  readonly hands: Hands;
  readonly failPoint: FailPoint;
  readonly relays: Relays;
  readonly line: Line;
  /** Milliseconds. */
  trustedNow(): number;
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Replaces the hands that touch the real host: for tests with a fake host. */
  readonly hands?: Hands | undefined;
  /** Replaces the origins that the settings name. */
  readonly origins?: readonly Origin[] | undefined;
}

/** Inventory of the host as the settings see it. */
export async function inventoryOf(settings: AgentSettings, clock: Clock, facts = true): Promise<Inventory> {
  const found = await takeInventory({ clock, labels: settings.labels, archiveRoot: settings.archiveRoot, facts });
  return settings.zone === undefined ? found : { ...found, zone: settings.zone };
}

/** The trust state of the agent; the pinned root is only needed the first time. @throws trust.no-root, trust.other-root */
export function openAgentTrust(settings: AgentSettings, clock: Clock): TrustClient {
  const pinnedRoot = settings.rootFile === undefined ? undefined : readFileBounded(settings.rootFile, ROOT_BYTES);
  return openTrust({
    folder: placesOf(settings).trust,
    now: () => clock.now(),
    ...(pinnedRoot === undefined ? {} : { pinnedRoot }),
  });
}

/**
 * Whether the host starts from another root at its next boot, to which this agent's state was carried over: then nothing may be
 * written here any more, by whichever process. The journal stands still from here on.
 */
export function awaitsOtherRoot({ journal }: Pick<Agent, 'journal'>): boolean {
  const boot = journal.standsIn;
  if (boot === undefined || boot !== readBootId()) return false;
  journal.standStill(boot);
  return true;
}

/** Opens everything an enrolled agent works with. @throws agent.not-enrolled, run.journal, trust.*, settings.* */
export async function openAgent(settings: AgentSettings, options: OpenOptions): Promise<Agent> {
  const { clock, log } = options;
  const places = placesOf(settings);
  fs.mkdirSync(settings.stateDir, { recursive: true, mode: 0o700 });
  const journal = openJournal(places.journal, { now: clock.now() });
  awaitsOtherRoot({ journal });
  await leaveIdentity(journal, places, settings.stateDir);
  const keys = await readKeys(places.keys);
  const failPoint = armFailPoints(process.env['PATCHFERRY_FAILPOINT'], settings.testing.failPoints);
  if (journal.putAside !== undefined) {
    log.error({ file: journal.putAside }, 'the journal was damaged and put aside');
    journal.setMeta('chain.lost', '1');
  }
  const enrolment = readEnrolment(settings.stateDir);
  if (enrolment !== undefined && journal.meta('chain.start') !== enrolment.envelopeSha256) {
    journal.setMeta('chain.start', enrolment.envelopeSha256);
  }
  const line = openLine(settings.line, clock);
  const opened = options.origins ?? (await openRelayOrigins(settings, options));
  const trust = openAgentTrust(settings, clock);
  return {
    settings,
    places,
    clock,
    log,
    journal,
    trust,
    documents: openDocuments(places.documents),
    keys,
    outbox: keys === undefined ? undefined : openOutbox({ journal, folder: places.outbox, keys, failPoint }),
    hands: options.hands ?? (await realHands(settings, clock)),
    failPoint,
    relays: openRelays({
      origins: opened,
      notes: journal,
      agent: keys?.id ?? '',
      clock,
      choice: settings.relayChoice,
    }),
    line,
    trustedNow: () => trust.freshness().trustedTime,
    async close() {
      journal.close();
      await Promise.all(opened.map((origin) => origin.close()));
    },
  };
}

async function realHands(settings: AgentSettings, clock: Clock): Promise<Hands> {
  const [{ packageSystems }, { waysBack }, { checkHost, findUpdaters, hostFixes, switchBack, switchOff }] = await Promise.all([
    import('../packages/index.ts'),
    import('../snapshot/index.ts'),
    import('../prechecks/index.ts'),
  ]);
  return {
    systems: packageSystems,
    ways: waysBack,
    machine: () => readMachine(),
    inventory: () => inventoryOf(settings, clock),
    digest: packagesDigest,
    reboot: rebootHost,
    checkHost,
    fixHost: async (name) => hostFixes[name]?.(),
    updaters: { find: () => findUpdaters(), switchOff: (unit) => switchOff(unit), switchBack: (before) => switchBack(before) },
    checkHealth,
    runHook,
    rebootEvidence: (inventory) => rebootEvidence(inventory),
    staleUses: () => staleUses(),
    mayRestart,
    restartUnit,
    loggedIn,
    notify: notifyUsers,
    wait: (ms, signal) => pause(ms, signal).catch(() => undefined), // an abort ends it
  };
}

/** The private folder of one run, on the state's file system. */
export function workFolderOf(agent: Agent, run: string): string {
  return join(agent.places.work, run);
}
