// Publishing: policy resolved, payloads fetched, documents settled, roles signed, and all of it made current by one rename.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Progress } from '#manifests/platform/progress';
import { openPayloadStore, type PayloadStore, publishFiles, targetFilePath } from '#manifests/repository';
import { type Ack, type Catalog, type Roster, suggestion } from '#manifests/schema';
import type { CatalogStore } from '../catalog/index.ts';
import { type PayloadChoice, type PublisherHome, ROLES, type Role } from '../home.ts';
import { factsOf, type PolicyFacts, type PolicySet, type ResolvedPolicy, resolvePolicy } from '../policy/index.ts';
import { openKnowledge } from '../results/index.ts';
import { fetchPayloads, missingBytes, readKev } from '../sources/index.ts';
import { askApprovers, freely, inputsOf, otherPolicy, policyByName } from './approval.ts';
import { type ChangeStanding, closeChange } from './changes.ts';
import { describeChange } from './differences.ts';
import {
  publishedPolicy,
  type SignedExceptions,
  settleCatalogs,
  settleKev,
  settlePolicyAndRoster,
  type TargetDocument,
} from './documents.ts';
import { type KeyRegister, type Keyring, retireKeys } from './keyring.ts';
import { type PlanInput, type RoleStep, signPlan } from './metadata.ts';
import { sitesToSign } from './overlays.ts';
import { type Published, readPublished } from './published.ts';
import { readReserved, reserve } from './reserved.ts';
import { lackingPackages, onlyLacking } from './wanted.ts';

const fault = defineFaults('publish', {
  'unknown-group': { exit: EXIT.usage, next: 'Write the group into the policy, or move or revoke the agents that are in it.' },
  payloads: {
    exit: EXIT.unreachable,
    next: 'Run `publisher source sync` (the vendor may have newer ones) and publish again: what was fetched is kept. Nothing was published.',
  },
  'source-gone': { exit: EXIT.usage, next: 'Add the source again, or publish with --payloads none.' },
});

/** Runs older than this say nothing of how long a patch takes. */
const DAY_MS = 86_400_000;
const HISTORY_MS = 180 * DAY_MS;
/** Approvals may depend on what payloads tell of severity, so that fetching can approve more; at most so many rounds. */
const FETCH_ROUNDS = 4;

export interface PublishOptions {
  readonly home: PublisherHome;
  readonly register: KeyRegister;
  /** Opens keys; not used in a dry run. */
  readonly keyring: Keyring;
  readonly policy: PolicySet;
  readonly catalog: CatalogStore;
  readonly roster: Roster;
  readonly acks: readonly Ack[];
  readonly exceptions: SignedExceptions;
  readonly payloads: PayloadChoice;
  readonly refresh: boolean;
  readonly dryRun: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Starts a progress line. */
  progress(label: string, total?: number): Progress;
}

export interface PublishReport {
  readonly dryRun: boolean;
  /** Signed anew, with the reason. */
  readonly roles: ReadonlyArray<{ role: Role; version: number; why: string; expires: number }>;
  readonly documents: ReadonlyArray<{
    path: string;
    state: TargetDocument['state'] | 'removed';
    sha256: string | null;
    bytes: number;
  }>;
  readonly baselines: ReadonlyArray<{ name: string; product: string; approved: number; pending: number; rejected: number }>;
  readonly payloads: { readonly fetched: number; readonly bytes: number; readonly missingBytes: number };
  readonly versions: Readonly<Partial<Record<Role, number>>>;
  /** When the timestamp that now holds ends, and from when on hosts warn. Null in a dry run of a first publish. */
  readonly expires: string | null;
  readonly softExpires: string | null;
  readonly retiredKeys: readonly string[];
  /** What is left out, and why: overlays of sites. */
  readonly remarks: readonly string[];
  /** What changes in policy, in words. */
  readonly differences: readonly string[];
  /** Set when the change needs approvers: it was published (`approved`), or waits and policy stays as it was. */
  readonly change: {
    readonly id: string;
    readonly state: ChangeStanding['state'];
    readonly signed: number;
    readonly threshold: number;
  } | null;
}

/**
 * Publishes what policy, catalogs, roster and acks say now. The caller holds the home's lock. Killed at any point, readers
 * see the old state or the new one, and the next publish converges (S42).
 * @throws policy.invalid, policy-resolve.no-catalog, publish.*, keys.missing, trust.* when the tree was tampered with
 */
