// `plan`: what would be installed and when; with --download also what the host's package manager would bring along.
import { type Evaluation, evaluate, inZone } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { formatBytes } from '#manifests/platform/progress';
import type { Group } from '#manifests/schema';
import type { HostContext, InstallPlan } from '../packages/index.ts';
import { NONE_WANTED } from '../run/index.ts';
import { type Agent, makeWorld } from '../service/index.ts';
import type { Assessment } from '../snapshot/index.ts';
import { table, withAgent } from './frame.ts';
import { whatIsKnown } from './scan.ts';

export async function plan(context: CommandContext): Promise<Outcome> {
  const { input, from } = await whatIsKnown(context);
  const evaluation = evaluate(input);
  const { packages, install, window } = evaluation;
  const asked = context.options['download'] === true && packages.length > 0 ? await ask(context) : [];
  const plans = asked.map(({ plan: one }) => one);
  const bytes = packages.reduce((sum, { size }) => sum + size, 0);
  const lines = [
    `by ${from}`,
    evaluation.next.says,
    ...(packages.length === 0
      ? []
      : [
          `${install.length} patches, ${packages.length} packages, ${formatBytes(bytes)}`,
          table(packages.map(({ name, arch, from: here, to, patch }) => [`${name}:${arch}`, here ?? '-', to, patch])),
        ]),
    ...asked.flatMap(({ plan: one, way }) => [...planLines(one), ...wayLines(one, way)]),
    ...whatElse(evaluation, input.inventory.zone),
  ];
  return {
    exit: packages.length === 0 ? EXIT.current : evaluation.next.action === 'install' ? EXIT.done : EXIT.deferred,
    text: lines.join('\n'),
    report: {
      schema: 'patchferry/agent-plan',
      schemaVersion: 1,
      next: evaluation.next,
      install,
      packages,
      bytes,
      window,
      lane: evaluation.lane,
      windows: evaluation.windows,
      estimateMinutes: Math.ceil(evaluation.estimateMs / 60_000),
      held: evaluation.held,
      pending: pendingOf(evaluation),
      excepted: evaluation.findings.flatMap(({ patch, state, changesAt }) =>
        state === 'EXCEPTED' ? [{ patch, until: changesAt }] : [],
      ),
      overdue: evaluation.overdue,
      urgent: evaluation.urgent,
      rollback: evaluation.rollback,
      halts: evaluation.halts,
      notices: evaluation.notices,
      warnings: evaluation.warnings,
      site: evaluation.site,
      plans: plans.map(({ format, newPackages, removals, keptBack, changes, refused, diskBytes }) => ({
        format,
        newPackages,
        removals,
        keptBack,
        changes,
        refused,
        diskBytes,
      })),
      waysBack: asked.map(({ plan: { format }, way }) => ({ format, ...way })),
    },
  };
}

function pendingOf({ findings }: Evaluation): { patch: string; approvesAt: string | null }[] {
  return findings
    .flatMap(({ patch, state, changesAt }) => (state === 'PENDING_APPROVAL' ? [{ patch, approvesAt: changesAt }] : []))
    .toSorted((a, b) => ((a.approvesAt ?? '') < (b.approvesAt ?? '') ? -1 : 1));
}

/** Patches of one kind that are told by name. */
const NAMED = 10;

/** What is not in the set and why, when that changes, and by which windows all of it goes. */
function whatElse(evaluation: Evaluation, zone: string): string[] {
  const { held, findings, overdue, rollback, rollbackWaits, windows, install, estimateMs, lane } = evaluation;
  const few = (rows: readonly string[]) => [
    ...rows.slice(0, NAMED),
    ...(rows.length > NAMED ? [`… and ${rows.length - NAMED} more`] : []),
  ];
  const told = new Set([evaluation.next.says]);
  const state = (purpose: 'download' | 'install' | 'reboot') => {
    const window = windows[purpose];
    const when = window.open
      ? window.name === 'any time'
        ? 'at any time'
        : `${window.name}, open until ${inZone(window.closesAt, zone)}`
      : window.opensAt === null
        ? 'no window is to come'
        : `${window.name} from ${inZone(window.opensAt, zone)}`;
    return `window for ${purpose}: ${when}`;
  };
  const lines = [
    ...(install.length === 0
      ? []
      : [`about ${Math.ceil(estimateMs / 60_000)} minutes with what is kept for checks and reboot`]),
    ...(lane === 'window'
      ? []
      : [`goes in by its ${lane === 'emergency' ? 'urgency' : 'deadline'}, not by the ordinary windows`]),
    ...(rollback === null ? [] : [rollback.says, ...(rollbackWaits === null ? [] : [rollbackWaits.says])]),
    ...few(held.flatMap(({ patch, holds }) => holds.map(({ says }) => `held back: ${patch}: ${says}`))),
    ...few(
      pendingOf(evaluation).map(
        ({ patch, approvesAt }) => `pending: ${patch}: approved at ${approvesAt ?? 'a moment nobody knows'}`,
      ),
    ),
    ...few(
      findings.flatMap(({ patch, state: is, changesAt }) =>
        is === 'EXCEPTED' ? [`excepted: ${patch}${changesAt === null ? '' : ` until ${changesAt}`}`] : [],
      ),
    ),
    ...few(overdue.map((patch) => `overdue: ${patch}`)),
    ...(evaluation.group === null ? [] : [state('download'), state('install'), state('reboot')]),
    ...evaluation.halts.map(({ says }) => says),
    ...evaluation.notices.map(({ says }) => says),
    ...evaluation.warnings,
    ...evaluation.site.applied.map((says) => `by the site: ${says}`),
    ...evaluation.site.refused.map(({ says }) => `${says}: does not count`),
    ...evaluation.notes,
    ...evaluation.window.notes,
  ];
  return [...new Set(lines)].filter((line) => !told.has(line));
}

