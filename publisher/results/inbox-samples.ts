// Real agents with real keys for the tests of collecting: they seal their results into an inbox folder. Not used by the product.
import { createHmac } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { silentLog } from '#manifests/platform/log';
import { encodePlain, type Result, type Roster } from '#manifests/schema';
import { agentIdOf, type BoxKeyPair, envelopeHash, generateBoxKey, generateSigningKey, sealEnvelope } from '#manifests/trust';
import type { CollectOptions } from './collect.ts';
import { DAY_MS, NOW, rosterOf, sampleInventory, source } from './samples.ts';

export const CODE = { id: 'code-1', secret: Buffer.alloc(32, 7) };

export interface SampleAgent {
  readonly id: string;
  readonly sign: ReturnType<typeof generateSigningKey>;
  readonly box: BoxKeyPair;
}

export const newAgent = (): SampleAgent => {
  const sign = generateSigningKey();
  return { id: agentIdOf(sign.publicKey), sign, box: generateBoxKey() };
};

export interface Sealed {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly hash: string;
}

/** Seals one result; `over` forges the header. */
export function sealResult(
  agent: SampleAgent,
  result: Result,
  recipient: string,
  over: { agent?: string; sequence?: number } = {},
): Sealed {
  const bytes = sealEnvelope({
    body: encodePlain('result', result),
    kind: 'result',
    agent: over.agent ?? agent.id,
    sequence: over.sequence ?? result.sequence,
    signKey: agent.sign,
    recipients: [recipient],
  });
  const hash = envelopeHash(bytes);
  return { name: `results/${agent.id}/${String(result.sequence).padStart(12, '0')}-${hash.slice(0, 16)}.pfe`, bytes, hash };
}

/** A chain of sealed results, each naming the one before. */
export function sealChain(
  agent: SampleAgent,
  recipient: string,
  makers: ReadonlyArray<(from: ReturnType<typeof source>) => Result>,
  start: { sequence: number; previous: string | null; at?: number } = { sequence: 1, previous: null },
): Sealed[] {
  const sealed: Sealed[] = [];
  let previous = start.previous;
  for (const [index, make] of makers.entries()) {
    const at = (start.at ?? NOW - DAY_MS) + index * 60_000;
    const item = sealResult(agent, make(source(agent.id, start.sequence + index, previous, at)), recipient);
    sealed.push(item);
    previous = item.hash;
  }
  return sealed;
}

/** An enrolment as an agent makes it; `over` forges its body. */
export function sealEnrolment(
  agent: SampleAgent,
  recipient: string,
  over: { secret?: Uint8Array; activationId?: string; boxKey?: string; at?: number } = {},
): Sealed {
  const boxKey = over.boxKey ?? agent.box.publicKey;
  const proof = createHmac('sha256', over.secret ?? CODE.secret).update(
    `patchferry-enrol-1\n${agent.sign.publicKey}\n${boxKey}`,
  );
  const result: Result = {
    schema: 'patchferry/result',
    schemaVersion: 1,
    ...source(agent.id, 0, null, over.at ?? NOW - DAY_MS),
    kind: 'enrol',
    body: {
      title: 'new host',
      signKey: agent.sign.publicKey,
      boxKey,
      activationId: over.activationId ?? CODE.id,
      activationProof: proof.digest('hex'),
      inventory: sampleInventory({ hostname: 'new-host' }),
    },
  };
  const bytes = sealEnvelope({
    body: encodePlain('result', result),
    kind: 'enrolment',
    agent: agent.id,
    sequence: 0,
    signKey: agent.sign,
    recipients: [recipient],
  });
  const hash = envelopeHash(bytes);
  return { name: `enrolments/${agent.id}-${hash.slice(0, 16)}.pfe`, bytes, hash };
}

/** Lays envelopes into an inbox. */
export function deliver(inbox: string, sealed: readonly Sealed[]): void {
  fs.mkdirSync(inbox, { recursive: true });
  for (const { name, bytes } of sealed) {
    fs.mkdirSync(dirname(join(inbox, name)), { recursive: true });
    fs.writeFileSync(join(inbox, name), bytes);
  }
}

export const rosterFor = (
  agents: ReadonlyArray<{ agent: SampleAgent; status?: 'approved' | 'revoked' }>,
  recipient: string,
): Roster =>
  rosterOf(
    agents.map(({ agent, status }) => ({
      id: agent.id,
      title: agent.id.slice(0, 8),
      signKey: agent.sign.publicKey,
      boxKey: agent.box.publicKey,
      ...(status && { status }),
    })),
    recipient,
  );

/** Options of `collect` over one folder. */
export function optionsFor(
  folder: string,
  roster: Roster,
  recipient: BoxKeyPair,
  over: Partial<CollectOptions> = {},
): CollectOptions {
  return {
    inboxFolder: join(folder, 'inbox'),
    storeFile: join(folder, 'store.sqlite'),
    pendingFolder: join(folder, 'pending'),
    roster,
    recipient,
    activationSecrets: (id) => (id === CODE.id ? CODE.secret : undefined),
    clock: { now: () => NOW, monotonic: () => 0 },
    log: silentLog,
    ...over,
  };
}
