// The result store: append-only results with their envelopes, written in batches, and the tables derived from them.
import type { DatabaseSync } from 'node:sqlite';
import { zstdCompressSync } from 'node:zlib';
import { type Ack, type Result, sha256Of } from '#manifests/schema';
import { openDerivation, rebuildDerived, type Stored } from './derive.ts';
import { openDatabase, openForReading } from './layout.ts';
import { RESULT_LIMITS } from './limits.ts';

/** A result whose signature, seal and schema were checked. */
export interface Arrival {
  /** SHA-256 of the whole envelope. */
  readonly hash: string;
  /** The envelope as it came: the signed original. */
  readonly bytes: Uint8Array;
  /** Its opened body, plain. */
  readonly plain: Uint8Array;
  readonly result: Result;
}

export interface EnrolmentArrival extends Arrival {
  readonly activation: string;
}

export interface Store {
  hasResult(agent: string, sequence: number, hash: string): boolean;
  hasEnrolment(hash: string): boolean;
  /** Runs `work` in one durable transaction: all of it is on disk when this returns, or nothing of it is there. */
  transaction<T>(work: () => T): T;
  /** Adds results; those that are here already are left as they are. Call inside `transaction`. */
  addResults(arrivals: readonly Arrival[], receivedAt: string): { stored: number; duplicates: number };
  /** Remembers an enrolment; false when it is here already. Call inside `transaction`. */
  addEnrolment(arrival: EnrolmentArrival, receivedAt: string): boolean;
  /** Chains with something to say, by agent. */
  oddChains(): OddChain[];
  /** Makes the derived tables anew from the results. */
  rebuild(): void;
  close(): void;
}

/** An agent whose results have a gap or a fork, with what an ack covers all the same. */
export interface OddChain {
  readonly agent: string;
  readonly watermark: number | null;
  readonly highest: number;
  readonly gaps: ReadonlyArray<{ readonly from: number; readonly to: number }>;
  readonly forks: ReadonlyArray<{
    readonly sequence: number;
    readonly kind: 'clone' | 'reverted';
    readonly hashes: readonly string[];
  }>;
}

/** Opens the store at `file`, which is made when it is not there. @throws results.store-foreign, results.store-newer */
export function openStore(file: string): Store {
  const database = openDatabase(file);
  const derivation = openDerivation(database);
  const sql = {
    addResult: database.prepare(
      `INSERT INTO results (agent_id, sequence, hash, previous, content_sha256, kind, boot, trusted_at, received_at, body)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent_id, sequence, hash) DO NOTHING`,
    ),
    addEnvelope: database.prepare('INSERT INTO envelopes (result_id, bytes) VALUES (?, ?)'),
    addInventory: database.prepare(
      'INSERT INTO inventories (agent_id, sha256, result_id) VALUES (?, ?, ?) ON CONFLICT (agent_id, sha256) DO NOTHING',
    ),
    hasResult: database.prepare(
      'SELECT 1 FROM results JOIN agents ON agents.id = agent_id WHERE agent = ? AND sequence = ? AND hash = ?',
    ),
    hasEnrolment: database.prepare('SELECT 1 FROM enrolments WHERE hash = ?'),
    agentId: database.prepare('SELECT id FROM agents WHERE agent = ?'),
    addEnrolment: database.prepare(
      `INSERT INTO enrolments (agent, hash, sequence, activation, received_at, body, bytes)
       VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING`,
    ),
  };

  return {
    hasResult: (agent, sequence, hash) => sql.hasResult.get(agent, sequence, hash) !== undefined,
    hasEnrolment: (hash) => sql.hasEnrolment.get(hash) !== undefined,
    transaction(work) {
      database.exec('BEGIN IMMEDIATE');
      try {
        const value = work();
        database.exec('COMMIT');
        return value;
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK');
        derivation.forgetCaches();
        throw error;
      }
    },
    addResults(arrivals, receivedAt) {
      let stored = 0;
      const byAgent = Map.groupBy(arrivals, ({ result }) => result.agent);
      for (const [agent, group] of byAgent) {
        const state = derivation.agentState(agent);
        const fresh: Stored[] = [];
        for (const { hash, bytes, plain, result } of group.toSorted((a, b) => a.result.sequence - b.result.sequence)) {
          const { changes, lastInsertRowid } = sql.addResult.run(
            state.id,
            result.sequence,
            hash,
            result.previous,
            contentSha256(plain, result.previous),
            result.kind,
            result.boot,
            result.trustedTime,
            receivedAt,
            packed(plain),
          );
          if (Number(changes) === 0) continue;
          const id = Number(lastInsertRowid);
          sql.addEnvelope.run(id, bytes);
          if (result.kind === 'scan' && result.body.inventory !== null) {
            sql.addInventory.run(state.id, result.body.evidence.inventorySha256, id);
          }
          fresh.push({ id, hash, receivedAt, result });
        }
        if (fresh.length > 0) derivation.apply(agent, state, fresh);
        stored += fresh.length;
      }
      return { stored, duplicates: arrivals.length - stored };
    },
    addEnrolment({ hash, bytes, plain, result, activation }, receivedAt) {
      const { changes } = sql.addEnrolment.run(
        result.agent,
        hash,
        result.sequence,
        activation,
        receivedAt,
        packed(plain),
        bytes,
      );
      if (Number(changes) === 0) return false;
      // A chain may start from this enrolment, and its inventory may be the one that a scan refers to.
      const id = sql.agentId.get(result.agent)?.['id'];
      if (typeof id === 'number') derivation.judge(result.agent, id);
      return true;
    },
    oddChains: () => readOddChains(database),
    rebuild() {
      this.transaction(() => rebuildDerived(database));
      derivation.forgetCaches();
    },
    close() {
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      database.close();
    },
  };
}

/** Up to where the results of each agent are in the store without a gap: what is published as acks. Sorted by agent. */
export function readAcks(storeFile: string): Ack[] {
  const database = openForReading(storeFile);
  try {
    return database
      .prepare(
        `SELECT agent, watermark_sequence AS sequence, watermark_hash AS hash FROM agents
         WHERE watermark_sequence IS NOT NULL ORDER BY agent`,
      )
      .all()
      .map((row) => ({ agent: String(row['agent']), sequence: Number(row['sequence']), hash: String(row['hash']) }));
  } finally {
    database.close();
  }
}

/** Every agent of the store whose chain has a gap or a fork. */
export function readOddChains(database: DatabaseSync): OddChain[] {
  return database
    .prepare('SELECT agent, watermark_sequence, max_sequence, gaps, forks FROM agents WHERE odd = 1 ORDER BY agent')
    .all()
    .map((row) => ({
      agent: String(row['agent']),
      watermark: typeof row['watermark_sequence'] === 'number' ? row['watermark_sequence'] : null,
      highest: Number(row['max_sequence']),
      gaps: JSON.parse(String(row['gaps'])) as OddChain['gaps'],
      forks: JSON.parse(String(row['forks'])) as OddChain['forks'],
    }));
}

/** Digest of a body but for the link to the one before it: the same result sealed anew behind another one keeps it. */
function contentSha256(plain: Uint8Array, previous: string | null): string {
  if (previous === null) return sha256Of(plain);
  // Canonical JSON, and inside strings quotes are escaped: this is the field and nothing else.
  return sha256Of(Buffer.from(plain).toString('utf8').replace(`"previous":"${previous}"`, '"previous":null'));
}

function packed(plain: Uint8Array): Uint8Array {
  return plain.length > RESULT_LIMITS.plainBodyBytes ? zstdCompressSync(plain) : plain;
}
