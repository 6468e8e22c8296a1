// Results out, acks in: a cycle's word to the publisher. Trouble here is never a reason to stop.
import { counted } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { OUTBOX_LIMITS, readEnrolment, sendEnrolment } from '../outbox/index.ts';
import type { PolicyView } from '../poll/index.ts';
import { asRunError } from '../run/index.ts';
import type { Agent } from './agent.ts';
import { askForOwn, noticeFork } from './copies.ts';
import type { Tally } from './tally.ts';

interface Telling {
  readonly agent: Agent;
  readonly view: PolicyView;
  readonly tally: Tally;
  readonly boot: () => Promise<string>;
  /** By hand: relays that rest are asked all the same. */
  readonly eager: boolean;
  readonly signal: AbortSignal;
}

export async function tell({ agent, view, tally, boot, eager, signal }: Telling): Promise<void> {
  const { outbox, journal, relays, settings, clock, keys } = agent;
  if (outbox === undefined || keys === undefined) return;
  const synced = tally.sync.kind === 'synced';
  try {
    if (view.member === null) {
      const asks = await askForOwn(agent, view.recipients);
      if (asks !== undefined) tally.says.push(asks);
      const enrolment = readEnrolment(settings.stateDir);
      const sentAt = enrolment?.sentAt ?? null;
      const since = sentAt === null ? null : clock.now() - Date.parse(sentAt);
      const due = enrolment !== undefined && (since === null || since < 0 || since > OUTBOX_LIMITS.againMs);
      if (due && synced)
        tally.says.push((await sendEnrolment(settings.stateDir, relays.posts(true), clock.now(), signal)).says);
      return;
    }
    if (journal.meta('chain.lost') === undefined || synced) {
      const took = outbox.applyAck(view.ack, tally.stamp(await boot()));
      if (took === 'reverted') tally.says.push('this machine was put back to an older state; its results go on after the ack');
      if (took === 'fork') tally.says.push(noticeFork(agent, view.group, tally.stamp(await boot())));
    }
    outbox.seal(view.recipients);
    // A relay whose documents are refused (expired ones, say: S7) may still carry results: it cannot read or change them.
    const refused = tally.sync.kind === 'refused';
    if (!synced && !refused && tally.sync.kind !== 'behind') return;
    const places = relays.posts(eager || refused);
    const { sent, left, says } = await outbox.upload(places, clock.now(), signal, (relay) => relays.takesNoPosts(relay));
    if (sent > 0) tally.says.push(`${counted(sent, 'result')} sent`);
    if (left > 0 && says !== null) tally.says.push(`${counted(left, 'result')} ${left === 1 ? 'waits' : 'wait'}: ${says}`);
  } catch (error) {
    if (signal.aborted || !isFault(error)) throw error;
    tally.says.push(`results wait: ${error.message}`);
    agent.log.warn({ error: asRunError(error) }, 'results could not be sent');
  }
}
