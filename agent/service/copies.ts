// Two machines with one identity: a machine that was cloned, a disk that was copied. Noticed here by the machine itself (it is not
// the one on which this state folder was used before) and by the ack of the publisher (another one has told under this number).
// What is done about it is the group's word: `clones: report | stop | re-enrol`.

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import type { Group } from '#manifests/schema';
import { isSameMachine, type Machine } from '../inventory/index.ts';
import { ensureKeys, prepareCopyEnrolment, readEnrolment, readKeys, tellAlert } from '../outbox/index.ts';
import type { Journal, ResultStamp } from '../run/index.ts';
import type { Agent } from './agent.ts';
import type { placesOf } from './settings.ts';

/** The machine on which this state folder is used, in the journal. */
const MACHINE = 'machine';
/** Why this host stands still until a person has looked; set by `clones: stop`. */
const STANDS_STILL = 'copy.stopped';
/** The identity that is being laid down for one of its own; the next start goes on from there. */
const LEAVING = 'copy.leaving';

/** Why nothing is installed on this host before `once --retry`; undefined when nothing stands in the way. */
export function standsStill(journal: Pick<Journal, 'meta'>): string | undefined {
  return journal.meta(STANDS_STILL);
}

/** Whether the process has to end, so that the next one begins with an identity of its own. */
export function isLeaving(journal: Pick<Journal, 'meta'>): boolean {
  return journal.meta(LEAVING) !== undefined;
}

/** A person says that this machine is the one: it stays so, and goes on. */
export function settleCopy(agent: Agent): void {
  agent.journal.setMeta(STANDS_STILL, null);
  agent.journal.setMeta(MACHINE, JSON.stringify(agent.hands.machine()));
}

interface Noticed {
  readonly how: 'machine' | 'fork';
  readonly group: Group | null;
  readonly stamp: ResultStamp;
}

/** Looks whether this is the machine of before. @returns what a person should know when it is not */
export async function noticeMachine(
  agent: Agent,
  group: Group | null,
  stamp: () => Promise<ResultStamp>,
): Promise<string | undefined> {
  const { journal, hands, keys } = agent;
  const now = hands.machine();
  const text = journal.meta(MACHINE);
  if (text === undefined || keys === undefined) {
    journal.setMeta(MACHINE, JSON.stringify(now));
    return undefined;
  }
  if (isSameMachine(JSON.parse(text) as Machine, now)) return undefined;
  return act(agent, { how: 'machine', group, stamp: await stamp() });
}

/** The ack names a result that is not this machine's. @returns what a person should know */
export function noticeFork(agent: Agent, group: Group | null, stamp: ResultStamp): string {
  return act(agent, { how: 'fork', group, stamp });
}

function act(agent: Agent, { how, group, stamp }: Noticed): string {
  const { journal, clock, hands, keys } = agent;
  const seen =
    how === 'machine'
      ? 'this is another machine than the one on which this identity was used before: a clone, or its disk in other hardware'
      : 'another machine reports under the same identity';
  // The one whose hardware is as ever cannot know that it is the copy: it stays, and says so.
  const clones = group?.clones ?? 'report';
  const does = clones === 're-enrol' && how === 'fork' ? 'report' : clones;
  const says = {
    report: `${seen}; it goes on as policy says`,
    stop: `${seen}; nothing is installed until a person has looked (once --retry: this machine is the one)`,
    're-enrol': `${seen}; it asks to be enrolled under an identity of its own`,
  }[does];
  if (how === 'machine') tellAlert(journal, { code: 'agent.copied', message: says, where: null }, stamp, clock.now());
  journal.atomically(() => {
    if (does === 'stop') journal.setMeta(STANDS_STILL, says);
    if (does === 're-enrol' && keys !== undefined) journal.setMeta(LEAVING, keys.id);
    journal.setMeta(MACHINE, JSON.stringify(hands.machine()));
  });
  return says;
}

/**
 * Lays down the shared identity: keys, enrolment and unsent results go aside (results of a copy would be told under a name that is
 * not its own), new keys are made. Each step may be repeated after a kill; the mark goes last.
 */
export async function leaveIdentity(journal: Journal, places: ReturnType<typeof placesOf>, stateDir: string): Promise<void> {
  const old = journal.meta(LEAVING);
  if (old === undefined) return;
  const aside = `${stateDir}/identity-${old.slice(0, 16)}`;
  fs.mkdirSync(aside, { recursive: true, mode: 0o700 });
  const move = (from: string, name: string) => {
    if (fs.existsSync(from)) fs.renameSync(from, `${aside}/${name}`);
  };
  if ((await readKeys(places.keys))?.id === old) move(places.keys, 'keys');
  const title = readEnrolment(stateDir)?.agent === old ? readEnrolment(stateDir)?.title : undefined;
  if (title !== undefined) {
    journal.setMeta('copy.title', title);
    move(`${stateDir}/enrolment.pfe`, 'enrolment.pfe');
    move(`${stateDir}/enrolment.json`, 'enrolment.json');
  }
  move(places.outbox, `outbox-${randomBytes(4).toString('hex')}`);
  await ensureKeys(places.keys);
  journal.atomically(() => {
    journal.results.startAnew();
    journal.setMeta('copy.of', old);
    journal.setMeta(LEAVING, null);
  });
}

/** Writes the request of a copy to be enrolled by itself, once its keys are its own and it knows whom to seal to. */
export async function askForOwn(agent: Agent, recipients: readonly string[]): Promise<string | undefined> {
  const { journal, keys, settings, clock } = agent;
  const of = journal.meta('copy.of');
  if (of === undefined || keys === undefined || recipients.length === 0) return undefined;
  if (readEnrolment(settings.stateDir)?.agent === keys.id) return undefined;
  const enrolment = prepareCopyEnrolment({
    stateDir: settings.stateDir,
    keys,
    of,
    title: `${journal.meta('copy.title') ?? settings.title ?? 'a host'} (copy of ${of.slice(0, 8)})`.slice(0, 255),
    relays: settings.relays,
    recipients,
    inventory: await agent.hands.inventory(),
    trustedNow: agent.trustedNow(),
    now: clock.now(),
  });
  journal.setMeta('chain.start', enrolment.envelopeSha256);
  return `agent ${keys.id} ("${enrolment.title}") asks to be enrolled: a person at the publisher has to approve it by name`;
}
