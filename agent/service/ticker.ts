// The service: a tick a minute, a cycle when one is due. When that is follows from the agent's id (no wake storm), from what
// the last cycle said, and from changes of the host's own package database.
import * as fs from 'node:fs';
import { isFault } from '#manifests/errors';
import { pause } from '#manifests/platform/clock';
import { nextSlotAt, slotOf } from '../poll/index.ts';
import { asRunError } from '../run/index.ts';
import { type Agent, awaitsOtherRoot } from './agent.ts';
import { isLeaving } from './copies.ts';
import { lastCycle, runCycle } from './cycle.ts';
import { pollMinutes } from './rhythm.ts';

/** Files that change whenever packages do, by whomever. */
const PACKAGE_DATABASES = ['/var/lib/dpkg/status'] as const;

/** Where the time of the last poll's slot is kept. */
const LAST_SLOT = 'poll.slot';

/** The part of a minute that a tick waits, so that hosts with the same interval do not poll in the same second. */
const MINUTE_MS = 60_000;
/** Something is due at least once a day: what is said to be due later was said while the clock was ahead. */
const FARTHEST_MS = 25 * 3_600_000;

/**
 * Runs until `signal` aborts. Begins with what an earlier process left unfinished; a cycle that fails is logged and the next
 * one comes. Another process at work (a person with `once`) is waited out.
 */
export async function keepRunning(agent: Agent, signal: AbortSignal): Promise<void> {
  let dueAt = lastCycle(agent)?.nextAt ?? undefined; // a window that opens must not be missed by a restart
  let database = stampOfDatabases();
  const minutes = () => pollMinutes(agent);
  const id = agent.keys?.id ?? '';

  const tooFar = (at: number | undefined) => at !== undefined && at > agent.trustedNow() + FARTHEST_MS;

  const cycle = async (): Promise<void> => {
    const now = agent.clock.now();
    if (!awaitsOtherRoot(agent)) agent.journal.setMeta(LAST_SLOT, String(slotOf(id, minutes(), now)));
    const stamp = stampOfDatabases();
    const changed = stamp !== database;
    database = stamp;
    try {
      const report = await runCycle(agent, {
        signal,
        eager: false,
        retry: false,
        onlyAfter: changed || tooFar(dueAt) ? undefined : dueAt,
        say: (line) => agent.log.info({ says: line }, 'progress'),
      });
      dueAt = report.nextAt ?? undefined;
      const next = { poll: new Date(nextSlotAt(id, minutes(), agent.clock.now())).toISOString(), dueAt: report.nextAt };
      agent.log.info({ exit: report.exit, says: report.says, next }, 'a cycle ended');
    } catch (error) {
      if (signal.aborted) return;
      dueAt = undefined;
      if (isFault(error, 'lock.held')) agent.log.info({ where: asRunError(error).message }, 'another process is at work');
      else agent.log.error({ error: asRunError(error), err: error }, 'a cycle failed');
    }
  };

  const due = () => {
    const now = agent.clock.now();
    if (agent.journal.runs.open() !== undefined) return true;
    if (agent.journal.meta(LAST_SLOT) !== String(slotOf(id, minutes(), now))) return true;
    if (stampOfDatabases() !== database) return true;
    return dueAt !== undefined && (agent.trustedNow() >= dueAt || tooFar(dueAt));
  };

  const offset = nextSlotAt(id, minutes(), 0) % MINUTE_MS;
  if (due()) await cycle();
  if (isLeaving(agent.journal)) return; // the supervisor starts it again, with an identity of its own
  let leave: () => void = () => undefined;
  const { schedule } = await import('node-cron'); // only a service needs it
  const task = schedule(
    '* * * * *',
    async () => {
      try {
        await pause(offset, signal);
        if (due()) await cycle();
        if (isLeaving(agent.journal)) leave();
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
    { noOverlap: true, suppressMissedWarning: true, name: 'patchferry-agent' },
  );
  await new Promise<void>((resolve) => {
    leave = resolve;
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await task.stop();
  await task.destroy();
}

function stampOfDatabases(): string {
  return PACKAGE_DATABASES.map((path) => String(fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0)).join(' ');
}
