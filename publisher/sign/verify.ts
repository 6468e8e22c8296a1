// Checks any repository (folder or URL) with public keys only: the metadata chain, every target, every document, every payload.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT, isFault } from '#manifests/errors';
import type { Clock } from '#manifests/platform/clock';
import { formatBytes, type Progress } from '#manifests/platform/progress';
import { openPayloadStore, payloadPath, payloadsOf } from '#manifests/repository';
import { type Catalog, type DocumentKind, type DocumentOf, decodeDocument, encodePlain, sha256Of } from '#manifests/schema';
import { type Origin, openOrigin } from '#manifests/transfer';
import { openTrust, type TrustClient } from '#manifests/trust';
import { decodeStop } from './stops.ts';

/** What documents lie under which target paths. A path of another form is checked by hash alone. */
const KINDS: ReadonlyArray<{ readonly path: RegExp; readonly kind: DocumentKind }> = [
  { path: /^catalogs\/[^/]+\.json\.zst$/, kind: 'catalog' },
  { path: /^policy\/baselines\/[^/]+\.json\.zst$/, kind: 'resolved-baseline' },
  { path: /^policy\/groups\/[^/]+\.json\.zst$/, kind: 'group' },
  { path: /^policy\/recalls\/[^/]+\.json\.zst$/, kind: 'recall' },
  { path: /^policy\/sites\/[^/]+\.json\.zst$/, kind: 'site-delegation' },
  { path: /^sites\/[^/]+\/overlay\.json\.zst$/, kind: 'site-overlay' },
  { path: /^waivers\/[^/]+\.json\.zst$/, kind: 'waiver' },
  { path: /^feeds\/kev\.json\.zst$/, kind: 'kev' },
  { path: /^roster\/roster\.json\.zst$/, kind: 'roster' },
  { path: /^roster\/acks\.json\.zst$/, kind: 'acks' },
];

interface Check {
  /** What was looked at: `metadata`, a target path, `payloads`, … */
  readonly what: string;
  /** `refused`: not what was signed. `finding`: signed, and something is not as it should be. */
  readonly verdict: 'ok' | 'finding' | 'refused';
  readonly says: string;
  /** Stable code of a refusal. */
  readonly code: string | null;
}

export interface VerifyReport {
  readonly repository: string;
  readonly at: string;
  readonly versions: {
    readonly root: number;
    readonly timestamp: number;
    readonly snapshot: number;
    readonly targets: number;
  } | null;
  readonly expires: string | null;
  readonly checks: readonly Check[];
  readonly payloads: { readonly named: number; readonly present: number; readonly rehashed: number; readonly lacking: number };
}

export interface VerifyOptions {
  /** URL or folder. */
  readonly repository: string;
  readonly root: Uint8Array;
  /** Read every payload that is there again; otherwise presence and size are looked at, and in folders only. */
  readonly payloads: boolean;
  /** Payloads of approved patches that are not there are findings; else they are counted only (hosts may not want them). */
  readonly complete: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  progress(label: string, total?: number): Progress;
}

interface Judge {
  readonly checks: Check[];
  ok(what: string, says: string): void;
  finding(what: string, says: string): void;
  /** Notes a refusal by its code; what is no fault of ours is thrown on. */
  refuse(what: string, error: unknown): void;
}

function judge(): Judge {
  const checks: Check[] = [];
  return {
    checks,
    ok: (what, says) => checks.push({ what, verdict: 'ok', says, code: null }),
    finding: (what, says) => checks.push({ what, verdict: 'finding', says, code: null }),
    refuse(what, error) {
      if (!isFault(error) || error.exit !== EXIT.refused) throw error;
      checks.push({ what, verdict: 'refused', says: error.message, code: error.code });
    },
  };
}

