// The line to the upstream: its rate by weekday and hour, hours in which only signed documents come, the way through a proxy,
// and who is trusted at its far end.
import { z } from 'zod';
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { lineAt, lineFields, proxySettings, tlsFiles } from '#manifests/schema';
import { type HttpOptions, type Origin, openRate, openTls, proxyOf } from '#manifests/transfer';

/** Settings of the line, for relay.yaml. */
export const lineSettings = {
  /** The first row of the profile that fits counts; without one, `kibPerSecond`; without that, as fast as it goes. */
  line: z.strictObject(lineFields).default({ zone: 'UTC', profile: [] }),
  /** On the way to upstreams and next hops. */
  proxy: proxySettings.optional(),
  /** The only CAs accepted of upstreams and next hops, and this relay's own certificate towards them. */
  upstreamTls: tlsFiles.default({}),
};
const wholeLine = z.strictObject(lineSettings);
export type LineSettings = z.infer<typeof wholeLine>;

export interface Line {
  /** Whether payloads may come at this moment. */
  readonly payloadsNow: () => boolean;
  /** For every origin at the far end: they share the rate. */
  readonly origin: HttpOptions;
}

/** Files are read when an address needs them: without one that can be used, a relay serves on what it has. */
export function openLine(settings: LineSettings, clock: Clock, log: Log): Line {
  const { proxy, upstreamTls } = settings;
  const rate = openRate(
    () => lineAt(settings.line, clock.now()).bytesPerSecond,
    () => clock.monotonic(),
  );
  const limited = settings.line.kibPerSecond !== undefined || settings.line.profile.length > 0;
  const changed = Object.keys(upstreamTls).length > 0;
  return {
    payloadsNow: () => !lineAt(settings.line, clock.now()).metadataOnly,
    origin: {
      ...(limited ? { rate } : {}),
      ...(proxy === undefined ? {} : { proxy: proxyOf(proxy) }),
      ...(changed
        ? {
            tls: openTls(upstreamTls, ({ code, message }) =>
              log.error({ code, reason: message }, 'the renewed certificate cannot be used; the one before stays'),
            ),
          }
        : {}),
    },
  };
}

/** The same origin; tells the bytes of each file that come from it, as they come: also of what is cut, or refused in the end. */
export function counted(origin: Origin, onBytes: (bytes: number) => void): Origin {
  return {
    ...origin,
    async fetchSmall(path, options) {
      const answer = await origin.fetchSmall(path, options);
      if (answer.kind === 'found') onBytes(answer.bytes.length);
      return answer;
    },
    download: (path, want, destination, options) =>
      origin.download(path, want, destination, {
        ...options,
        onBytes: (bytes) => {
          onBytes(bytes);
          options?.onBytes?.(bytes);
        },
      }),
  };
}
