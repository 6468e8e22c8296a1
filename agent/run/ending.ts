// The end of a run: one transaction with its result, what the host remembers of it, and the pause before the next attempt.
import { utcSeconds } from '#manifests/platform/clock';
import type { Inventory, PackageChange, RunBody } from '#manifests/schema';
import { type Attempt, asRunError, discardWays } from './acts.ts';
import { failedPatches, notInstalled, pausePatches } from './batches.ts';
import { hookReport, runHooks } from './hooks.ts';
import { RUN_LIMITS } from './limits.ts';
import { setPause } from './memory.ts';
import { noteNeed, type RebootNeed, rebootNeed } from './need.ts';
import { oneLine, type RunData, type RunMemory, type RunRow, versionsOf } from './runs.ts';

export type Ended = {
  readonly kind: 'ended';
  readonly run: string;
  readonly outcome: RunBody['outcome'];
  readonly body: RunBody;
  /** Milliseconds; when the same set may be tried again, where there is a pause. */
  readonly retryAt: number | null;
};

/** Failures that say something about the set itself: it is not tried again until it changes (trap 11). */
const HARMFUL: readonly string[] = [
  'run.install',
  'run.still-missing',
  'run.audit',
  'run.health',
  'run.hook',
  'run.restart',
  'run.killed-often',
  'run.by-hand',
  'run.recalled',
];

/** Set while a host waits for hands after a rollback that failed. */
export const HANDS_NEEDED = 'hands-needed';
/** The newest run whose way back is kept; the book of ways back (ways.ts) keeps it so. */
export const LAST_COMMITTED = 'last-committed';

export async function commit(attempt: Attempt): Promise<Ended> {
  return end(attempt, 'committed', 'what was installed stays');
}

export async function fail(attempt: Attempt): Promise<Ended> {
  const { data } = attempt;
  if (!data.touched && data.rollback === 'none') {
    const code = data.error?.code ?? '';
    const refused =
      /^(?:run\.(?:precheck|precheck-later|hook|hook-later|no-way-back|window-closed|kept-back|blocked|no-package-system))$/.test(
        code,
      ) || !/^(?:run|transfer|files|repository|process|wayback)\./.test(code);
    return end(attempt, refused ? 'refused' : 'failed', 'nothing was changed on the host');
  }
  return data.rollback === 'done'
    ? end(attempt, 'rolled-back', 'the host is as it was before')
    : end(attempt, 'rollback-failed', 'the host could not be put back: hands are needed');
}

const never = new AbortController().signal;

async function end(attempt: Attempt, outcome: RunBody['outcome'], says: string): Promise<Ended> {
  const { id, data, world } = attempt;
  const { journal, hands } = world;
  // it has its say however the run ends, and no vote
  await runHooks(attempt, 'on-exit', never, outcome);
  const row = journal.runs.get(id);
  const after = await hands.inventory();
  const need = rebootNeed(attempt, after);
  const now = world.trustedNow();
  noteNeed(world, need.needed);
  const digest = setPause(data.digest);
  const text = data.error?.message ?? says;
  const settings = outcome === 'committed' ? settingsOf(attempt) : {};
  let retryAt: number | null = null;
  let body: RunBody | undefined;
  world.failPoint('result.before');
  journal.atomically(() => {
    if (outcome === 'committed') {
      journal.backOff.clear(digest);
      pausePatches(attempt, now);
    } else if (harmless(data, outcome)) journal.backOff.clear(digest);
    else {
      const line =
        data.error?.code.startsWith('transfer.') === true ||
        data.error?.code === 'run.hook-later' ||
        data.error?.code === 'run.precheck-later';
      const first = line ? RUN_LIMITS.fetchFirstMs : RUN_LIMITS.retryFirstMs;
      const most = line ? RUN_LIMITS.fetchMostMs : RUN_LIMITS.retryMostMs;
      retryAt = journal.backOff.fail(digest, text, now, first, most).until;
    }
    if (outcome === 'rollback-failed') journal.setMeta(HANDS_NEEDED, id);
    noteWay(attempt, outcome, now);
    journal.runs.finish(
      id,
      says,
      (steps) => (body = { ...bodyOf(data, row, steps, outcome, need, after, hands.digest(after), now), ...settings }),
      memoryOf(attempt, outcome, after, now, need.needed),
      { boot: after.bootId, trustedTime: utcSeconds(now), wallTime: utcSeconds(world.clock.now()) },
    );
  });
  world.failPoint('result.after');
  if (outcome !== 'committed' && outcome !== 'rollback-failed') {
    // a kill before this leaves room taken, which the next cycle's sweep gives back
    await discardWays(attempt, world.context(id, [], world.signal)).catch((cause: unknown) =>
      world.log.warn({ cause: asRunError(cause) }, 'a way back could not be discarded'),
    );
  }
  if (body === undefined) throw new TypeError('a run ended without a result');
  return { kind: 'ended', run: id, outcome, body, retryAt };
}

/** Taken back only because a run below it was recalled: its set has done nothing wrong and is installed again. */
function harmless({ error }: RunData, outcome: RunBody['outcome']): boolean {
  return outcome === 'rolled-back' && error?.code === 'run.recalled-below';
}

