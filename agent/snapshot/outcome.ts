// The end of a restore: one sentence for what happened, and the service manager told about it.
import * as fs from 'node:fs';
import { forgetTransaction, type HostContext, hostCommand } from '../packages/index.ts';
import type { PutBackOutcome } from './put-back.ts';

const RELOAD_MS = 60_000;

export function describeOutcome(outcomes: readonly PutBackOutcome[]): { ok: boolean; says: string } {
  const restored = outcomes.reduce((sum, outcome) => sum + outcome.restored, 0);
  const removed = outcomes.reduce((sum, outcome) => sum + outcome.removed, 0);
  const failed = outcomes.flatMap((outcome) => outcome.failed);
  if (failed.length === 0) return { ok: true, says: `${restored} files put back, ${removed} new ones removed` };
  return { ok: false, says: `${failed.length} paths are not as before: ${failed.join('; ')}`.slice(0, 2_000) };
}

/** What is to be done after files came back: a cut transaction of rpm is no longer one, and systemd reads its units again. */
export async function afterRestore(context: HostContext, outcomes: readonly PutBackOutcome[]): Promise<void> {
  if (outcomes.every(({ failed }) => failed.length === 0)) forgetTransaction(context);
  await reloadServices(context);
}

/** Has systemd read its units again, since they changed under it. Hosts without systemd need nothing. */
async function reloadServices(context: HostContext): Promise<void> {
  if (context.root !== '/' || !fs.existsSync('/run/systemd/system')) return;
  const result = await hostCommand(context, 'systemctl', ['daemon-reload'], { timeoutMs: RELOAD_MS });
  if (result.code !== 0) context.log.warn({ stderr: result.stderr.slice(0, 500) }, 'systemd did not read its units again');
}
