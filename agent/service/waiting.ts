// What a host waits for, until when, and what a person can do about it: the one sentence at the top of `status`. A table in the order
// in which one thing keeps the next from mattering. Pure.
import type { Evaluation } from '#manifests/decide';
import type { PolicyView } from '../poll/index.ts';

export interface WaitingFacts {
  readonly agent: string;
  readonly standing: PolicyView['standing'];
  /** Documents that cannot be read, in words. */
  readonly damaged: string | null;
  /** Run whose rollback failed. */
  readonly hands: string | null;
  /** Another machine has the same identity, in words. */
  readonly still: string | null;
  readonly openRun: { readonly id: string; readonly state: string; readonly reboots: boolean } | null;
  /** A cycle is under way in some process. */
  readonly atWork: boolean;
  /** Null where no group decides. */
  readonly evaluation: Evaluation | null;
  readonly hardExpired: boolean;
  /** After a failure: milliseconds, what failed, and its run. */
  readonly pause: { readonly until: number; readonly says: string; readonly run: string | null } | null;
  /** Payloads of the set are not here: milliseconds until they are asked for again, where that is known, and why. */
  readonly payloads: { readonly until: number | null; readonly says: string } | null;
  /** A reboot that a run of ours still needs. */
  readonly reboot: {
    readonly evidence: readonly string[];
    /** Whether settings and policy let the agent make it. */
    readonly allowed: boolean;
    readonly heldUp: string | null;
  } | null;
  /** Trusted time, milliseconds. */
  readonly at: number;
}

export type WaitingKind =
  | 'revoked'
  | 'approval'
  | 'documents'
  | 'hands'
  | 'copy'
  | 'run'
  | 'rollback'
  | 'halt'
  | 'failure'
  | 'window'
  | 'payloads'
  | 'reboot'
  | 'taken-back'
  | 'held-back'
  | 'install'
  | 'attention'
  | 'nothing';

export interface Waiting {
  readonly kind: WaitingKind;
  /** `well`: nothing lacks; `waits`: it goes on by itself; `hands`: it does not. */
  readonly mood: 'well' | 'waits' | 'hands';
  /** Continues the name of the host: "waits for its window". */
  readonly headline: string;
  /** Why, a sentence each. */
  readonly says: readonly string[];
  /** Milliseconds; null where nobody knows. */
  readonly until: number | null;
  /** What a person can do, the best first. */
  readonly next: readonly string[];
}

const AGENT = 'patchferry-agent';
const short = (id: string) => id.slice(0, 8);

/** @returns what stands first in the way; a host on which nothing does waits for nothing */
export function waitingFor(facts: WaitingFacts): Waiting {
  return standing(facts) ?? trouble(facts) ?? work(facts) ?? policy(facts);
}

function make(kind: WaitingKind, mood: Waiting['mood'], headline: string) {
  return (says: readonly string[], next: readonly string[], until: number | null = null): Waiting => {
    return { kind, mood, headline, says: says.filter((one) => one !== ''), until, next };
  };
}

/** Whether anybody decides about this host at all. */
function standing({ agent, standing: is, damaged, evaluation }: WaitingFacts): Waiting | undefined {
  if (is === 'revoked')
    return make(
      'revoked',
      'hands',
      'is revoked',
    )(
      ['The publisher revoked this host: it installs nothing, and its results are not taken.'],
      [`ask the publisher why; ${AGENT} service uninstall takes the agent off`],
    );
  if (damaged !== null)
    return make(
      'documents',
      'waits',
      'waits for its documents',
    )([sentence(damaged)], [`${AGENT} once fetches them again; ${AGENT} doctor says whether a relay answers`]);
  if (is === 'unknown')
    return make(
      'approval',
      'waits',
      'waits for approval',
    )(
      ['It is enrolled, and the publisher has not approved it into the roster yet. It installs nothing until then.'],
      [`at the publisher, once its request has arrived: publisher collect; publisher agent approve ${agent}`],
    );
  if (evaluation === null)
    return make(
      'attention',
      'hands',
      'is in no patch group',
    )(['It only reports; nothing is ever installed.'], ['ask the publisher for a group']);
  return undefined;
}

/** What does not go away by itself. */
function trouble({ hands, still }: WaitingFacts): Waiting | undefined {
  if (hands !== null)
    return make(
      'hands',
      'hands',
      'needs hands: a rollback failed',
    )(
      [
        `The rollback of run ${short(hands)} failed, so the host may be half changed. Nothing is installed until a person has looked.`,
      ],
      [`${AGENT} history --run ${short(hands)} says what failed`, `then mend the host, and ${AGENT} once --retry`],
    );
  if (still !== null)
    return make(
      'copy',
      'hands',
      'stands still: another machine has its identity',
    )([sentence(still)], [`on the machine that is the right one: ${AGENT} once --retry`]);
  return undefined;
}

