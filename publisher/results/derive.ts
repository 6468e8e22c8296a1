// What the store knows about each agent now, derived from its append-only results: the chain's verdict, the host's latest
// scan, run and alert, and the state of each patch. Can be thrown away and made again from `results` at any time.
import type { DatabaseSync } from 'node:sqlite';
import { zstdDecompressSync } from 'node:zlib';
import {
  canonicalJson,
  DOCUMENT_LIMITS,
  encodePlain,
  type Inventory,
  PATCH_STATES,
  type PatchState,
  type Result,
  sha256Of,
} from '#manifests/schema';
import { type ChainLink, type ChainRoot, judgeChain, startsChain } from './chain.ts';
import { RESULT_LIMITS } from './limits.ts';

/** Numbers of states in `host_patches`; never changed, only added to. */
export const STATE_NUMBERS: Readonly<Record<PatchState, number>> = {
  INSTALLED: 1,
  INSTALLED_OTHER: 2,
  INSTALLED_PENDING_REBOOT: 3,
  INSTALLED_REJECTED: 4,
  MISSING: 5,
  FAILED: 6,
  NOT_APPLICABLE: 7,
  AVAILABLE_SECURITY_UPDATE: 8,
  PENDING_APPROVAL: 9,
  HELD: 10,
  ROLLED_BACK: 11,
  EXCEPTED: 12,
  RECALLED_INSTALLED: 13,
};

type Kind = Result['kind'];
type ResultOf<K extends Kind> = Extract<Result, { kind: K }>;

/** A stored result with the values that decide which of two is the newer one. */
export interface Stored<R extends Result = Result> {
  readonly id: number;
  readonly hash: string;
  readonly receivedAt: string;
  readonly result: R;
}

interface Latest {
  readonly last: Stored | undefined;
  readonly scan: Stored<ResultOf<'scan'>> | undefined;
  readonly run: Stored<ResultOf<'run'>> | undefined;
  readonly alert: Stored<ResultOf<'alert'>> | undefined;
}

/** What a scan says about the host itself, as kept beside its state. */
export interface HostFacts {
  readonly inventorySha256: string;
  readonly hostname: string;
  readonly product: string | null;
  readonly arch: string;
  readonly zone: string;
  readonly kernels: Inventory['kernels'];
}

interface AgentState {
  readonly id: number;
  watermark: { sequence: number; hash: string } | null;
  max: number | null;
  odd: boolean;
}

/** Plain bytes of a body as it lies in the store: as it came, or compressed with zstd (RFC 8878, magic 28 B5 2F FD). */
export function bodyBytes(stored: Uint8Array): Uint8Array {
  const compressed = stored[0] === 0x28 && stored[1] === 0xb5;
  return compressed ? zstdDecompressSync(stored, { maxOutputLength: DOCUMENT_LIMITS.plainBytes }) : stored;
}

/** A body read back from the store; it was checked by schema when it came in. */
export function readBody(stored: unknown): Result {
  return JSON.parse(Buffer.from(bodyBytes(stored as Uint8Array)).toString('utf8')) as Result;
}