export async function publish(options: PublishOptions): Promise<PublishReport> {
  const { home, clock, signal } = options;
  checkGroups(options.policy, options.roster);
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-publish-'));
  const knowledge = openKnowledge(home.storeFile);
  try {
    const published = await readPublished(home, scratch, signal);
    const now = Math.floor(clock.now() / 1000) * 1000;
    const store = openPayloadStore(join(home.repositoryFolder, 'payloads'));
    const feed = await settleKev(published, readKev(home.feedsFolder));
    const signed = { kev: feed?.value ?? null, ...(await publishedPolicy(published)) };
    const facts = factsOf(signed, options.roster, knowledge, utcSeconds(now - HISTORY_MS));
    const fetched = await fetchAndResolve(options, published, store, { now, facts });
    const sites = sitesToSign(home, fetched.policy.delegations, published, now, home.settings.expiresDays.timestamp * DAY_MS);
    const wanted = [
      ...fetched.targets,
      ...sites.documents,
      ...(feed === null ? [] : [feed.target]),
      ...(await settlePolicyAndRoster(
        published,
        { ...fetched.policy, ...options.exceptions, roster: options.roster, acks: options.acks },
        now,
      )),
    ];
    const reserved = readReserved(home);
    const asked: PlanInput = {
      published,
      register: options.register,
      documents: wanted,
      settings: home.settings,
      sites: sites.sites,
      reserved,
      now,
      // New payloads alone change no document; a new timestamp makes relays look again.
      refresh: options.refresh || fetched.payloads.fetched > 0,
    };
    const differences = describeChange(signed, policyByName(fetched.policy), otherPolicy(published, wanted));
    const inputs = inputsOf(options.policy, fetched.catalogs, signed.kev, options.register.roles.policy);
    const approval = options.dryRun
      ? freely(asked)
      : await askApprovers({ home, keyring: options.keyring, asked, inputs, says: differences });
    const { input, steps } = approval;
    const { documents } = input;
    let retiredKeys: string[] = [];
    let timestamp = published.files.get('timestamp')?.signed;
    if (!options.dryRun && steps.length > 0) {
      const { files, last } = await signPlan(input, steps, options.keyring, approval.approved);
      signal.throwIfAborted();
      reserve(home, reserved, steps);
      const targets = documents
        .filter(({ state }) => state !== 'same')
        .map(({ path, sha256, bytes }) => ({ path: targetFilePath(path, sha256), bytes }));
      publishFiles(home.repositoryFolder, [...targets, ...files], last);
      if (approval.change?.state === 'approved') closeChange(home, approval.change.request, now);
      retiredKeys = retireKeys(home.keysFolder, options.register);
      const written = last.find(({ path }) => path.endsWith('timestamp.json'));
      if (written)
        timestamp = (JSON.parse(Buffer.from(written.bytes).toString('utf8')) as { signed: Record<string, unknown> }).signed;
    }
    return {
      dryRun: options.dryRun,
      roles: steps.map(({ role, version, why, expires }) => ({ role, version, why, expires })),
      documents: changesOf(published, documents),
      baselines: fetched.policy.baselines.map(({ name, product, approved, pending, rejected }) => ({
        name,
        product,
        approved: approved.length,
        pending: pending.length,
        rejected: rejected.length,
      })),
      payloads: fetched.payloads,
      versions: versionsAfter(published, options.dryRun ? [] : steps),
      expires: textOf(timestamp?.['expires']),
      softExpires: textOf(timestamp?.['softExpires']),
      retiredKeys,
      remarks: sites.remarks,
      differences,
      change:
        approval.change === null
          ? null
          : {
              id: approval.change.request.id,
              state: approval.change.state,
              signed: approval.change.signed,
              threshold: approval.change.threshold,
            },
    };
  } finally {
    knowledge.close();
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : null);

/** Every approved agent is in a group that the policy has: otherwise it would be left without policy silently. */
function checkGroups(policy: PolicySet, roster: Roster): void {
  if (policy.problems.length > 0) return; // a group that is written wrongly is told as such, by resolving
  const known = [...policy.groups.keys()];
  for (const { title, id, group, status } of roster.agents) {
    if (status !== 'approved' || known.includes(group)) continue;
    throw fault(
      'unknown-group',
      `agent ${title} (${id}) is in group "${group}", which the policy does not have${suggestion(group, known)}`,
      {
        where: group,
      },
    );
  }
}

interface Fetched {
  readonly targets: TargetDocument[];
  readonly catalogs: readonly Catalog[];
  readonly policy: ResolvedPolicy;
  readonly payloads: PublishReport['payloads'];
}

/** Resolves, fetches what became approved, lets the payloads tell of CVEs and urgency, and resolves again until nothing is lacking. */
async function fetchAndResolve(
  options: PublishOptions,
  published: Published,
  store: PayloadStore,
  { now, facts }: { readonly now: number; readonly facts: PolicyFacts },
): Promise<Fetched> {
  const { catalog: known, signal } = options;
  const lackingHere = options.payloads === 'wanted' ? lackingPackages(options.home.storeFile) : new Map<string, Set<string>>();
  let fetched = 0;
  let bytes = 0;
  for (let round = 1; ; round += 1) {
    const settled = await settleCatalogs(
      published,
      known.products().map((product) => known.catalogOf(product, now)),
    );
    const catalogs = settled.map(({ value }) => value);
    const policy = resolvePolicy(options.policy, catalogs, now, facts);
    const wanted: { catalog: Catalog; patches: Catalog['patches'] }[] = [];
    for (const catalog of catalogs) {
      const patches = wantedOf(catalog, policy, options.payloads);
      const cut = options.payloads === 'wanted' ? await onlyLacking(catalog, patches, lackingHere, store) : patches;
      wanted.push({ catalog, patches: cut });
    }
    const lacking = wanted.reduce((sum, { patches }) => sum + missingBytes(patches, store), 0);
    const ready = options.dryRun || lacking === 0;
    if (!ready && round <= FETCH_ROUNDS) {
      const progress = options.progress('payloads, bytes', lacking);
      let before = 0;
      for (const { patches } of wanted) {
        const report = await fetchFrom(options, patches, store, {
          at: (done, remark) => progress.at(before + done, remark),
          end: () => undefined,
        });
        fetched += report.fetched;
        bytes += report.bytes;
        before += report.bytes;
      }
      progress.end();
    }
    // Own runs of `enrich` on payloads that came another way count too; it reads each payload once.
    let told = 0;
    if (!options.dryRun) {
      for (const { catalog, patches } of wanted) {
        const only = new Set(patches.map(({ id }) => id));
        told += (await known.enrich(catalog.product, store, { only, signal })).enriched;
      }
    }
    if ((ready && told === 0) || round > FETCH_ROUNDS) {
      return {
        targets: settled.map(({ target }) => target),
        catalogs,
        policy,
        payloads: { fetched, bytes, missingBytes: lacking },
      };
    }
  }
}

function wantedOf(catalog: Catalog, policy: ResolvedPolicy, choice: PayloadChoice): Catalog['patches'] {
  if (choice === 'none') return [];
  if (choice === 'all') return catalog.patches;
  const ids = new Set(
    policy.baselines
      .filter(({ product }) => product === catalog.product)
      .flatMap(({ approved, pending }) => [...approved, ...pending].map(({ patch }) => patch)),
  );
  return catalog.patches.filter(({ id }) => ids.has(id));
}

async function fetchFrom(options: PublishOptions, patches: Catalog['patches'], store: PayloadStore, progress: Progress) {
  let fetched = 0;
  let bytes = 0;
  const failed: { patch: string; says: string }[] = [];
  for (const [name, of] of Map.groupBy(patches, ({ repository }) => repository)) {
    if (missingBytes(of, store) === 0) continue;
    const source = options.home.settings.sources.find((one) => one.name === name);
    if (source === undefined) {
      throw fault('source-gone', `payloads of ${of[0]?.id} are lacking, and source "${name}" is not in the settings any more`, {
        where: name,
      });
    }
    const from = bytes;
    const report = await fetchPayloads(source, of, {
      payloads: store,
      signal: options.signal,
      progress: { at: (done, remark) => progress.at(from + done, remark), end: () => undefined },
    });
    fetched += report.fetched;
    bytes += report.bytes;
    failed.push(...report.failed);
  }
  if (failed.length > 0) {
    const rows = failed.slice(0, 20).map(({ patch, says }) => `${patch}: ${says}`);
    throw fault('payloads', `payloads of ${failed.length} approved or pending patches cannot be had\n${rows.join('\n')}`, {
      where: failed[0]?.patch,
    });
  }
  return { fetched, bytes };
}

function changesOf(published: Published, documents: readonly TargetDocument[]): PublishReport['documents'] {
  const wanted = new Set(documents.map(({ path }) => path));
  return [
    ...documents.map(({ path, state, sha256, bytes }) => ({ path, state, sha256, bytes: bytes.length })),
    ...[...published.targets.keys()]
      .filter((path) => !wanted.has(path))
      .map((path) => ({ path, state: 'removed' as const, sha256: null, bytes: 0 })),
  ].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

function versionsAfter(published: Published, steps: readonly RoleStep[]): PublishReport['versions'] {
  const versions = new Map<Role, number>();
  for (const role of ROLES) {
    const version = steps.find((step) => step.role === role)?.version ?? published.files.get(role)?.version;
    if (version !== undefined) versions.set(role, version);
  }
  return Object.fromEntries(versions);
}
