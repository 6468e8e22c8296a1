// `plan`: what would be installed and when; with --download also what the host's package manager would bring along.
import { evaluate } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { formatBytes } from '#manifests/platform/progress';
import type { InstallPlan } from '../packages/index.ts';
import { type Agent, makeWorld } from '../service/index.ts';
import { table, withAgent } from './frame.ts';
import { whatIsKnown } from './scan.ts';

export async function plan(context: CommandContext): Promise<Outcome> {
  const { input, from } = await whatIsKnown(context);
  const evaluation = evaluate(input);
  const { packages, install, window } = evaluation;
  const plans = context.options['download'] === true && packages.length > 0 ? await ask(context) : [];
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
    ...plans.flatMap(planLines),
    ...window.notes,
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
      plans: plans.map(({ format, newPackages, removals, keptBack, changes, refused, diskBytes }) => ({
        format,
        newPackages,
        removals,
        keptBack,
        changes,
        refused,
        diskBytes,
      })),
    },
  };
}

function planLines({ format, newPackages, removals, keptBack, refused }: InstallPlan): string[] {
  return [
    ...newPackages.map(({ name, version }) => `${format}: comes along: ${name} ${version}`),
    ...removals.map(({ name, version }) => `${format}: would be removed: ${name} ${version}`),
    ...keptBack.map(({ name, says }) => `${format}: stays as it is: ${name}: ${says}`),
    ...(refused === null ? [] : [`${format}: refused: ${refused.says}`]),
  ];
}

/** Asks each package system, in a private folder; the host is only read. */
function ask(context: CommandContext): Promise<InstallPlan[]> {
  return withAgent(context, async (agent: Agent) => {
    const view = agent.documents.view(agent.keys?.id ?? null);
    const world = makeWorld(agent, () => view, { signal: context.signal, say: (line) => context.say(line) });
    const inventory = await agent.hands.inventory();
    const evaluation = world.evaluate(inventory, agent.journal.runs.memory());
    const host = world.context('plan', view.catalogs, context.signal);
    const plans: InstallPlan[] = [];
    for (const [format, items] of Map.groupBy(evaluation.packages, (item) => item.format)) {
      if (format === 'rpm') continue;
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
      plans.push(await system.plan(items, policy, host));
    }
    return plans;
  });
}