/** Prepared statements and caches for one open store. */
export function openDerivation(database: DatabaseSync) {
  const sql = {
    addAgent: database.prepare('INSERT INTO agents (agent) VALUES (?) ON CONFLICT (agent) DO NOTHING'),
    agent: database.prepare('SELECT id, watermark_sequence, watermark_hash, max_sequence, odd FROM agents WHERE agent = ?'),
    saveWhole: database.prepare('UPDATE agents SET watermark_sequence = ?, watermark_hash = ?, max_sequence = ? WHERE id = ?'),
    saveChain: database.prepare(
      'UPDATE agents SET watermark_sequence = ?, watermark_hash = ?, max_sequence = ?, gaps = ?, forks = ?, odd = ? WHERE id = ?',
    ),
    links: database.prepare(
      'SELECT sequence, hash, previous, content_sha256 AS contentSha256, trusted_at AS at FROM results WHERE agent_id = ?',
    ),
    roots: database.prepare('SELECT sequence, hash FROM enrolments WHERE agent = ?'),
    enrolmentBodies: database.prepare('SELECT body FROM enrolments WHERE agent = ? ORDER BY hash'),
    agentName: database.prepare('SELECT agent FROM agents WHERE id = ?'),
    resultBody: database.prepare('SELECT body FROM results WHERE id = ?'),
    inventory: database.prepare('SELECT result_id FROM inventories WHERE agent_id = ? AND sha256 = ?'),
    hostKept: database.prepare('SELECT findings_sha256, facts FROM hosts WHERE agent_id = ?'),
    saveLast: database.prepare(
      `INSERT INTO hosts (agent_id, last_result, last_at, last_boot) VALUES (?, ?, ?, ?)
       ON CONFLICT (agent_id) DO UPDATE SET last_result = excluded.last_result, last_at = excluded.last_at, last_boot = excluded.last_boot`,
    ),
    saveScan: database.prepare(
      `UPDATE hosts SET scan_result = ?, evidence_at = ?, counts = ?, non_compliant = ?, findings_sha256 = ?, policy = ?, next = ?, facts = ?
       WHERE agent_id = ?`,
    ),
    saveRun: database.prepare('UPDATE hosts SET run_result = ?, run = ? WHERE agent_id = ?'),
    saveAlert: database.prepare('UPDATE hosts SET alert_result = ?, alert = ? WHERE agent_id = ?'),
    saveKernels: database.prepare('UPDATE hosts SET kernels = ? WHERE agent_id = ?'),
    clearPatches: database.prepare('DELETE FROM host_patches WHERE agent_id = ?'),
    addPatch: database.prepare('INSERT INTO patches (product, patch) VALUES (?, ?) ON CONFLICT (product, patch) DO NOTHING'),
    patch: database.prepare('SELECT id FROM patches WHERE product = ? AND patch = ?'),
    addState: database.prepare(
      'INSERT OR REPLACE INTO host_patches (agent_id, patch_id, state, compliant, level, changes_at) VALUES (?, ?, ?, ?, ?, ?)',
    ),
  };
  const newest = (order: string, kind: string) =>
    database.prepare(
      `SELECT id, hash, received_at AS receivedAt, body FROM results WHERE agent_id = ?${kind} ORDER BY ${order} LIMIT 1`,
    );
  const IN_ORDER = 'sequence DESC, hash DESC';
  const BY_TIME = 'trusted_at DESC, sequence DESC, hash DESC';
  const pick = (order: string) => ({
    last: newest(order, ''),
    scan: newest(order, " AND kind = 'scan'"),
    run: newest(order, " AND kind = 'run'"),
    alert: newest(order, " AND kind = 'alert'"),
  });
  const newestInOrder = pick(IN_ORDER);
  const newestByTime = pick(BY_TIME);
  /** Ids of committed patches; emptied when a transaction is undone. */
  const patchIds = new Map<string, number>();

  function agentState(agent: string): AgentState {
    let row = sql.agent.get(agent);
    if (row === undefined) {
      sql.addAgent.run(agent);
      row = sql.agent.get(agent);
    }
    const sequence = row?.['watermark_sequence'];
    return {
      id: Number(row?.['id']),
      watermark: typeof sequence === 'number' ? { sequence, hash: String(row?.['watermark_hash']) } : null,
      max: typeof row?.['max_sequence'] === 'number' ? row['max_sequence'] : null,
      odd: row?.['odd'] === 1,
    };
  }

  function rootsOf(agent: string): ChainRoot[] {
    return sql.roots.all(agent) as unknown as ChainRoot[];
  }

  /**
   * Takes in results of one agent that were just inserted. When each follows the one before, only the news are looked at;
   * otherwise the whole chain of that agent is judged again.
   */
  function apply(agent: string, state: AgentState, arrivals: readonly Stored[]): void {
    let { watermark, max } = state;
    let whole = !state.odd;
    for (const { result, hash } of arrivals) {
      const follows: boolean =
        max === null
          ? startsChain(result, rootsOf(agent))
          : result.sequence === max + 1 && watermark?.sequence === max && result.previous === watermark.hash;
      whole &&= follows;
      if (!whole) return judge(agent, state.id);
      max = result.sequence;
      watermark = { sequence: result.sequence, hash };
    }
    sql.saveWhole.run(watermark?.sequence ?? null, watermark?.hash ?? null, max, state.id);
    // A scan that names an inventory we do not have: what then counts (an older run, perhaps) is not among the news.
    if (!writeHost(agent, state.id, newestOf(arrivals), false, false)) judge(agent, state.id);
  }

  /** Judges the whole chain of one agent and writes everything derived from it. */
  function judge(agent: string, id: number): void {
    const links = sql.links.all(id) as unknown as ChainLink[];
    const verdict = judgeChain(links, rootsOf(agent));
    const max = links.reduce<number | null>((highest, { sequence }) => Math.max(highest ?? 0, sequence), null);
    const odd = verdict.gaps.length > 0 || verdict.forks.length > 0 || verdict.watermark?.sequence !== max;
    sql.saveChain.run(
      verdict.watermark?.sequence ?? null,
      verdict.watermark?.hash ?? null,
      max,
      canonicalJson(verdict.gaps.slice(0, RESULT_LIMITS.chainEntries)),
      canonicalJson(verdict.forks.slice(0, RESULT_LIMITS.chainEntries)),
      odd ? 1 : 0,
      id,
    );
    const forked = verdict.forks.length > 0;
    const from = forked ? newestByTime : newestInOrder;
    const read = <K extends Kind>(statement: (typeof from)['last']): Stored<ResultOf<K>> | undefined => {
      const row = statement.get(id);
      if (row === undefined) return undefined;
      const result = readBody(row['body']) as ResultOf<K>;
      return { id: Number(row['id']), hash: String(row['hash']), receivedAt: String(row['receivedAt']), result };
    };
    const latest = {
      last: read(from.last),
      scan: read<'scan'>(from.scan),
      run: read<'run'>(from.run),
      alert: read<'alert'>(from.alert),
    };
    writeHost(agent, id, latest, forked, true);
  }

  /** False when the scan's inventory is not here, so that older results decide what is shown of the host. */
  function writeHost(agent: string, id: number, latest: Latest, forked: boolean, judged: boolean): boolean {
    const { last, scan, run, alert } = latest;
    if (last === undefined) return true;
    sql.saveLast.run(id, last.id, earlier(last.result.trustedTime, last.receivedAt), last.result.boot);
    const known = scan === undefined ? null : writeScan(agent, id, scan);
    let kernels = known;
    if (run !== undefined) {
      sql.saveRun.run(run.id, canonicalJson(runSummary(run.result)), id);
      if (scan === undefined || kernels === null || isLater(run, scan, forked)) kernels = run.result.body.kernelsAfter;
    }
    if (kernels !== null || judged) sql.saveKernels.run(kernels === null ? null : canonicalJson(kernels), id);
    if (alert !== undefined) {
      const { code, message } = alert.result.body;
      sql.saveAlert.run(alert.id, canonicalJson({ code, message, at: alert.result.trustedTime }), id);
    }
    return scan === undefined || known !== null;
  }

  function writeScan(agent: string, id: number, { id: resultId, receivedAt, result }: Stored<ResultOf<'scan'>>) {
    const { findings, evidence, next, inventory, counts: counted } = result.body;
    const kept = sql.hostKept.get(id);
    const facts =
      inventory === null
        ? factsBySha256(agent, id, evidence.inventorySha256, kept?.['facts'])
        : factsOf(inventory, evidence.inventorySha256);
    const states = new Map(findings.map((finding) => [`${finding.product}\n${finding.patch}`, finding]));
    const counts = Object.fromEntries(PATCH_STATES.map((state) => [state, 0])) as Record<PatchState, number>;
    let nonCompliant = 0;
    for (const { state, compliant } of states.values()) {
      counts[state] += 1;
      if (!compliant) nonCompliant += 1;
    }
    // Agents need not list what does not concern them; all other figures are counted here, not believed.
    counts.NOT_APPLICABLE = Math.max(counts.NOT_APPLICABLE, counted.NOT_APPLICABLE ?? 0);
    const digest = sha256Of(
      [...states]
        .map(([key, f]) => `${key}\n${f.state}\n${f.compliant}\n${f.level}\n${f.changesAt}`)
        .toSorted()
        .join('\n\n'),
    );
    if (kept?.['findings_sha256'] !== digest) {
      sql.clearPatches.run(id);
      for (const f of states.values()) {
        sql.addState.run(id, patchIdOf(f.product, f.patch), STATE_NUMBERS[f.state], f.compliant ? 1 : 0, f.level, f.changesAt);
      }
    }
    const policy = {
      group: evidence.group,
      baselines: evidence.baselines.map(({ name }) => name),
      softExpired: evidence.softExpired,
      hardExpired: evidence.hardExpired,
    };
    sql.saveScan.run(
      resultId,
      earlier(result.trustedTime, receivedAt),
      canonicalJson(counts),
      nonCompliant,
      digest,
      canonicalJson(policy),
      canonicalJson(next),
      facts === null ? null : canonicalJson(facts),
      id,
    );
    return facts?.kernels ?? null;
  }

  /** Facts of an inventory that was sent earlier; null when the result (or enrolment) that carried it is not here. */
  function factsBySha256(agent: string, id: number, sha256: string, kept: unknown): HostFacts | null {
    const known = typeof kept === 'string' ? (JSON.parse(kept) as HostFacts) : undefined;
    if (known?.inventorySha256 === sha256) return known;
    const carrier = sql.inventory.get(id, sha256)?.['result_id'];
    if (typeof carrier === 'number') {
      const result = readBody(sql.resultBody.get(carrier)?.['body']);
      if (result.kind === 'scan' && result.body.inventory !== null) return factsOf(result.body.inventory, sha256);
    }
    for (const { body } of sql.enrolmentBodies.all(agent)) {
      const result = readBody(body);
      if (result.kind !== 'enrol') continue;
      if (sha256Of(encodePlain('inventory', result.body.inventory)) === sha256) return factsOf(result.body.inventory, sha256);
    }
    return null;
  }

  function patchIdOf(product: string, patch: string): number {
    const key = `${product}\n${patch}`;
    const known = patchIds.get(key);
    if (known !== undefined) return known;
    sql.addPatch.run(product, patch);
    const id = Number(sql.patch.get(product, patch)?.['id']);
    patchIds.set(key, id);
    return id;
  }

  return { agentState, apply, judge, forgetCaches: () => patchIds.clear() };
}