/** What became of settings files, by the package systems that installed something. */
function settingsOf({ id, data, world }: Attempt): Pick<RunBody, 'conffiles'> {
  const context = world.context(id, [], never);
  const plans = data.undoes === null ? data.plans.filter(({ format }) => data.installed.includes(format)) : [];
  const conffiles = plans.flatMap((plan) => world.hands.systems[plan.format].settingsAfter?.(plan, context) ?? []);
  return conffiles.length === 0 ? {} : { conffiles: conffiles.slice(0, RUN_LIMITS.conffiles) };
}

/** What can be taken back from now on. A reboot that an earlier run owed is part of that run and has no way back of its own. */
function noteWay({ id, data, world: { journal } }: Attempt, outcome: RunBody['outcome'], now: number): void {
  if (data.undoes !== null) {
    if (outcome === 'rolled-back') journal.ways.giveUp(data.undoes, 'it was taken back');
    return;
  }
  if (outcome !== 'committed') return;
  if (data.ways.length > 0) journal.ways.keep(id, now);
  else for (const { run } of journal.ways.kept()) journal.ways.giveUp(run, 'a later run had no way back');
}

/**
 * Sets that are not to be tried again after this one was taken back: itself, and what the next poll would make of it and of those
 * taken back before, when nothing new is in that (trap 11).
 */
function takenBack({ data, world }: Attempt, after: Inventory, at: number): NonNullable<RunMemory['rolledBack']> {
  const own = { digest: data.digest, patches: data.patches, at };
  if (data.error?.code === 'run.recalled') return [own]; // what came along with a recalled patch has done nothing wrong
  const before = world.journal.runs.memory().rolledBack.flatMap(({ patches }) => patches);
  const known = new Set([...data.patches, ...before]);
  const { install, digest } = world.evaluate(after, { installedByUs: [], failed: [], rolledBack: [] });
  if (digest === data.digest || install.length === 0 || !install.every((patch) => known.has(patch))) return [own];
  return [own, { digest, patches: install, at }];
}

function memoryOf(
  attempt: Attempt,
  outcome: RunBody['outcome'],
  after: Inventory,
  at: number,
  rebootNeeded: boolean,
): RunMemory {
  const { data } = attempt;
  const code = data.error?.code ?? 'run.unexpected';
  const patches = data.patches;
  if (outcome === 'committed') {
    const left = notInstalled(data);
    const failed = failedPatches(data).map(({ patch }) => patch);
    return {
      installed: { patches: patches.filter((patch) => !left.has(patch)), boot: after.bootId, rebootNeeded },
      ...(failed.length === 0 ? {} : { failed: { patches: failed, at, code: 'run.install' } }),
    };
  }
  if (outcome === 'rolled-back' && HARMFUL.includes(code)) return { rolledBack: takenBack(attempt, after, at) };
  return outcome === 'refused' || harmless(data, outcome) ? {} : { failed: { patches, at, code } };
}

/** How a result names that there is no way back, with the reason beside it. */
const NO_WAY = { id: '-' };

function bodyOf(
  data: RunData,
  row: RunRow | undefined,
  steps: { state: string; at: string; says: string }[],
  outcome: RunBody['outcome'],
  { needed, evidence }: RebootNeed,
  after: Inventory,
  digestAfter: string,
  now: number,
): RunBody {
  const finished = utcSeconds(now);
  const [way = data.waySays === null ? undefined : NO_WAY] = data.ways;
  const failed = failedPatches(data);
  const says = [...data.ways.map((taken) => taken.says), ...(data.waySays === null ? [] : [data.waySays])].join('; ');
  return {
    run: row?.id ?? '',
    started: row?.started ?? finished,
    finished,
    outcome,
    error: outcome === 'committed' ? null : data.error,
    patches: data.patches,
    states: steps.slice(-1_000),
    wayBack:
      way === undefined
        ? null
        : {
            kind:
              data.ways
                .map(({ kind }) => kind)
                .join('+')
                .slice(0, 40) || 'none',
            id: oneLine(way.id, 300),
            says: oneLine(says),
          },
    health: data.health,
    changes: changesBetween(data, after),
    kernelsBefore: data.before.kernels,
    kernelsAfter: after.kernels,
    resumed: row?.resumed ?? 0,
    rebootNeeded: { needed, evidence: evidence.map((line) => oneLine(line, 300)).slice(0, 100) },
    packagesBeforeSha256: data.before.digest,
    packagesAfterSha256: digestAfter,
    ...(data.prechecks === undefined ? {} : { prechecks: data.prechecks }),
    ...(data.fixes === undefined || data.fixes.length === 0 ? {} : { fixes: data.fixes }),
    ...(data.hooks === undefined || data.hooks.length === 0 ? {} : { hooks: hookReport(data) }),
    ...(data.restarted === undefined || data.restarted.length === 0 ? {} : { restarted: data.restarted }),
    ...(outcome === 'committed' && failed.length > 0 ? { failedPatches: failed } : {}),
  };
}

/** What is different on the host since the run began; empty after a rollback. */
function changesBetween({ before }: RunData, after: Inventory): PackageChange[] {
  const now: Record<string, string> = versionsOf(after.packages);
  const packages = differences(before.packages, now).map(([key, from, to]) => {
    const colon = key.lastIndexOf(':');
    return { name: key.slice(0, colon), arch: key.slice(colon + 1), from, to };
  });
  const components = differences(before.components, after.components).map(([name, from, to]) => ({
    name,
    arch: 'all',
    from,
    to,
  }));
  return [...packages, ...components];
}

function differences(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>) {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])]
    .filter((key) => a[key] !== b[key])
    .toSorted()
    .map((key) => [key, a[key] ?? null, b[key] ?? null] as const);
}
