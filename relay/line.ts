// The line to the upstream: its rate by weekday and hour, hours in which only signed documents come, the way through a proxy,
// and who is trusted at its far end.
import * as fs from 'node:fs';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import type { Clock } from '#manifests/platform/clock';
import { line, list } from '#manifests/schema';
import { type HttpOptions, openRate, type ProxyOptions } from '#manifests/transfer';

const fault = defineFaults('line', {
  file: { exit: EXIT.usage, next: 'Give the path of a file that this user may read.' },
});

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
const hour = z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'write hours as "08:00"');
const kib = z.int().min(1).max(100_000_000);

const profileRow = z.strictObject({
  days: list(z.enum(DAYS), 7).default([...DAYS]),
  from: hour.default('00:00'),
  /** Up to here; not after `from` means the next day. */
  to: hour.default('24:00'),
  kibPerSecond: kib.optional(),
  /** Nothing but metadata and signed documents (halts and recalls among them), and results. */
  metadataOnly: z.boolean().default(false),
});

const zone = line(100).refine((name) => {
  try {
    Temporal.Now.zonedDateTimeISO(name);
    return true;
  } catch {
    return false;
  }
}, 'is no time zone');

/** Settings of the line, for relay.yaml. */
export const lineSettings = {
  /** The first row of the profile that fits counts; without one, `kibPerSecond`; without that, as fast as it goes. */
  line: z
    .strictObject({ zone: zone.default('UTC'), kibPerSecond: kib.optional(), profile: list(profileRow, 50).default([]) })
    .default({ zone: 'UTC', profile: [] }),
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

export interface LineState {
  readonly bytesPerSecond: number | undefined;
  readonly metadataOnly: boolean;
}

/** What holds at a moment, ms. Pure. Hours are local: where the clock jumps, the row that the clock shows counts. */
export function lineAt({ line: settings }: Pick<LineSettings, 'line'>, at: number): LineState {
  const local = Temporal.Instant.fromEpochMilliseconds(Math.trunc(at)).toZonedDateTimeISO(settings.zone);
  const minute = local.hour * 60 + local.minute;
  const row = settings.profile.find(({ days, from, to }) => {
    const [start, end] = [minutesOf(from), minutesOf(to)];
    const on = (day: number) => days.includes(DAYS[(day + 6) % 7] ?? 'mon');
    if (start < end) return on(local.dayOfWeek) && minute >= start && minute < end;
    return (on(local.dayOfWeek) && minute >= start) || (on(local.dayOfWeek + 6) && minute < end);
  });
  const rate = row?.kibPerSecond ?? settings.kibPerSecond;
  return { bytesPerSecond: rate === undefined ? undefined : rate * 1024, metadataOnly: row?.metadataOnly ?? false };
}

function minutesOf(text: string): number {
  const [hours = '0', minutes = '0'] = text.split(':');
  return Number(hours) * 60 + Number(minutes);
}

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
    () => lineAt(settings, clock.now()).bytesPerSecond,
    () => clock.monotonic(),
  );
  const limited = settings.line.kibPerSecond !== undefined || settings.line.profile.length > 0;
  return {
    payloadsNow: () => !lineAt(settings, clock.now()).metadataOnly,
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
