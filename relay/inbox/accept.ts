// Taking envelopes in: bounded, parsed, the agent looked up, its signature checked, durably on disk, and only then answered.
import { isFault, PatchferryError } from '#manifests/errors';
import type { Log } from '#manifests/platform/log';
import type { Roster, RosterAgent } from '#manifests/schema';
import { type EnvelopeHeader, envelopeHash, inspectEnvelope, verifyEnvelopeBeside } from '#manifests/trust';
import { BATCH_LIMITS, type BatchItem, decodeBatch } from './batch.ts';
import type { Ledger } from './ledger.ts';
import { ALONE, FOR_GOOD, fault, INBOX_LIMITS } from './limits.ts';
import type { Room } from './room.ts';
import type { Spool } from './spool.ts';

export interface Taken {
  /** 201 new and on disk, 200 known already, 4xx refused for good, 5xx try again. */
  readonly status: number;
  readonly body: object;
}

export interface Inbox {
  result(bytes: Uint8Array): Promise<Taken>;
  enrolment(bytes: Uint8Array): Promise<Taken>;
  /**
   * Many in one: each as by itself. Of one agent they are taken in order, and after one that must come again, so must those
   * behind it. @param onEach is told what became of each envelope
   */
  batch(batch: Uint8Array, onEach?: (item: BatchItem, status: number) => void): Promise<Taken>;
}

/** The roster as last verified; undefined before the first sync. */
export type RosterSource = () => Roster | undefined;

const STATUS: Readonly<Record<string, number>> = {
  'inbox.malformed': 400,
  'inbox.kind': 400,
  'inbox.unknown-agent': 403,
  'inbox.revoked-agent': 403,
  'inbox.signature': 403,
  'inbox.no-roster': 503,
  'inbox.full': 507,
  'inbox.dropped': 507,
  'inbox.too-many': 429,
};

/** @param onKept is told after each new item, so that it can be forwarded soon @param room without it, as much is taken as the disk has */
export function openInbox(
  spool: Spool,
  ledger: Ledger,
  roster: RosterSource,
  log: Log,
  onKept: () => void = () => undefined,
  room?: Room,
): Inbox {
  const agents = lookup(roster);

  /** Anyone can make keys and enrol, so what waits is bounded. What is here already is a duplicate and no more of it. */
  function boundEnrolments(agent: string, hash: string): void {
    const here = spool.items('enrolments');
    const ofOne = here.filter((item) => item.agent === agent);
    if (ofOne.some(({ path }) => path.includes(hash.slice(0, 16)))) return;
    if (here.length >= INBOX_LIMITS.enrolments) throw fault('too-many', `${here.length} enrolments wait already`);
    if (ofOne.length >= INBOX_LIMITS.enrolmentsOfOne)
      throw fault('too-many', `${ofOne.length} enrolments of ${agent} wait already`);
  }

  async function take(
    kind: 'results' | 'enrolments',
    bytes: Uint8Array,
    check: (bytes: Uint8Array) => Promise<EnvelopeHeader>,
  ): Promise<Taken> {
    try {
      const hash = envelopeHash(bytes);
      const duplicate = { status: 200, body: { state: 'duplicate', hash } };
      const { agent, sequence, detail } = await check(bytes);
      if (ledger.has(hash)) return duplicate;
      if (kind === 'enrolments') boundEnrolments(agent, hash);
      let kept: 'new' | 'duplicate';
      try {
        const known = () => spool.holds(kind, agent, sequence, hash, bytes);
        const lacking = room?.take({ agent, sequence, bytes: bytes.length, detail: detail && kind === 'results', known });
        if (lacking !== undefined) throw fault(lacking.code, `the envelope could not be written: ${lacking.says}`);
        kept = await spool.keep(kind, agent, sequence, hash, bytes);
      } catch (cause) {
        if (isFault(cause, 'inbox.full', 'inbox.dropped')) throw cause;
        throw fault('full', `the envelope could not be written: ${(cause as Error).message}`, { cause });
      }
      const runs = kind === 'results' ? (room?.again(agent) ?? []) : [];
      const again = runs.length === 0 ? {} : { again: runs };
      if (kept === 'duplicate') return { ...duplicate, body: { ...duplicate.body, ...again } };
      onKept();
      return { status: 201, body: { state: 'kept', hash, ...again } };
    } catch (error) {
      if (!(error instanceof PatchferryError)) throw error;
      const status = STATUS[error.code] ?? 400;
      log.warn({ code: error.code, reason: error.message, kind, bytes: bytes.length }, 'refused an envelope');
      return { status, body: { code: error.code, message: error.message, next: error.next } };
    }
  }

  const taking = {
    results: (bytes: Uint8Array) => take('results', bytes, (each) => checkResult(each, agents)),
    enrolments: (bytes: Uint8Array) => take('enrolments', bytes, checkedEnrolment),
  };

  async function batch(packed: Uint8Array, onEach?: (item: BatchItem, status: number) => void): Promise<Taken> {
    let items: BatchItem[];
    try {
      items = decodeBatch(packed);
    } catch (error) {
      if (!isFault(error, 'inbox.malformed')) throw error;
      return { status: 400, body: { code: error.code, message: error.message, next: error.next } };
    }
    const told: { status: number; code?: string; says?: string }[] = items.map(() => ({ status: 0 }));
    const lanes = Map.groupBy(items.entries(), ([, { bytes }]) => agentIn(bytes));
    await Promise.all(
      [...lanes.values()].map(async (lane) => {
        for (const [index, item] of lane) {
          const { status, body } = await taking[item.kind](item.bytes);
          onEach?.(item, status);
          const { code, message } = body as { code?: string; message?: string };
          told[index] =
            code === undefined ? { status } : { status, code, says: (message ?? '').slice(0, BATCH_LIMITS.saysBytes) };
          if (status >= 300 && code !== ALONE && !FOR_GOOD.includes(code ?? '')) break; // status 0: not looked at
        }
      }),
    );
    return { status: 200, body: { state: 'batch', items: told } };
  }

  return { result: taking.results, enrolment: taking.enrolments, batch };
}

