// One full cycle of an agent: go on with what was interrupted, sync, evaluate, wait or run, tell. The order of the states
// is the transition table's; what a run does inside is in run/.
import type { Evaluation } from '#manifests/decide';
import { EXIT, type ExitCode } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import type { Inventory } from '#manifests/schema';
import { tellAlert } from '../outbox/index.ts';
import { requestsOf } from '../owner/index.ts';
import { isRefusal, type PolicyView, syncOnce } from '../poll/index.ts';
import { beginRun, HANDS_NEEDED, oneLine, type RunEnd, type RunWorld, setPause, takeUp } from '../run/index.ts';
import { type Agent, awaitsOtherRoot } from './agent.ts';
import { isLeaving, noticeMachine, settleCopy, standsStill } from './copies.ts';
import { askAgainAt, giveLeaseBack, withLeases } from './lease.ts';
import { lookAndTell } from './looking.ts';
import type { Notice } from './notices.ts';
import { rebootOwed, takeBackRecalled } from './owed.ts';
import { bringPayloads } from './payloads.ts';
import { noteAwake } from './rhythm.ts';
import { sweep } from './sweep.ts';
import { type CycleReport, Tally } from './tally.ts';
import { tell } from './telling.ts';
import { careForUpdaters } from './updaters.ts';
import { makeWorld } from './world.ts';

export interface CycleOptions {
  readonly signal: AbortSignal;
  /** By hand: relays that rest are asked all the same. */
  readonly eager: boolean;
  /** No relay is asked: what was verified and fetched before has to do. */
  readonly offline?: boolean | undefined;
  /** By hand: failures, rolled-back sets and their pauses are forgotten first. */
  readonly retry: boolean;
  /** Poll, look and tell; nothing is taken up, fetched or installed. */
  readonly lookOnly?: boolean | undefined;
  /** Evaluate only when the poll brought something new, or this moment (ms) has come. */
  readonly onlyAfter?: number | undefined;
  readonly say: (line: string) => void;
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
}

/** Key of the last cycle's summary in the journal. */
const LAST_CYCLE = 'last-cycle';

/** What the journal keeps of the last cycle. */
export interface LastCycle {
  readonly exit: number;
  readonly at: string;
  readonly says: readonly string[];
  readonly nextAt: number | null;
  readonly sync: CycleReport['sync']['kind'];
  /** Of the last cycle that looked; journals of earlier versions have none. */
  readonly notices?: readonly Notice[];
}

export function lastCycle({ journal }: Pick<Agent, 'journal'>): LastCycle | null {
  const text = journal.meta(LAST_CYCLE);
  return text === undefined ? null : (JSON.parse(text) as LastCycle);
}

/** Runs one cycle. @throws lock.held when another process works on this host's state */
export async function runCycle(agent: Agent, options: CycleOptions): Promise<CycleReport> {
  const lock = takeLock(agent.places.lock, 'agent cycle');
  try {
    const report = await new Cycle(agent, options).run();
    if (awaitsOtherRoot(agent)) return report; // its summary would be left behind
    const { exit, at, says, nextAt } = report;
    const notices = report.notices ?? lastCycle(agent)?.notices ?? [];
    const summary: LastCycle = { exit, at, says, nextAt, sync: report.sync.kind, notices };
    agent.journal.setMeta(LAST_CYCLE, JSON.stringify(summary));
    return report;
  } finally {
    lock.release();
  }
}

const STANDING_SAYS: Readonly<Record<PolicyView['standing'], string>> = {
  approved: 'this host is approved',
  unknown: 'this host waits for approval: the publisher has to approve it into the roster',
  revoked: 'this host was revoked by the publisher: it installs nothing and its results are not taken',
};

class Cycle {
  readonly #agent: Agent;
  readonly #options: CycleOptions;
  readonly #world: RunWorld;
  readonly #tally: Tally;
  #view: PolicyView;

  constructor(agent: Agent, options: CycleOptions) {
    this.#agent = agent;
    this.#options = options;
    this.#tally = new Tally(agent);
    this.#view = agent.documents.view(agent.keys?.id ?? null);
    this.#world = withLeases(
      makeWorld(agent, () => this.#view, options),
      agent,
    );
  }

