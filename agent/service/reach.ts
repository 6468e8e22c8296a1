// The relays of the settings, opened: through the proxy, over the rate of the line, and with the certificates of this host.
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import type { Origin } from '#manifests/transfer';
import { openLine } from './line.ts';
import type { AgentSettings } from './settings.ts';

/** Files that the settings name are read when a relay needs them: without them a host still decides, from what is here. */
export async function openRelayOrigins(
  settings: Pick<AgentSettings, 'relays' | 'relayTls' | 'proxy' | 'line'>,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Promise<Origin[]> {
  const { openOrigin, openRate, openTls, proxyOf } = await import('#manifests/transfer');
  const { relayTls, proxy } = settings;
  const line = openLine(settings.line, clock);
  const rate = line.limited
    ? openRate(
        () => line.rate(),
        () => clock.monotonic(),
      )
    : undefined;
  const told = ({ code, message }: { code: string; message: string }) =>
    log.error({ code, reason: message }, 'the renewed certificate cannot be used; the one before stays');
  // One of each for all: they share the line, and what was read.
  const reach = {
    rate,
    ...(proxy === undefined ? {} : { proxy: proxyOf(proxy) }),
    ...(Object.keys(relayTls).length === 0 ? {} : { tls: openTls(relayTls, told) }),
  };
  return settings.relays.map((relay) => openOrigin(relay, reach));
}