function planLines({ format, newPackages, removals, keptBack, refused }: InstallPlan): string[] {
  return [
    ...newPackages.map(({ name, version }) => `${format}: comes along: ${name} ${version}`),
    ...removals.map(({ name, version }) => `${format}: would be removed: ${name} ${version}`),
    ...keptBack.map(({ name, says }) => `${format}: stays as it is: ${name}: ${says}`),
    ...(refused === null ? [] : [`${format}: refused: ${refused.says}`]),
  ];
}

interface Way extends Assessment {
  /** Null when no way back is possible here; `says` has why. */
  readonly kind: string | null;
  /** Whether the whole root could be put back too; absent where no way back is possible, null where this kind has none. */
  readonly wholeRoot?: { readonly possible: boolean; readonly says: string } | null;
}

interface Asked {
  readonly plan: InstallPlan;
  readonly way: Way;
}

/** Whether it could be taken back, what that costs, and what would not come back. */
function wayLines({ format }: InstallPlan, { kind, says, costBytes, notCovered, wholeRoot = null }: Way): string[] {
  if (kind === null) return [`${format}: cannot be taken back on this host: ${says}`];
  const cost = costBytes === 0 ? '' : ` (${formatBytes(costBytes)})`;
  return [
    `${format}: can be taken back by ${kind}: ${says}${cost}`,
    ...(notCovered.length === 0 ? [] : [`${format}: would not come back: ${notCovered.join('; ')}`]),
    ...(wholeRoot === null
      ? []
      : [`${format}: the whole root: ${wholeRoot.possible ? '' : 'not on this host: '}${wholeRoot.says}`]),
  ];
}

/** The way back that a run would take for this plan: the first that is possible, where the group wants one. */
async function wayFor(agent: Agent, group: Group | null, one: InstallPlan, host: HostContext): Promise<Way> {
  if (group?.wayBack === 'none') return { kind: null, possible: false, says: NONE_WANTED, costBytes: 0, notCovered: [] };
  const reasons: string[] = [];
  for (const way of agent.hands.ways) {
    const found = await way.assess([one], host);
    if (found.possible) {
      const wholeRoot = (await way.wholeRoot?.assess(null, host)) ?? null;
      return { ...found, kind: way.kind, wholeRoot };
    }
    reasons.push(found.says);
  }
  return { kind: null, possible: false, says: [...new Set(reasons)].join('; '), costBytes: 0, notCovered: [] };
}

/** Asks each package system, in a private folder; the host is only read. */
function ask(context: CommandContext): Promise<Asked[]> {
  return withAgent(context, async (agent: Agent) => {
    const view = agent.documents.view(agent.keys?.id ?? null);
    const world = makeWorld(agent, () => view, { signal: context.signal, say: (line) => context.say(line) });
    const inventory = await agent.hands.inventory();
    const evaluation = world.evaluate(inventory, agent.journal.runs.memory());
    const host = world.context('plan', view.catalogs, context.signal);
    const plans: Asked[] = [];
    for (const [format, items] of Map.groupBy(evaluation.packages, (item) => item.format)) {
      const system = agent.hands.systems[format];
      const names = items.map(({ repository }) => repository);
      const catalogs = view.catalogs.filter(({ repositories }) => repositories.some(({ name }) => names.includes(name)));
      await world.fetchPayloads(
        catalogs.flatMap((catalog) => system.indexPayloads(catalog, inventory.arch)),
        context.signal,
      );
      const policy = {
        newDependencies: view.group?.newDependencies ?? 'refuse',
        removals: view.group?.removals ?? 'refuse',
      } as const;
      const one = await system.plan(items, policy, host);
      plans.push({ plan: one, way: await wayFor(agent, view.group, one, host) });
    }
    return plans;
  });
}
