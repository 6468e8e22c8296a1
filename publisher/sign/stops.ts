// A halt or a blocking recall, published alone and at once: the halts role with snapshot and timestamp, no other key, no
// vendor, no policy. Everything else stays byte for byte as it is published.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineFaults, EXIT, isFault } from '#manifests/errors';
import type { Clock } from '#manifests/platform/clock';
import { publishFiles, targetFilePath } from '#manifests/repository';
import { decodeDocument, suggestion } from '#manifests/schema';
import type { PublisherHome } from '../home.ts';
import type { Stop } from '../policy/index.ts';
import { publishedDocuments, settleStop, stopPath } from './documents.ts';
import type { Keyring } from './keyring.ts';
import { type PlanInput, planMetadata, signPlan } from './metadata.ts';
import { type Published, readPublished } from './published.ts';
import { readReserved, reserve } from './reserved.ts';

const fault = defineFaults('stop', {
  unpublished: {
    exit: EXIT.usage,
    next: 'Run `publisher publish` once: there is no host yet that could read a halt.',
  },
  'unknown-group': { exit: EXIT.usage, next: 'A halt for a group that nobody is in would halt nobody: correct the name.' },
  unknown: { exit: EXIT.usage, next: '`publisher halt list` and `publisher recall list` name those in force.' },
});

/** What on call signs with. The last two are kept where publications are made; none of the three can install anything. */
const STOP_ROLES = ['halts', 'snapshot', 'timestamp'] as const;

export interface StopOptions {
  readonly home: PublisherHome;
  readonly keyring: Keyring;
  /** Comes into force. */
  readonly put?: Stop | undefined;
  /** Name of one that is lifted. */
  readonly lift?: string | undefined;
  readonly dryRun: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface StopReport {
  readonly path: string;
  readonly change: 'new' | 'changed' | 'same' | 'lifted';
  readonly roles: ReadonlyArray<{ role: string; version: number }>;
}

/** Publishes one change under `halts/` and nothing else. The caller holds the home's lock. @throws stop.*, keys.missing */
export async function publishStop(options: StopOptions): Promise<StopReport> {
  const { home, clock, signal } = options;
  return withPublished(home, signal, async (published) => {
    const now = Math.floor(clock.now() / 1000) * 1000;
    const others = await publishedDocuments(published);
    const path = stopPath(options.put?.name ?? options.lift ?? '');
    if (options.put === undefined && !published.targets.has(path))
      throw fault('unknown', `nothing published is named "${options.lift}"`, { where: path });
    checkScope(options.put, published);
    const put = options.put === undefined ? undefined : await settleStop(published, options.put);
    const reserved = readReserved(home);
    const input: PlanInput = {
      published,
      register: options.keyring.register,
      documents: [...others.filter((document) => document.path !== path), ...(put === undefined ? [] : [put])],
      settings: home.settings,
      reserved,
      now,
      refresh: false,
      only: STOP_ROLES,
    };
    const change = put?.state ?? 'lifted';
    const steps = change === 'same' ? [] : planMetadata(input);
    if (!options.dryRun && steps.length > 0) {
      const { files, last } = await signPlan(input, steps, options.keyring);
      signal.throwIfAborted();
      reserve(home, reserved, steps);
      const targets = put === undefined ? [] : [{ path: targetFilePath(path, put.sha256), bytes: put.bytes }];
      publishFiles(home.repositoryFolder, [...targets, ...files], last);
    }
    return { path, change, roles: steps.map(({ role, version }) => ({ role, version })) };
  });
}

/** Halts and recalls as they are published now, sorted by name. @throws trust.* when the tree was tampered with */
export async function publishedStops(home: PublisherHome, signal: AbortSignal): Promise<Stop[]> {
  return withPublished(home, signal, async (published) => {
    const stops: Stop[] = [];
    for (const path of [...published.targets.keys()].toSorted()) {
      if (path.startsWith('policy/recalls/')) stops.push(decodeDocument('recall', await published.read(path), path));
      if (path.startsWith('halts/')) stops.push(decodeStop(await published.read(path), path));
    }
    return stops;
  });
}

/** A document under `halts/`, of whichever of the two kinds. @throws document.* */
export function decodeStop(bytes: Uint8Array, path: string): Stop {
  try {
    return decodeDocument('halt', bytes, path);
  } catch (error) {
    if (!isFault(error, 'document.malformed')) throw error;
    return decodeDocument('recall', bytes, path);
  }
}

function checkScope(stop: Stop | undefined, published: Published): void {
  const groups = [...published.targets.keys()].flatMap((path) => /^policy\/groups\/(.+)\.json\.zst$/.exec(path)?.[1] ?? []);
  for (const name of stop?.scope.groups ?? []) {
    if (groups.includes(name)) continue;
    throw fault('unknown-group', `no group "${name}" is published${suggestion(name, groups)}`, { where: name });
  }
}

async function withPublished<T>(home: PublisherHome, signal: AbortSignal, work: (published: Published) => Promise<T>) {
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-stop-'));
  try {
    const published = await readPublished(home, scratch, signal);
    if (!published.files.has('timestamp')) throw fault('unpublished', `${home.repositoryFolder} holds nothing yet`);
    return await work(published);
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}
