// Reading the store for policy: what owners ask for and chose, how long runs took, which patch is in which state where, and what
// each host last said it is. Never writes.
import * as fs from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import {
  encodePlain,
  type Inventory,
  type OwnerChoiceBody,
  type PatchState,
  type RunBody,
  type ScanBody,
  sha256Of,
  type WaiverRequestBody,
} from '#manifests/schema';
import { readBody, STATE_NUMBERS } from './derive.ts';
import { openForReading } from './layout.ts';
import { RESULT_LIMITS } from './limits.ts';

/** An owner's request for an exception, as it came. */
export interface WaiverRequest {
  readonly agent: string;
  readonly sequence: number;
  /** The agent's own time. */
  readonly at: string;
  readonly body: WaiverRequestBody;
}

export interface RunRecord {
  readonly agent: string;
  readonly boot: string;
  readonly body: RunBody;
}

/** State of one patch on one host by its newest scan. */
export interface HostState {
  readonly agent: string;
  readonly product: string;
  readonly patch: string;
  readonly state: PatchState;
}

export interface Knowledge {
  /** By agent and number; the newest of one request id. */
  waiverRequests(): WaiverRequest[];
  /** What each owner chose last; of one agent, when told. */
  ownerChoices(agent?: string): Map<string, OwnerChoiceBody>;
  /** The newest runs since a moment (`YYYY-MM-DDTHH:MM:SSZ`), newest first; of one agent, when told. */
  runs(since: string, agent?: string): RunRecord[];
  /** Of these patches alone, when told. */
  states(patches?: readonly string[]): Iterable<HostState>;
  /** The inventory of an agent's newest scan; of its enrolment before the first. Null when neither is here. */
  inventory(agent: string): Inventory | null;
  /** Its newest scan: when (milliseconds), and what it found; null before the first. */
  lastScan(agent: string): { readonly at: number; readonly findings: ScanBody['findings'] } | null;
  close(): void;
}

const NOTHING: Knowledge = {
  waiverRequests: () => [],
  ownerChoices: () => new Map(),
  runs: () => [],
  states: () => [],
  inventory: () => null,
  lastScan: () => null,
  close: () => undefined,
};

/** Opens the store for these questions; before the first collect there is nothing to know. @throws results.store-* */
export function openKnowledge(storeFile: string): Knowledge {
  if (!fs.existsSync(storeFile)) return NOTHING;
  const database = openForReading(storeFile);
  return {
    waiverRequests: () => waiverRequestsOf(database),
    ownerChoices: (agent) => ownerChoicesOf(database, agent),
    runs: (since, agent) => runsOf(database, since, agent),
    states: (patches) => statesOf(database, patches),
    inventory: (agent) => inventoryOf(database, agent),
    lastScan: (agent) => lastScanOf(database, agent),
    close: () => database.close(),
  };
}

function waiverRequestsOf(database: DatabaseSync): WaiverRequest[] {
  const rows = database
    .prepare(
      `SELECT agent, sequence, trusted_at, body FROM results JOIN agents ON agents.id = agent_id
       WHERE kind = 'waiver-request' ORDER BY agent, sequence LIMIT ?`,
    )
    .all(RESULT_LIMITS.requests);
  const found = new Map<string, WaiverRequest>();
  for (const row of rows) {
    const result = readBody(row['body']);
    if (result.kind !== 'waiver-request') continue;
    const request = {
      agent: String(row['agent']),
      sequence: Number(row['sequence']),
      at: String(row['trusted_at']),
      body: result.body,
    };
    found.set(`${request.agent} ${request.body.request}`, request);
  }
  return [...found.values()];
}

function ownerChoicesOf(database: DatabaseSync, agent: string | undefined): Map<string, OwnerChoiceBody> {
  const chosen = new Map<string, OwnerChoiceBody>();
  const rows = database
    .prepare(
      `SELECT agent, body FROM results JOIN agents ON agents.id = agent_id
       WHERE kind = 'owner-choice' AND (?1 IS NULL OR agent = ?1) ORDER BY agent, sequence`,
    )
    .iterate(agent ?? null);
  for (const row of rows) {
    const result = readBody(row['body']);
    if (result.kind === 'owner-choice') chosen.set(String(row['agent']), result.body);
  }
  return chosen;
}

