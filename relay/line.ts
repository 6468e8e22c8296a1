// The line to the upstream: its rate by weekday and hour, hours in which only signed documents come, the way through a proxy,
// and who is trusted at its far end.
import * as fs from 'node:fs';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import type { Clock } from '#manifests/platform/clock';
import { line, lineAt, lineFields, list } from '#manifests/schema';
import { type HttpOptions, openRate, type ProxyOptions } from '#manifests/transfer';

const fault = defineFaults('line', {
  file: { exit: EXIT.usage, next: 'Give the path of a file that this user may read.' },
});

/** Settings of the line, for relay.yaml. */
export const lineSettings = {
  /** The first row of the profile that fits counts; without one, `kibPerSecond`; without that, as fast as it goes. */
  line: z.strictObject(lineFields).default({ zone: 'UTC', profile: [] }),
  /** A proxy on the way to upstreams and next hops. The password is in a file of its own. */
  proxy: z
    .strictObject({
      url: line(2_000).regex(/^http:\/\//, 'give the proxy as http://host:port'),
      user: line(200).optional(),
      passwordFile: line(2_000).optional(),
      except: list(line(255).min(1), 100).default([]),
    })
    .optional(),
  /** PEM files: the only CAs accepted of upstreams, and this relay's own certificate towards them. */
  upstreamTls: z
    .strictObject({ ca: line(2_000).optional(), cert: line(2_000).optional(), key: line(2_000).optional() })
    .default({}),
};
const wholeLine = z.strictObject(lineSettings);
export type LineSettings = z.infer<typeof wholeLine>;

export interface Line {
  /** Whether payloads may come at this moment. */
  readonly payloadsNow: () => boolean;
  /** For every origin at the far end: they share the rate. */
  readonly origin: HttpOptions;
}

/** Reads the files that the settings name. @throws line.file */
export function openLine(settings: LineSettings, clock: Clock): Line {
  const { proxy, upstreamTls } = settings;
  const rate = openRate(
    () => lineAt(settings.line, clock.now()).bytesPerSecond,
    () => clock.monotonic(),
  );
  const limited = settings.line.kibPerSecond !== undefined || settings.line.profile.length > 0;
  return {
    payloadsNow: () => !lineAt(settings.line, clock.now()).metadataOnly,
    origin: {
      ...(limited ? { rate } : {}),
      ...(proxy === undefined ? {} : { proxy: proxyOf(proxy) }),
      ...(upstreamTls.ca === undefined ? {} : { ca: read(upstreamTls.ca) }),
      ...(upstreamTls.cert === undefined ? {} : { cert: read(upstreamTls.cert) }),
      ...(upstreamTls.key === undefined ? {} : { key: read(upstreamTls.key) }),
    },
  };
}

function proxyOf({ url, user, passwordFile, except }: NonNullable<LineSettings['proxy']>): ProxyOptions {
  const password = passwordFile === undefined ? undefined : read(passwordFile).replace(/\r?\n$/, '');
  return { url, user, password, except };
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    throw fault('file', `cannot read ${file}: ${(cause as Error).message}`, { where: file, cause });
  }
}