/**
 * A result as it must be to be taken in: bounded parse, an agent that the roster has and that was not revoked, the outer signature
 * by its key. @throws inbox.malformed, inbox.kind, inbox.unknown-agent, inbox.revoked-agent, inbox.signature
 */
export async function checkResult(
  bytes: Uint8Array,
  agentOf: (id: string) => RosterAgent | undefined,
): Promise<EnvelopeHeader> {
  const header = parsed(bytes, 'result');
  const agent = agentOf(header.agent);
  if (agent === undefined) throw fault('unknown-agent', `agent ${header.agent} is not in the roster`);
  if (agent.status === 'revoked') throw fault('revoked-agent', `agent ${header.agent} was revoked`);
  return signed(bytes, agent.signKey);
}

/** The agent an envelope says it is from; what is no envelope is alone. */
function agentIn(bytes: Uint8Array): string {
  try {
    return inspectEnvelope(bytes).agent;
  } catch {
    return '';
  }
}

/** Agents by id, built anew when the roster is another one. */
function lookup(roster: RosterSource): (id: string) => RosterAgent | undefined {
  let from: Roster | undefined;
  let byId = new Map<string, RosterAgent>();
  return (id) => {
    const now = roster();
    if (now === undefined) throw fault('no-roster', 'this relay has no roster yet');
    if (now !== from) {
      from = now;
      byId = new Map(now.agents.map((agent) => [agent.id, agent]));
    }
    return byId.get(id);
  };
}

/** An enrolment vouches for itself: its agent's id is the hash of the key it is signed with. */
async function checkedEnrolment(bytes: Uint8Array): Promise<EnvelopeHeader> {
  parsed(bytes, 'enrolment');
  return signed(bytes, undefined);
}

function parsed(bytes: Uint8Array, kind: 'result' | 'enrolment'): EnvelopeHeader {
  let header: EnvelopeHeader;
  try {
    header = inspectEnvelope(bytes);
  } catch (cause) {
    throw fault('malformed', `not an envelope: ${(cause as Error).message}`, { cause });
  }
  // A waiver request is a result that says of itself what it is.
  const among = header.kind === 'waiver-request' ? 'result' : header.kind;
  if (among !== kind) throw fault('kind', `this is a ${header.kind}, not a ${kind}`);
  if (!/^[0-9a-f]{32}$/.test(header.agent) || !Number.isSafeInteger(header.sequence) || header.sequence < 0) {
    throw fault('malformed', 'the header of the envelope names no agent and sequence');
  }
  return header;
}

async function signed(bytes: Uint8Array, signKey: string | undefined): Promise<EnvelopeHeader> {
  try {
    return await verifyEnvelopeBeside(bytes, signKey);
  } catch (cause) {
    if (!isFault(cause)) throw cause;
    throw fault('signature', `the envelope's signature does not hold: ${cause.message}`, { cause });
  }
}
