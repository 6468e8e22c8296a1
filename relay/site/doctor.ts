// What `doctor` looks at: what the files say, and what answers when it is asked. Each finding with its next step.
import * as fs from 'node:fs';
import { isFault } from '#manifests/errors';
import type { TlsFiles } from '#manifests/schema';
import { type HttpOptions, inspectTls, openOrigin } from '#manifests/transfer';
import { type Concern, concernsOf } from './concerns.ts';
import type { SiteFacts } from './facts.ts';

export interface Check {
  readonly name: string;
  readonly state: 'ok' | 'look' | 'bad';
  readonly says: string;
  /** Empty when all is well. */
  readonly next: string;
}

const DOCTOR_LIMITS = { timestampBytes: 64 * 1024, timeoutMs: 20_000, health: 64 * 1024 } as const;

const ABOUT: Readonly<Record<string, string>> = {
  disk: 'there is room',
  mirror: 'a generation is served',
  rot: 'what was looked at is whole or has come back, and the next look at all of it is not overdue',
  upstream: 'the last sync succeeded',
  expiry: 'the metadata is fresh',
  clock: 'the clock agrees with what signatures prove',
  roster: 'there is a roster, and it is not old',
  spool: 'nothing waits for long',
  fuse: 'no relay has halted its site',
  staging: 'what windows that open soon need is here',
  leases: 'leases can be read',
  hosts: 'no host has fallen silent',
};

export interface DoctorOptions {
  readonly upstream: readonly string[];
  readonly inboxForward: readonly string[];
  readonly siblings: readonly string[];
  /** How upstreams, next hops and siblings are reached. */
  readonly reach: HttpOptions;
  /** Certificates of this relay by the setting that names them. */
  readonly certificates: ReadonlyArray<{ readonly name: string; readonly whose: string; readonly files: TlsFiles }>;
  /** Milliseconds. */
  readonly now: number;
  readonly signal?: AbortSignal | undefined;
}

/** Every check, in a fixed order. Asks each upstream for its timestamp and each next hop whether it is there. */
export async function examine(facts: SiteFacts, options: DoctorOptions): Promise<Check[]> {
  const { upstream, inboxForward, siblings, certificates, now, ...ask } = options;
  const concerns = Map.groupBy(concernsOf(facts), ({ about }) => about);
  const state = (level: Concern['level']) => (level === 'bad' ? 'bad' : 'look');
  const fromFiles = Object.entries(ABOUT).flatMap(([name, fine]): Check[] => {
    const found = concerns.get(name) ?? [];
    if (found.length === 0) return isKnown(name, facts) ? [{ name, state: 'ok', says: fine, next: '' }] : [];
    return found.map(({ level, says, next }) => ({ name, state: state(level), says, next }));
  });
  const asked = await Promise.all([
    ...upstream.map((place) => askUpstream(place, ask)),
    ...inboxForward.map((place) => askHop('inboxForward', place, ask)),
    ...siblings.map((place) => askHop('siblings', place, ask)),
  ]);
  const none: Check[] =
    upstream.length > 0
      ? []
      : [{ name: 'upstream', state: 'look', says: 'no upstream is set', next: 'Set upstream, or bring bundles.' }];
  const papers = certificates.flatMap(({ name, whose, files }) =>
    inspectTls(files, now, whose).map(({ ok, says, next }): Check => ({ name, state: ok ? 'ok' : 'look', says, next })),
  );
  return [...fromFiles, ...papers, ...none, ...asked];
}

/** Before the first sync nobody knows how old the metadata is, or what the clock is worth: nothing is said of it. */
function isKnown(name: string, { generation, status, staging, checked }: SiteFacts): boolean {
  if (name === 'upstream') return status.lastSync !== null;
  if (name === 'rot') return checked.last !== null || checked.progress !== null;
  if (name === 'staging') return staging !== null;
  return generation !== null || !['expiry', 'clock', 'roster', 'hosts'].includes(name);
}

const within = (signal: AbortSignal | undefined) =>
  AbortSignal.any([AbortSignal.timeout(DOCTOR_LIMITS.timeoutMs), ...(signal === undefined ? [] : [signal])]);

type Ask = Pick<DoctorOptions, 'reach' | 'signal'>;

async function askUpstream(place: string, { reach, signal }: Ask): Promise<Check> {
  const name = `upstream ${place}`;
  let origin: ReturnType<typeof openOrigin> | undefined;
  try {
    origin = openOrigin(place, reach);
    const answer = await origin.fetchSmall('metadata/timestamp.json', {
      limitBytes: DOCTOR_LIMITS.timestampBytes,
      signal: within(signal),
    });
    return answer.kind === 'found'
      ? { name, state: 'ok', says: `answers, timestamp of ${answer.bytes.length} bytes`, next: '' }
      : { name, state: 'look', says: 'answers, but has no timestamp', next: 'Check that this is the address of a repository.' };
  } catch (error) {
    return failed(name, error);
  } finally {
    await origin?.close();
  }
}

async function askHop(setting: string, place: string, { reach, signal }: Ask): Promise<Check> {
  const name = `${setting} ${place}`;
  if (!/^https?:/i.test(place))
    return fs.statSync(place, { throwIfNoEntry: false })?.isDirectory() === true
      ? { name, state: 'ok', says: 'the folder is there', next: '' }
      : {
          name,
          state: 'look',
          says: 'there is no such folder',
          next: 'Make the folder, or mount its medium; it is never made by itself.',
        };
  let origin: ReturnType<typeof openOrigin> | undefined;
  try {
    origin = openOrigin(place, reach);
    await origin.fetchSmall('healthz', { limitBytes: DOCTOR_LIMITS.health, signal: within(signal) });
    return { name, state: 'ok', says: 'answers', next: '' };
  } catch (error) {
    return failed(name, error);
  } finally {
    await origin?.close();
  }
}

function failed(name: string, error: unknown): Check {
  return {
    name,
    state: 'look',
    says: error instanceof Error ? error.message : String(error),
    next: isFault(error) ? error.next : 'Check the address, the line, and that the other side is running.',
  };
}
