// Roster and acks, published alone: the roster role with snapshot and timestamp, no other key, no vendor, no policy. Everything
// else stays byte for byte as it is published, so that whoever serves closed sites needs no approver's key.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '#manifests/platform/clock';
import { publishFiles, targetFilePath } from '#manifests/repository';
import type { Ack, Roster } from '#manifests/schema';
import type { PublisherHome } from '../home.ts';
import { publishedDocuments, settleRoster } from './documents.ts';
import type { Keyring } from './keyring.ts';
import { type PlanInput, planMetadata, signPlan } from './metadata.ts';
import { readPublished } from './published.ts';
import { readReserved, reserve } from './reserved.ts';

const ROSTER_ROLES = ['roster', 'snapshot', 'timestamp'] as const;

export interface RosterOptions {
  readonly home: PublisherHome;
  readonly keyring: Keyring;
  readonly roster: Roster;
  readonly acks: readonly Ack[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface RosterReport {
  /** Signed anew; empty when roster, acks and freshness are as they should be. */
  readonly roles: ReadonlyArray<{ readonly role: string; readonly version: number }>;
  /** Groups of approved agents that no publication has named yet: these hosts have no policy until the next `publish`. */
  readonly groupsWithout: readonly string[];
}

/** The caller holds the home's lock; something must be published already. @throws keys.missing, trust.* */
export async function publishRoster(options: RosterOptions): Promise<RosterReport> {
  const { home, keyring, roster, acks, signal } = options;
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-roster-'));
  try {
    const published = await readPublished(home, scratch, signal);
    const now = Math.floor(options.clock.now() / 1000) * 1000;
    const settled = await settleRoster(published, { roster, acks }, now);
    const paths = new Set(settled.map(({ path }) => path));
    const others = (await publishedDocuments(published)).filter(({ path }) => !paths.has(path));
    const reserved = readReserved(home);
    const input: PlanInput = {
      published,
      register: keyring.register,
      documents: [...others, ...settled],
      settings: home.settings,
      reserved,
      now,
      refresh: false,
      only: ROSTER_ROLES,
    };
    const steps = planMetadata(input);
    if (steps.length > 0) {
      const { files, last } = await signPlan(input, steps, keyring);
      signal.throwIfAborted();
      reserve(home, reserved, steps);
      const targets = settled
        .filter(({ state }) => state !== 'same')
        .map(({ path, sha256, bytes }) => ({ path: targetFilePath(path, sha256), bytes }));
      publishFiles(home.repositoryFolder, [...targets, ...files], last);
    }
    const groups = roster.agents.filter(({ status }) => status === 'approved').map(({ group }) => group);
    const groupsWithout = [...new Set(groups)].filter((name) => !published.targets.has(`policy/groups/${name}.json.zst`));
    return { roles: steps.map(({ role, version }) => ({ role, version })), groupsWithout };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}