/** Makes everything derived anew from the results; inside a transaction of the caller. */
export function rebuildDerived(database: DatabaseSync): void {
  database.exec('DELETE FROM host_patches; DELETE FROM patches; DELETE FROM hosts');
  const derivation = openDerivation(database);
  for (const row of database.prepare('SELECT id, agent FROM agents ORDER BY id').all()) {
    derivation.judge(String(row['agent']), Number(row['id']));
  }
}

function newestOf(arrivals: readonly Stored[]): Latest {
  const last = <K extends Kind>(kind: K) =>
    arrivals.findLast((arrival): arrival is Stored<ResultOf<K>> => arrival.result.kind === kind);
  return { last: arrivals.at(-1), scan: last('scan'), run: last('run'), alert: last('alert') };
}

function isLater(a: Stored, b: Stored, byTime: boolean): boolean {
  if (byTime && a.result.trustedTime !== b.result.trustedTime) return a.result.trustedTime > b.result.trustedTime;
  return a.result.sequence > b.result.sequence;
}

function factsOf(inventory: Inventory, inventorySha256: string): HostFacts {
  const { hostname, product, arch, zone, kernels } = inventory;
  return { inventorySha256, hostname, product, arch, zone, kernels };
}

/** What is shown of the last run without opening its body. */
export interface RunSummary {
  readonly run: string;
  readonly sequence: number;
  readonly outcome: ResultOf<'run'>['body']['outcome'];
  readonly started: string;
  readonly finished: string;
  readonly boot: string;
  readonly rebootNeeded: boolean;
  readonly error: string | null;
  readonly patches: number;
  readonly changes: number;
}

function runSummary({ sequence, boot, body }: ResultOf<'run'>): RunSummary {
  const { run, outcome, started, finished, rebootNeeded, error, patches, changes } = body;
  return {
    run,
    sequence,
    outcome,
    started,
    finished,
    boot,
    rebootNeeded: rebootNeeded.needed,
    error: error?.code ?? null,
    patches: patches.length,
    changes: changes.length,
  };
}

/** A clock that runs ahead cannot make evidence younger than its arrival. */
function earlier(a: string, b: string): string {
  return a < b ? a : b;
}
