// Reading the store: the fleet as last known, for reports. Never writes.
import { PATCH_STATES, type PatchState, type Result, type ScanBody } from '#manifests/schema';
import type { Fork } from './chain.ts';
import { type HostFacts, type RunSummary, readBody, STATE_NUMBERS } from './derive.ts';
import { openForReading } from './layout.ts';

/** What the store holds of one agent. */
export interface HostRecord {
  readonly agent: string;
  /** Newest thing heard: the agent's trusted time, or the time of its arrival when that was earlier. */
  readonly lastAt: string;
  readonly lastBoot: string;
  /** Of the newest scan, as `lastAt`; null when there is no scan. */
  readonly evidenceAt: string | null;
  readonly counts: Readonly<Record<PatchState, number>> | null;
  readonly nonCompliant: number | null;
  readonly policy: {
    readonly group: string | null;
    readonly baselines: readonly string[];
    readonly softExpired: boolean;
    readonly hardExpired: boolean;
  } | null;
  readonly next: ScanBody['next'] | null;
  readonly facts: HostFacts | null;
  readonly kernels: HostFacts['kernels'] | null;
  readonly run: RunSummary | null;
  readonly alert: { readonly code: string; readonly message: string; readonly at: string } | null;
  readonly chain: {
    readonly watermark: number | null;
    readonly highest: number;
    readonly gaps: ReadonlyArray<{ readonly from: number; readonly to: number }>;
    readonly forks: readonly Fork[];
  };
}

/** One patch on one host, in a state that asks for attention. */
export interface OpenFinding {
  readonly agent: string;
  readonly product: string;
  readonly patch: string;
  readonly state: PatchState;
  readonly changesAt: string | null;
}

/** How many hosts have one patch in one state. */
export interface PatchCount {
  readonly product: string;
  readonly patch: string;
  readonly state: PatchState;
  readonly hosts: number;
  /** The strictest level any of them reports. */
  readonly levels: readonly string[];
}

/** The last run and the last scan of one host, whole, with the number and hash of the results that say so. */
export interface HostDetail {
  readonly agent: string;
  readonly run: StoredBody<'run'> | null;
  readonly scan: StoredBody<'scan'> | null;
}

export interface StoredBody<K extends Result['kind']> {
  readonly sequence: number;
  readonly hash: string;
  readonly result: Extract<Result, { kind: K }>;
}

export interface Fleet {
  hosts(): HostRecord[];
  /** Agents with an enrolment here, whatever became of it. */
  enrolled(): string[];
  patchCounts(agents: readonly string[]): PatchCount[];
  /** Findings in any state but the quiet ones (`QUIET_STATES`), by patch and agent. */
  openFindings(): Iterable<OpenFinding>;
  detail(agent: string): HostDetail;
  close(): void;
}

/** States in which nothing is left to do and nothing is kept back. */
export const QUIET_STATES: readonly PatchState[] = ['INSTALLED', 'INSTALLED_OTHER', 'NOT_APPLICABLE'];

const STATE_OF = new Map(PATCH_STATES.map((state) => [STATE_NUMBERS[state], state]));

/** Opens the store for reading. @throws results.store-missing, results.store-foreign, results.store-newer */
export function openFleet(storeFile: string): Fleet {
  const database = openForReading(storeFile);
  const stateOf = (value: unknown): PatchState => {
    const state = STATE_OF.get(Number(value));
    if (state === undefined) throw new Error(`state ${String(value)} of the store is unknown`);
    return state;
  };
  const bodySql = database.prepare('SELECT sequence, hash, body FROM results WHERE id = ?');
  const body = <K extends Result['kind']>(id: unknown, kind: K): StoredBody<K> | null => {
    const row = typeof id === 'number' ? bodySql.get(id) : undefined;
    if (row === undefined) return null;
    const result = readBody(row['body']);
    if (result.kind !== kind) return null;
    return {
      sequence: Number(row['sequence']),
      hash: String(row['hash']),
      result: result as Extract<Result, { kind: K }>,
    };
  };
  return {
    hosts() {
      const rows = database
        .prepare(
          `SELECT agents.agent, watermark_sequence, max_sequence, gaps, forks, last_at, last_boot, evidence_at, counts,
                  non_compliant, policy, next, facts, kernels, run, alert
           FROM hosts JOIN agents ON agents.id = agent_id ORDER BY agents.agent`,
        )
        .iterate();
      return [...rows].map((row) => ({
        agent: String(row['agent']),
        lastAt: String(row['last_at']),
        lastBoot: String(row['last_boot']),
        evidenceAt: row['evidence_at'] as string | null,
        counts: fromJson(row['counts']) as HostRecord['counts'],
        nonCompliant: row['non_compliant'] as number | null,
        policy: fromJson(row['policy']) as HostRecord['policy'],
        next: fromJson(row['next']) as HostRecord['next'],
        facts: fromJson(row['facts']) as HostFacts | null,
        kernels: fromJson(row['kernels']) as HostFacts['kernels'] | null,
        run: fromJson(row['run']) as RunSummary | null,
        alert: fromJson(row['alert']) as HostRecord['alert'],
        chain: {
          watermark: row['watermark_sequence'] as number | null,
          highest: Number(row['max_sequence']),
          gaps: (fromJson(row['gaps']) ?? []) as HostRecord['chain']['gaps'],
          forks: (fromJson(row['forks']) ?? []) as readonly Fork[],
        },
      }));
    },
    enrolled: () =>
      database
        .prepare('SELECT DISTINCT agent FROM enrolments ORDER BY agent')
        .all()
        .map((row) => String(row['agent'])),
    patchCounts(agents) {
      return database
        .prepare(
          `SELECT product, patch, state, hosts, levels FROM (
             SELECT patch_id, state, count(*) AS hosts, group_concat(DISTINCT level) AS levels FROM host_patches
             WHERE agent_id IN (SELECT id FROM agents WHERE agent IN (SELECT value FROM json_each(?)))
             GROUP BY patch_id, state
           ) JOIN patches ON patches.id = patch_id ORDER BY product, patch, state`,
        )
        .all(JSON.stringify(agents))
        .map((row) => ({
          product: String(row['product']),
          patch: String(row['patch']),
          state: stateOf(row['state']),
          hosts: Number(row['hosts']),
          levels: String(row['levels']).split(',').toSorted(),
        }));
    },
    *openFindings() {
      const quiet = QUIET_STATES.map((state) => STATE_NUMBERS[state]).join(',');
      const rows = database
        .prepare(
          `SELECT agents.agent, product, patch, state, changes_at FROM host_patches
           JOIN patches ON patches.id = patch_id JOIN agents ON agents.id = agent_id
           WHERE state NOT IN (${quiet}) ORDER BY product, patch, agents.agent`,
        )
        .iterate();
      for (const row of rows) {
        yield {
          agent: String(row['agent']),
          product: String(row['product']),
          patch: String(row['patch']),
          state: stateOf(row['state']),
          changesAt: row['changes_at'] as string | null,
        };
      }
    },
    detail(agent) {
      const row = database
        .prepare('SELECT run_result, scan_result FROM hosts JOIN agents ON agents.id = agent_id WHERE agents.agent = ?')
        .get(agent);
      return { agent, run: body(row?.['run_result'], 'run'), scan: body(row?.['scan_result'], 'scan') };
    },
    close: () => database.close(),
  };
}

function fromJson(value: unknown): unknown {
  return typeof value === 'string' ? JSON.parse(value) : null;
}
