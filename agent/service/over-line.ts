// Payloads over this host's line, as long as it lets them come.
import type { PayloadStore } from '#manifests/repository';
import type { ContentRef } from '#manifests/schema';
import { fetchPayloads, pollFault } from '../poll/index.ts';
import type { Agent } from './agent.ts';

/** How often the line is looked at while payloads come, milliseconds. */
const LINE_LOOKED_AT_MS = 10_000;

/** Looks at the line first and again while bytes come: where payloads may not any more, what is here stays for the next time. */
export async function fetchOverLine(
  agent: Agent,
  wanted: readonly ContentRef[],
  store: PayloadStore,
  signal: AbortSignal,
  onBytes?: (done: number, total: number) => void,
): Promise<void> {
  if (wanted.every(({ sha256, size }) => store.has(sha256, size))) return;
  const closed = (says: string) => pollFault('line-closed', says);
  // what a run needs it fetches inside its window
  const { payloads, says } = await agent.line.now(true);
  if (!payloads) throw closed(says);
  const stop = new AbortController();
  let looked = agent.clock.monotonic();
  await fetchPayloads(wanted, agent.relays, store, {
    signal: AbortSignal.any([signal, stop.signal]),
    onBytes: (done, total) => {
      onBytes?.(done, total);
      if (agent.clock.monotonic() - looked < LINE_LOOKED_AT_MS || stop.signal.aborted) return;
      looked = agent.clock.monotonic();
      agent.line.now(true).then(
        (now) => {
          if (!now.payloads) stop.abort(closed(now.says));
        },
        () => undefined,
      );
    },
  });
}