function runsOf(database: DatabaseSync, since: string, agent: string | undefined): RunRecord[] {
  const rows = database
    .prepare(
      `SELECT agent, boot, body FROM results JOIN agents ON agents.id = agent_id
       WHERE kind = 'run' AND trusted_at >= ?1 AND (?2 IS NULL OR agent = ?2)
       ORDER BY trusted_at DESC, sequence DESC LIMIT ?3`,
    )
    .iterate(since, agent ?? null, RESULT_LIMITS.runs);
  const found: RunRecord[] = [];
  for (const row of rows) {
    const result = readBody(row['body']);
    if (result.kind === 'run') found.push({ agent: String(row['agent']), boot: String(row['boot']), body: result.body });
  }
  return found;
}

const STATE_OF = new Map<number, PatchState>(
  Object.entries(STATE_NUMBERS).map(([state, number]) => [number, state as PatchState]),
);

function* statesOf(database: DatabaseSync, patches: readonly string[] | undefined): Iterable<HostState> {
  const rows = database
    .prepare(
      `SELECT agent, product, patch, state FROM host_patches
       JOIN agents ON agents.id = agent_id JOIN patches ON patches.id = patch_id
       WHERE ?1 IS NULL OR patch IN (SELECT value FROM json_each(?1))`,
    )
    .iterate(patches === undefined ? null : JSON.stringify(patches));
  for (const row of rows) {
    const state = STATE_OF.get(Number(row['state']));
    if (state === undefined) continue;
    yield { agent: String(row['agent']), product: String(row['product']), patch: String(row['patch']), state };
  }
}

function scanOf(database: DatabaseSync, agent: string): { id: number; result: unknown } | undefined {
  const row = database
    .prepare('SELECT agents.id, scan_result FROM agents LEFT JOIN hosts ON agent_id = agents.id WHERE agent = ?')
    .get(agent);
  if (row === undefined) return undefined;
  return { id: Number(row['id']), result: row['scan_result'] };
}

function lastScanOf(database: DatabaseSync, agent: string): { at: number; findings: ScanBody['findings'] } | null {
  const scan = scanOf(database, agent);
  if (scan === undefined || typeof scan.result !== 'number') return null;
  const result = readBody(database.prepare('SELECT body FROM results WHERE id = ?').get(scan.result)?.['body']);
  return result.kind === 'scan' ? { at: Date.parse(result.trustedTime), findings: result.body.findings } : null;
}

function inventoryOf(database: DatabaseSync, agent: string): Inventory | null {
  const scan = scanOf(database, agent);
  const body = database.prepare('SELECT body FROM results WHERE id = ?');
  const enrolled = () =>
    database
      .prepare('SELECT body FROM enrolments WHERE agent = ? ORDER BY sequence DESC')
      .all(agent)
      .flatMap((row) => {
        const result = readBody(row['body']);
        return result.kind === 'enrol' ? [result.body.inventory] : [];
      });
  if (scan === undefined || typeof scan.result !== 'number') return enrolled()[0] ?? null;
  const result = readBody(body.get(scan.result)?.['body']);
  if (result.kind !== 'scan') return null;
  if (result.body.inventory !== null) return result.body.inventory;
  const { inventorySha256 } = result.body.evidence;
  const carrier = database
    .prepare('SELECT result_id FROM inventories WHERE agent_id = ? AND sha256 = ?')
    .get(scan.id, inventorySha256)?.['result_id'];
  if (typeof carrier === 'number') {
    const carried = readBody(body.get(carrier)?.['body']);
    return carried.kind === 'scan' ? carried.body.inventory : null;
  }
  return enrolled().find((inventory) => sha256Of(encodePlain('inventory', inventory)) === inventorySha256) ?? null;
}
