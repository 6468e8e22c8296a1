// `window list`, `choose`, `defer`, `clear`: when this host may change, and what of that its owner decides.
import { userInfo } from 'node:os';
import { evaluate, inZone, nextOpenings, scheduleOf } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import type { OwnerChoiceBody } from '#manifests/schema';
import { checkOffered, choiceTold, deferralUntil, rememberChoice } from '../owner/index.ts';
import { type Agent, decideInput, type Owned, ownedHost, sealNow } from '../service/index.ts';
import { table, withAgent } from './frame.ts';

/** Who sits at this command line. */
export function whoAsks(): string {
  return (process.env['SUDO_USER'] ?? userInfo().username).slice(0, 200);
}

/** Openings that are told of each window, unless asked otherwise. */
const OPENINGS = 3;

export function listWindows(context: CommandContext): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const owned = await ownedHost(agent);
    const { group, inventory } = owned;
    const { zone } = inventory;
    const count = Math.min(100, Math.max(1, Number(context.options['next'] ?? OPENINGS) || OPENINGS));
    const input = decideInput(agent, owned.view, inventory, agent.journal.runs.memory());
    const { site, at } = scheduleOf(input);
    const choice = choiceTold(agent.journal);
    const offered = group.ownerChoice?.windows ?? [];
    const windows = [
      ...group.windows.map((window) => ({ window, emergency: false })),
      ...(group.emergencyWindows ?? []).map((window) => ({ window, emergency: true })),
    ].map(({ window, emergency }) => ({
      name: window.name,
      purposes: window.purposes ?? ['install', 'reboot'],
      emergency,
      offered: !emergency && offered.includes(window.name),
      chosen: choice?.window === window.name,
      openings: nextOpenings(window, at, zone, count, { limits: site.limits }).map(({ opensAt, closesAt, startsUntil }) => ({
        opensAt: utcSeconds(opensAt),
        closesAt: utcSeconds(closesAt),
        startsUntil: utcSeconds(startsUntil),
        local: wall(opensAt, zone),
      })),
    }));
    const rows = windows.flatMap(({ name, purposes, emergency, offered: may, chosen, openings }) => {
      const marks = [
        ...(emergency ? ['for emergencies alone'] : [purposes.join(', ')]),
        ...(chosen ? ['CHOSEN'] : may ? ['may be chosen'] : []),
      ];
      const first = [name, marks.join('; ')];
      if (openings.length === 0) return [[...first, 'never opens']];
      return openings.map(({ opensAt, closesAt, local }, index) => [
        ...(index === 0 ? first : ['', '']),
        `${opensAt} to ${closesAt}`,
        local,
      ]);
    });
    const deferDays = group.ownerChoice?.deferDays ?? 0;
    const lines = [
      `windows of group ${group.name}, on a host in ${zone}`,
      rows.length === 0
        ? 'none: nothing is installed by itself'
        : table([['window', 'for', 'opens and closes (UTC)', `opens in ${zone}`], ...rows]),
      deferDays === 0
        ? 'its owners may put nothing off'
        : `its owners may put a patch off for ${deferDays} days after its approval, and never past its deadline`,
      ...choiceLines(choice, zone),
      ...site.applied.map((says) => `site ${site.site}: ${says}`),
    ];
    return {
      exit: EXIT.done,
      text: lines.join('\n'),
      report: {
        schema: 'patchferry/agent-windows',
        schemaVersion: 1,
        group: group.name,
        zone,
        at: utcSeconds(at),
        windows,
        deferDays,
        choice,
        site: { applied: site.applied, refused: site.refused },
      },
    };
  });
}

function wall(at: number, zone: string): string {
  const local = Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone).toPlainDateTime();
  return local.toString({ smallestUnit: 'minute' }).replace('T', ' ');
}

function choiceLines(choice: OwnerChoiceBody | null, zone: string): string[] {
  if (choice === null) return [];
  return [
    ...(choice.window === null ? [] : [`${choice.chosenBy} chose window ${choice.window}`]),
    ...(choice.deferUntil === null
      ? []
      : [`${choice.chosenBy} put installations off until ${inZone(Date.parse(choice.deferUntil), zone)}`]),
  ];
}

export const chooseWindow = (context: CommandContext): Promise<Outcome> =>
  change(context, (_agent, { group }, before) => {
    const window = String(context.args[0] ?? '');
    checkOffered(group, window);
    return { window, deferUntil: before?.deferUntil ?? null };
  });

export const deferInstalls = (context: CommandContext): Promise<Outcome> =>
  change(context, (agent, { group, inventory }, before) => ({
    window: before?.window ?? null,
    deferUntil: utcSeconds(deferralUntil(group, context.options['until'] as string, inventory.zone, agent.trustedNow())),
  }));

export const clearChoice = (context: CommandContext): Promise<Outcome> =>
  change(context, () => ({ window: null, deferUntil: null }));

type Chosen = Pick<OwnerChoiceBody, 'window' | 'deferUntil'>;

function change(
  context: CommandContext,
  choose: (agent: Agent, owned: Owned, before: OwnerChoiceBody | null) => Chosen,
): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const owned = await ownedHost(agent);
    const { view, inventory, stamp } = owned;
    const before = choiceTold(agent.journal);
    const chosen = choose(agent, owned, before);
    const same = (before?.window ?? null) === chosen.window && (before?.deferUntil ?? null) === chosen.deferUntil;
    const choice = { ...chosen, chosenBy: whoAsks() };
    if (!same) {
      rememberChoice(agent.journal, choice, stamp);
      sealNow(agent, view);
    }
    const evaluation = evaluate(decideInput(agent, view, inventory, agent.journal.runs.memory()));
    const none = chosen.window === null && chosen.deferUntil === null;
    const deferred = chosen.deferUntil !== null && evaluation.install.length > 0;
    const lines = [
      ...(none ? ['every window of the group counts, nothing is put off'] : choiceLines(choice, inventory.zone)),
      ...(deferred ? [`not put off, because of a deadline, an emergency, or the bound: ${evaluation.install.join(', ')}`] : []),
      evaluation.next.says,
      ...(same ? ['as it was before: nothing is told'] : ['told to the publisher with the next poll']),
    ];
    return {
      exit: same ? EXIT.current : EXIT.done,
      text: lines.join('\n'),
      report: {
        schema: 'patchferry/agent-choice',
        schemaVersion: 1,
        changed: !same,
        choice: none ? null : choice,
        notPutOff: deferred ? evaluation.install : [],
        next: evaluation.next,
      },
    };
  });
}