  async run(): Promise<CycleReport> {
    const tally = this.#tally;
    const waits = awaitsOtherRoot(this.#agent) ? await takeUp(this.#world) : undefined;
    if (waits?.kind === 'rebooting') {
      tally.took(waits);
      return this.#report();
    }
    this.#agent.journal.backOff.endFar(Math.max(this.#agent.trustedNow(), this.#agent.clock.now()));
    if (this.#options.retry) this.#forget();
    const slept = await noteAwake(this.#agent);
    const looking = this.#options.lookOnly === true;
    const taken = looking ? undefined : (waits ?? (await takeUp(this.#world)));
    if (taken !== undefined && !tally.took(taken)) return this.#report();
    const copied = looking
      ? undefined
      : await noticeMachine(this.#agent, this.#view.group, async () => tally.stamp(await this.#boot()));
    if (copied !== undefined) {
      tally.says.push(copied);
      tally.exit ??= EXIT.deferred;
      if (isLeaving(this.#agent.journal)) return this.#report();
    }
    const damaged = this.#view.damaged !== null;
    if (this.#options.offline === true) tally.note('Sync', 'no relay was asked');
    else {
      await this.#poll();
      await giveLeaseBack(this.#agent, this.#view.group, this.#options.signal);
      await this.#tell();
    }
    const { onlyAfter } = this.#options;
    const quiet = !damaged && !slept && onlyAfter !== undefined && this.#agent.trustedNow() < onlyAfter;
    if (taken === undefined && quiet && !tally.sync.changed) {
      tally.nextAt = onlyAfter;
      return this.#report();
    }
    if (!looking) await sweep(this.#agent, this.#view, this.#world);
    await this.#decideAndRun();
    if (this.#options.offline !== true) await this.#tell();
    return this.#report();
  }

  #forget(): void {
    const { journal } = this.#agent;
    journal.runs.forget();
    for (const kind of ['set:', 'patch:']) for (const { name } of journal.backOff.list(kind)) journal.backOff.clear(name);
    journal.setMeta(HANDS_NEEDED, null);
    settleCopy(this.#agent);
  }

  async #poll(): Promise<void> {
    const { relays, trust, documents, keys, journal, clock } = this.#agent;
    const tally = this.#tally;
    const outcome = await syncOnce({
      relays,
      trust,
      documents,
      agent: keys?.id ?? null,
      eager: this.#options.eager,
      keep: journal.runs.open()?.data.catalogs ?? [],
      asked: requestsOf(journal).length > 0,
      signal: this.#options.signal,
    });
    const synced = outcome.kind === 'synced';
    tally.sync = { kind: outcome.kind, changed: synced && outcome.changed, relay: synced ? outcome.origin.name : null };
    for (const { relay, code, message, where } of outcome.kind === 'paused' ? [] : outcome.attempts) {
      tally.says.push(`${relay}: ${code}: ${oneLine(message, 300)}`);
      // a line that is down is no news; bytes that are not genuine are
      if (isRefusal({ code }) && keys !== undefined) {
        tellAlert(journal, { code, message: `${relay}: ${message}`, where }, tally.stamp(await this.#boot()), clock.now());
      }
    }
    if (outcome.kind === 'behind')
      tally.lagging = outcome.attempts
        .filter(({ code }) => code === 'poll.relay-behind')
        .map(({ relay, code, message }) => ({ code, about: relay, says: `${relay}: ${message}` }));
    if (outcome.kind === 'unreachable') tally.exit ??= EXIT.unreachable;
    if (outcome.kind === 'refused') tally.exit ??= EXIT.refused;
    if (outcome.kind === 'paused') tally.says.push(`every relay rests until ${utcSeconds(outcome.until)} after failures`);
    tally.note(
      'Sync',
      synced ? `${outcome.origin.name}: ${outcome.changed ? 'news' : 'nothing new'}` : `no news: ${outcome.kind}`,
    );
    this.#view = documents.view(keys?.id ?? null);
    const { delegation } = this.#view;
    if (!(synced || outcome.kind === 'behind') || delegation?.may.includes('halt') !== true) return;
    const trouble = await documents.siteHalts.ask(outcome.origin, delegation, this.#agent.trustedNow(), this.#options.signal);
    if (trouble !== null) tally.says.push(oneLine(trouble, 300));
    this.#view = documents.view(keys?.id ?? null);
  }

  async #boot(): Promise<string> {
    return (await this.#inventory()).bootId;
  }

  #found: Inventory | undefined;
  async #inventory(): Promise<Inventory> {
    this.#found ??= await this.#agent.hands.inventory();
    return this.#found;
  }

  async #decideAndRun(): Promise<void> {
    const { keys, trust } = this.#agent;
    const tally = this.#tally;
    await this.#careForUpdaters();
    if (keys === undefined || this.#view.member === null) {
      const says =
        keys === undefined ? 'this host is not enrolled' : (this.#view.damaged ?? STANDING_SAYS[this.#view.standing]);
      tally.note('Evaluate', says);
      tally.says.push(says);
      tally.exit ??= EXIT.deferred;
      return;
    }
    let evaluation = await this.#look();
    if (this.#options.lookOnly === true) return;
    for (let more = true; more; ) {
      const undone = await takeBackRecalled(evaluation, await this.#making());
      if (undone === undefined) break;
      if (!tally.took(undone)) return;
      evaluation = await this.#look(); // where runs stand on the recalled one, this was the newest of them
      more = undone.kind === 'ended' && undone.outcome === 'rolled-back';
    }
    const delivered = await bringPayloads(evaluation, {
      ...(await this.#making()),
      boot: await this.#boot(),
      again: tally.sync.changed || this.#options.eager,
      signal: this.#options.signal,
    });
    if (!(await this.#mayRun(evaluation)) || !delivered) {
      const rebooted = await rebootOwed(evaluation, await this.#making());
      if (rebooted !== undefined && tally.took(rebooted)) await this.#look();
      return;
    }
    const ended = await this.#install(evaluation);
    trust.noteTime(this.#agent.trustedNow());
    if (!tally.took(ended)) return;
    if (ended.kind === 'ended' && ended.outcome === 'committed') await this.#afterCommit(evaluation);
    else await this.#look();
  }

  /** A host that nobody has approved yet, or whose documents are damaged, stays as it is. */
  async #careForUpdaters(): Promise<void> {
    const { member, standing, group } = this.#view;
    if (this.#options.lookOnly === true || (member === null && standing !== 'revoked')) return;
    const { journal, hands, clock } = this.#agent;
    const wanted = standing === 'revoked' ? 'leave' : (group?.otherUpdaters ?? 'leave');
    const { says, trouble } = await careForUpdaters(journal, hands.updaters, wanted);
    this.#tally.says.push(...says, ...trouble);
    if (says.length + trouble.length === 0) return;
    const stamp = this.#tally.stamp(await this.#boot());
    tellAlert(
      journal,
      { code: 'agent.other-updaters', message: [...says, ...trouble].join('; '), where: null },
      stamp,
      clock.now(),
    );
  }

  async #install(evaluation: Evaluation): Promise<RunEnd> {
    const { group, catalogDocuments: catalogs } = this.#view;
    const { trail } = this.#tally;
    return beginRun({ evaluation, inventory: await this.#inventory(), group, catalogs, trail }, this.#world);
  }

  async #making() {
    const inventory = await this.#inventory();
    return { agent: this.#agent, view: this.#view, world: this.#world, tally: this.#tally, inventory };
  }

  /** Looks at the host again, tells what it is now, and gives back what no longer has to be kept. */
  async #afterCommit(before: Evaluation): Promise<void> {
    const after = await this.#look();
    const failed = new Set(after.findings.filter(({ state }) => state === 'FAILED').map(({ patch }) => patch));
    const left = after.install.filter((patch) => before.install.includes(patch) && !failed.has(patch));
    if (left.length > 0) this.#tally.says.push(`${left.length} patches of the set are left for the next window`);
    await sweep(this.#agent, this.#view, this.#world);
  }

  async #look(): Promise<Evaluation> {
    this.#found = undefined;
    return lookAndTell(this.#agent, this.#view, await this.#inventory(), this.#tally, this.#options.signal);
  }

  /** The state Wait: whether the set may be installed now; says until when not. */
  async #mayRun(evaluation: Evaluation): Promise<boolean> {
    const { journal } = this.#agent;
    const tally = this.#tally;
    const wait = (says: string, exit: ExitCode | null) => {
      tally.note('Wait', says);
      tally.says.push(says);
      if (exit !== null) tally.exit ??= exit;
      return false;
    };
    const hands = journal.meta(HANDS_NEEDED);
    if (hands !== undefined) {
      tally.exit = EXIT.handsNeeded;
      return wait(
        `the rollback of run ${hands.slice(0, 8)} failed: nothing is installed until it was looked at (once --retry, or rollback)`,
        null,
      );
    }
    const still = standsStill(journal);
    if (still !== undefined) return wait(still, EXIT.deferred);
    if (evaluation.next.action !== 'install')
      return wait(evaluation.next.says, evaluation.next.action === 'wait' ? EXIT.deferred : null);
    const pause = journal.backOff.get(setPause(evaluation.digest));
    if (pause !== undefined && pause.until > this.#agent.trustedNow()) {
      tally.soonest(pause.until);
      return wait(
        `the last attempt failed (${oneLine(pause.says, 200)}); tried again after ${utcSeconds(pause.until)}`,
        EXIT.deferred,
      );
    }
    tally.note('Wait', evaluation.next.says);
    return true;
  }

  async #tell(): Promise<void> {
    const { eager, signal } = this.#options;
    await tell({ agent: this.#agent, view: this.#view, tally: this.#tally, boot: () => this.#boot(), eager, signal });
  }

  #report(): CycleReport {
    this.#tally.soonest(askAgainAt(this.#agent));
    return this.#tally.report();
  }
}