/** A run that has begun. */
function work({ openRun, atWork }: WaitingFacts): Waiting | undefined {
  if (openRun === null) return undefined;
  const run = short(openRun.id);
  const follow = `${AGENT} history --run ${run} shows how far it is`;
  if (openRun.reboots)
    return make(
      'run',
      'waits',
      'reboots in the middle of a run',
    )([`Run ${run} told the host to reboot and goes on when it is back.`], [follow]);
  if (atWork) return make('run', 'waits', 'is at work')([`Run ${run} is in ${openRun.state}.`], [follow]);
  return make(
    'run',
    'waits',
    'has a run that was cut off',
  )(
    [`Run ${run} was cut off in ${openRun.state}. The next cycle finishes it or takes it back.`],
    [`${AGENT} once does that now`],
  );
}

const EXPLAIN = `${AGENT} plan says what comes when, and what holds it back`;

/** What the signed documents say. */
function policy(facts: WaitingFacts): Waiting {
  const { evaluation, pause, payloads, reboot, at, hardExpired } = facts;
  if (evaluation === null) return make('nothing', 'well', 'waits for nothing')([], []);
  const { next, install, rollback, rollbackWaits, halts, window, compliant, counts } = evaluation;
  const says = sentence(next.says);
  const nextAt = next.at === null ? null : Date.parse(next.at);
  if (rollback !== null)
    return make('rollback', 'waits', 'takes a recalled run back')(
      [sentence(rollback.says), ...(rollbackWaits === null ? [] : [sentence(rollbackWaits.says)])],
      [`${AGENT} rollback does it now`],
      rollbackWaits?.at ?? null,
    );
  const stops = halts.filter((halt) => halt.stops.includes('install'));
  const lacks = install.length > 0 || evaluation.held.length > 0;
  if (stops.length > 0 && lacks)
    return make('halt', 'waits', 'is halted')(
      [...stops.map((halt) => sentence(halt.says)), ...(stops.some((halt) => says.includes(halt.says)) ? [] : [says])],
      [`whoever issued it lifts it: publisher halt lift ${stops[0]?.name ?? ''}`, EXPLAIN],
      nextAt,
    );
  if (hardExpired && lacks)
    return make(
      'documents',
      'waits',
      'waits for newer documents',
    )([says], [`let a relay or a courier bring what the publisher signed last; ${AGENT} doctor says whether a relay answers`]);
  if (pause !== null && pause.until > at && install.length > 0)
    return make('failure', 'waits', 'waits after a failure')(
      [`The last attempt came to nothing: ${sentence(pause.says)}`],
      [
        ...(pause.run === null ? [] : [`${AGENT} history --run ${short(pause.run)} shows all of it`]),
        `when the cause is gone: ${AGENT} once --retry does not wait`,
      ],
      pause.until,
    );
  const absent = payloads === null ? '' : sentence(`its payloads are not all here: ${payloads.says}`);
  if (next.action === 'install' && payloads !== null)
    return make('payloads', 'waits', 'waits for payloads')(
      [says, absent],
      [`${AGENT} once asks for them now; ${AGENT} doctor says whether a relay answers`],
      payloads.until,
    );
  if (next.action === 'install')
    return make('install', 'waits', 'installs at the next cycle')([says], [`${AGENT} once does it now`]);
  if (install.length > 0 && next.action === 'wait' && !window.open)
    return make('window', 'waits', 'waits for its window')(
      [says],
      [EXPLAIN, `${AGENT} window list shows the openings`],
      nextAt,
    );
  if (install.length === 0 && next.action === 'nothing' && counts.ROLLED_BACK > 0)
    return make(
      'taken-back',
      'hands',
      'was taken back to what it was',
    )([says], [`${AGENT} history shows the runs`, `${AGENT} once --retry tries the same set again`]);
  if (install.length > 0 && next.action === 'nothing')
    return make('attention', 'hands', 'has no window to come')([says], [EXPLAIN, 'ask the publisher for a window']);
  if (reboot !== null) return waitsForReboot(reboot, evaluation);
  if (install.length > 0 || (next.action === 'wait' && !compliant))
    return make('held-back', 'waits', 'waits')([says], [EXPLAIN], nextAt);
  if (!compliant)
    return make('attention', 'hands', 'is not compliant')([says], [EXPLAIN, `${AGENT} scan names what is missing`], nextAt);
  return make('nothing', 'well', 'is compliant and waits for nothing')([says], [], nextAt);
}

function waitsForReboot(reboot: NonNullable<WaitingFacts['reboot']>, { windows, mayReboot }: Evaluation): Waiting {
  const why = sentence(`What was installed needs a reboot: ${reboot.evidence.join('; ')}`);
  if (!reboot.allowed)
    return make(
      'reboot',
      'hands',
      'waits for a reboot by hand',
    )(
      [why, 'The agent may not reboot this host (allowReboot in agent.yaml, reboot in the group).'],
      ['reboot it when that suits; the agent sees it and reports'],
    );
  const opensAt = windows.reboot.open ? null : windows.reboot.opensAt;
  const wait =
    reboot.heldUp ??
    (mayReboot ? 'It reboots in one of the next cycles' : 'No window for reboots is open, or a halt stops them');
  return make('reboot', 'waits', 'waits for a reboot')(
    [why, sentence(wait)],
    ['a reboot by hand settles it at any time'],
    opensAt,
  );
}

/** With a capital and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  const end = /[.!?]$/.test(trimmed) ? '' : '.';
  return trimmed === '' ? '' : `${trimmed.slice(0, 1).toUpperCase()}${trimmed.slice(1)}${end}`;
}
