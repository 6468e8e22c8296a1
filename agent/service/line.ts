// This host's line: whether payloads may come over it at this moment, and how fast. Signed documents and results always may.
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { run } from '#manifests/platform/process';
import { lineAt, payloadsFrom } from '#manifests/schema';
import type { AgentSettings } from './settings.ts';

type LineSettings = AgentSettings['line'];

/** Whether the bytes of a line cost money, and who says so. */
export interface Metered {
  readonly metered: boolean;
  readonly says: string;
}

/** What may come over the line. */
export interface LineNow {
  readonly payloads: boolean;
  readonly says: string;
  /** When that changes by itself, ms; null when nobody knows. */
  readonly until: number | null;
}

export interface Line {
  /** @param windowOpen whether a maintenance window is: on a metered line payloads wait for one */
  now(windowOpen: boolean): Promise<LineNow>;
  /** Whether it costs money by volume now. */
  metered(): Promise<Metered>;
  /** Bytes a second at this moment; undefined is no limit. */
  rate(): number | undefined;
  /** Whether there is any limit at any time. */
  readonly limited: boolean;
}

const ASK_MS = 5_000;

/** NMMetered of NetworkManager's D-Bus interface (unknown, yes, no, guessed yes, guessed no), by number. */
const NM_METERED = ['unknown', 'yes', 'no', 'guess-yes', 'guess-no'] as const;

/** Reads the answer of `busctl get-property … Metered`: `u 4`. */
export function meteredOf(printed: string): (typeof NM_METERED)[number] {
  const match = /^u ([0-4])\s*$/.exec(printed);
  return NM_METERED[Number(match?.[1] ?? 0)] ?? 'unknown';
}

/** Asks NetworkManager about the primary connection. It is not started for that; where it does not run, nothing is known. */
async function askNetworkManager(): Promise<Metered> {
  const name = 'org.freedesktop.NetworkManager';
  const path = `/${name.replaceAll('.', '/')}`;
  try {
    const args = ['--system', '--auto-start=no', '--timeout=3', 'get-property', name, path, name, 'Metered'];
    const asked = await run('busctl', args, { timeoutMs: ASK_MS });
    if (asked.code !== 0) return { metered: false, says: 'NetworkManager does not run here' };
    const said = meteredOf(asked.stdout);
    return { metered: said === 'yes' || said === 'guess-yes', says: `NetworkManager says ${said}` };
  } catch {
    return { metered: false, says: 'there is no busctl to ask NetworkManager with' };
  }
}

/** Decides from what is known. Pure. */
export function decideLine(settings: LineSettings, { metered, says }: Metered, windowOpen: boolean, at: number): LineNow {
  const from = payloadsFrom(settings, at);
  if (from === null || from > at) {
    const until = from === null ? 'the settings change' : utcSeconds(from);
    return { payloads: false, says: `by the profile of the line payloads wait until ${until}`, until: from };
  }
  if (!metered || settings.onMetered === 'as-usual') return { payloads: true, says: `not held back (${says})`, until: null };
  if (settings.onMetered === 'window' && windowOpen) {
    return { payloads: true, says: `metered (${says}), a window is open`, until: null };
  }
  const what = settings.onMetered === 'window' ? 'a window is open' : 'the line is another one';
  return { payloads: false, says: `the line is metered (${says}): payloads wait until ${what}`, until: null };
}

/** @param ask replaces NetworkManager, for tests */
export function openLine(settings: LineSettings, clock: Clock, ask: () => Promise<Metered> = askNetworkManager): Line {
  const metered = (): Promise<Metered> =>
    settings.metered === 'auto' ? ask() : Promise.resolve({ metered: settings.metered === 'yes', says: 'by the settings' });
  return {
    metered,
    now: async (windowOpen) => decideLine(settings, await metered(), windowOpen, clock.now()),
    rate: () => lineAt(settings, clock.now()).bytesPerSecond,
    limited: settings.kibPerSecond !== undefined || settings.profile.some(({ kibPerSecond }) => kibPerSecond !== undefined),
  };
}