/** Verifies a repository. What cannot be reached is thrown; what does not hold is in the report. @throws transfer.* */
export async function verifyRepository(options: VerifyOptions): Promise<VerifyReport> {
  const { clock, signal } = options;
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-verify-'));
  const at = `${new Date(clock.now()).toISOString().slice(0, 19)}Z`;
  const verdict = judge();
  const nothing = { named: 0, present: 0, rehashed: 0, lacking: 0 };
  const origin = openOrigin(options.repository);
  try {
    const trust = openTrust({ folder: join(scratch, 'trust'), pinnedRoot: options.root, now: () => clock.now() });
    try {
      await trust.refresh(origin, signal);
    } catch (error) {
      verdict.refuse('metadata', error);
      return { repository: options.repository, at, versions: null, expires: null, checks: verdict.checks, payloads: nothing };
    }
    checkFreshness(trust, verdict);
    const documents = await checkTargets(trust, origin, verdict, options);
    checkReferences(documents, verdict);
    const payloads = await checkPayloads(documents, origin, verdict, options, scratch);
    const { expires } = trust.freshness();
    return {
      repository: options.repository,
      at,
      versions: trust.versions() ?? null,
      expires: expires ?? null,
      checks: verdict.checks,
      payloads,
    };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function checkFreshness(trust: TrustClient, verdict: Judge): void {
  const { root, timestamp, snapshot, targets } = trust.versions() ?? { root: 0, timestamp: 0, snapshot: 0, targets: 0 };
  verdict.ok(
    'metadata',
    `signatures, thresholds, versions hold: root ${root}, targets ${targets}, snapshot ${snapshot}, timestamp ${timestamp}`,
  );
  const fresh = trust.freshness();
  if (fresh.softExpired)
    verdict.finding('freshness', `no new timestamp for longer than the publisher promised; it ends at ${fresh.expires}`);
  else verdict.ok('freshness', `good until ${fresh.expires}`);
}

interface Documents {
  readonly catalogs: Map<string, { document: Catalog; plainSha256: string }>;
  readonly baselines: DocumentOf<'resolved-baseline'>[];
  readonly groups: DocumentOf<'group'>[];
  roster: DocumentOf<'roster'> | undefined;
}

async function checkTargets(trust: TrustClient, origin: Origin, verdict: Judge, options: VerifyOptions): Promise<Documents> {
  const found: Documents = { catalogs: new Map(), baselines: [], groups: [], roster: undefined };
  const targets = trust.targets().toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const progress = options.progress('documents', targets.length);
  for (const [index, { path, role, sha256 }] of targets.entries()) {
    progress.at(index, path);
    try {
      const bytes = await trust.readTarget(path, origin, options.signal);
      const kind = KINDS.find((one) => one.path.test(path))?.kind;
      if (kind !== undefined) takeDocument(found, kind, bytes, path);
      else if (path.startsWith('halts/')) decodeStop(bytes, path);
      verdict.ok(
        path,
        `signed by ${role}, ${bytes.length} bytes, sha256 ${sha256.slice(0, 16)}…${kind === undefined && !path.startsWith('halts/') ? ', of no kind known here' : ''}`,
      );
    } catch (error) {
      verdict.refuse(path, error);
    }
  }
  progress.at(targets.length);
  progress.end();
  return found;
}

function takeDocument(found: Documents, kind: DocumentKind, bytes: Uint8Array, path: string): void {
  switch (kind) {
    case 'catalog': {
      const document = decodeDocument('catalog', bytes, path);
      found.catalogs.set(document.product, { document, plainSha256: sha256Of(encodePlain('catalog', document)) });
      break;
    }
    case 'resolved-baseline':
      found.baselines.push(decodeDocument('resolved-baseline', bytes, path));
      break;
    case 'group':
      found.groups.push(decodeDocument('group', bytes, path));
      break;
    case 'roster':
      found.roster = decodeDocument('roster', bytes, path);
      break;
    default:
      decodeDocument(kind, bytes, path);
  }
}

/** What documents say of each other. */
function checkReferences({ catalogs, baselines, groups, roster }: Documents, verdict: Judge): void {
  for (const { name, product, catalogSha256, approved, pending } of baselines) {
    const catalog = catalogs.get(product);
    const what = `baseline ${name}`;
    if (catalog === undefined) verdict.finding(what, `is for ${product}, of which there is no catalog`);
    else if (catalog.plainSha256 !== catalogSha256) verdict.finding(what, `was resolved against another catalog of ${product}`);
    else {
      const ids = new Set(catalog.document.patches.map(({ id }) => id));
      const strangers = [...approved, ...pending].filter(({ patch }) => !ids.has(patch)).length;
      if (strangers > 0) verdict.finding(what, `names ${strangers} patches that the catalog does not have`);
    }
  }
  const known = new Set(baselines.map(({ name }) => name));
  for (const group of groups) {
    for (const { baseline } of group.baselines) {
      if (!known.has(baseline)) verdict.finding(`group ${group.name}`, `uses baseline "${baseline}", which is not here`);
    }
  }
  const names = new Set(groups.map(({ name }) => name));
  for (const { title, group, status } of roster?.agents ?? []) {
    if (status === 'approved' && !names.has(group))
      verdict.finding(`agent ${title}`, `is in group "${group}", which is not here`);
  }
}

async function checkPayloads(
  { catalogs, baselines }: Documents,
  origin: Origin,
  verdict: Judge,
  options: VerifyOptions,
  scratch: string,
): Promise<VerifyReport['payloads']> {
  const isFolder = fs.existsSync(options.repository);
  const counts = { named: 0, present: 0, rehashed: 0, lacking: 0 };
  if (!isFolder && !options.payloads) {
    counts.named = new Set(
      [...catalogs.values()].flatMap(({ document }) => payloadsOf(document).map(({ sha256 }) => sha256)),
    ).size;
    verdict.ok('payloads', `${counts.named} named, not looked at (--payloads fetches and checks them)`);
    return counts;
  }
  const store = openPayloadStore(join(options.repository, 'payloads'));
  const seen = new Set<string>();
  for (const { document } of catalogs.values()) {
    const approved = new Set(
      baselines.filter(({ product }) => product === document.product).flatMap((one) => one.approved.map(({ patch }) => patch)),
    );
    const needed = new Set(payloadsOf(document, approved).map(({ sha256 }) => sha256));
    const indexes = new Set(document.repositories.flatMap((one) => one.indexes.map(({ sha256 }) => sha256)));
    const lacking: { path: string; size: number }[] = [];
    const named = payloadsOf(document).filter(({ sha256 }) => !seen.has(sha256));
    const progress = options.payloads
      ? options.progress(
          `payloads of ${document.product}, bytes`,
          named.reduce((sum, { size }) => sum + size, 0),
        )
      : options.progress(`payloads of ${document.product}`, named.length);
    let done = 0;
    for (const { sha256, size, path } of named) {
      options.signal.throwIfAborted();
      seen.add(sha256);
      counts.named += 1;
      const state = isFolder
        ? await lookAt(store, sha256, size, options.payloads)
        : await fetchAndCheck(origin, sha256, size, scratch, options.signal);
      done += options.payloads ? size : 1;
      progress.at(done, path.split('/').at(-1));
      if (state === 'lacking') {
        if (indexes.has(sha256)) verdict.finding(payloadPath(sha256), `${path}, an index that hosts need, is not here`);
        else if (needed.has(sha256)) lacking.push({ path, size });
        continue;
      }
      if (state === 'wrong') {
        verdict.checks.push({
          what: payloadPath(sha256),
          verdict: 'refused',
          says: `${path} is not what its name says`,
          code: 'repository.payload-hash',
        });
        continue;
      }
      counts.present += 1;
      if (options.payloads) counts.rehashed += 1;
    }
    progress.end();
    counts.lacking += lacking.length;
    if (options.complete && lacking.length > 0) {
      const size = formatBytes(lacking.reduce((sum, one) => sum + one.size, 0));
      verdict.finding(
        `payloads of ${document.product}`,
        `${lacking.length} of approved patches are not here (${size}), such as ${lacking[0]?.path ?? ''}`,
      );
    }
  }
  const how = options.payloads ? 'read again' : 'looked at by size; --payloads reads them again';
  verdict.ok(
    'payloads',
    `${counts.named} named by catalogs, ${counts.present} here (${how}); ${counts.lacking} of approved patches not here`,
  );
  return counts;
}

type PayloadState = 'good' | 'lacking' | 'wrong';

async function lookAt(
  store: ReturnType<typeof openPayloadStore>,
  sha256: string,
  size: number,
  rehash: boolean,
): Promise<PayloadState> {
  if (!fs.existsSync(store.pathOf(sha256))) return 'lacking';
  if (!rehash) return store.has(sha256, size) ? 'good' : 'wrong';
  return (await store.verify(sha256, size)) ? 'good' : 'wrong';
}

async function fetchAndCheck(
  origin: Origin,
  sha256: string,
  size: number,
  scratch: string,
  signal: AbortSignal,
): Promise<PayloadState> {
  const file = join(scratch, sha256);
  try {
    await origin.download(payloadPath(sha256), { sha256, size }, file, { signal });
    return 'good';
  } catch (error) {
    if (isFault(error, 'transfer.missing')) return 'lacking';
    if (isFault(error) && error.exit === EXIT.refused) return 'wrong';
    throw error;
  } finally {
    fs.rmSync(file, { force: true });
    fs.rmSync(`${file}.part`, { force: true });
  }
}
