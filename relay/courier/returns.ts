// What went out on sticks and waits to be acknowledged, and the last request: one file, written at once. An item leaves the
// spool only when the publisher says that it has the return that carried it.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { COURIER_LIMITS } from '#manifests/courier';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { agentId, count, moment, sha256 } from '#manifests/schema';
import { envelopeHash } from '#manifests/trust';
import { fault } from './faults.ts';

const item = z.strictObject({
  kind: z.enum(['results', 'enrolments', 'records']),
  agent: agentId,
  path: z.string().max(400),
  hash: sha256,
});
export type ReturnedItem = z.infer<typeof item>;

const stateSchema = z.strictObject({
  schema: z.literal('patchferry/relay-returns'),
  schemaVersion: z.literal(1),
  /** Number of the last return, and up to which the publisher has them. */
  sequence: count,
  acknowledged: count,
  open: z.array(
    z.strictObject({
      sequence: count,
      madeAt: moment,
      /** Number of the content bundle that it reports as here. */
      imported: count,
      items: z.array(item),
    }),
  ),
  request: z.strictObject({ id: z.string(), salt: z.string(), sequence: count, wants: sha256, madeAt: moment }).nullable(),
});
export type Returns = z.infer<typeof stateSchema>;

const NONE: Returns = {
  schema: 'patchferry/relay-returns',
  schemaVersion: 1,
  sequence: 0,
  acknowledged: 0,
  open: [],
  request: null,
};

const fileOf = (folder: string) => join(folder, 'returns.json');

/** @throws relay-courier.state */
export function readReturns(folder: string): Returns {
  const file = fileOf(folder);
  const bytes = readFileBounded(file, COURIER_LIMITS.smallBytes);
  if (bytes === undefined) return NONE;
  try {
    return stateSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('state', `${file} is damaged`, { where: file, cause });
  }
}

export function writeReturns(folder: string, state: Returns): void {
  const open = state.open.slice(-COURIER_LIMITS.openReturns);
  writeFileAtomic(fileOf(folder), `${JSON.stringify(stateSchema.parse({ ...state, open }))}\n`);
}

const AGENT = /^[0-9a-f]{32}$/;

/**
 * What a spool holds as files: what relays said first, then enrolments, those of one agent in order. Read beside a relay that may be running:
 * every file there is whole, and one that is forwarded this moment is passed over.
 */
export function spooled(inbox: string): ReturnedItem[] {
  const enrolments = namesIn(join(inbox, 'enrolments')).map((name) => ({
    kind: 'enrolments' as const,
    agent: name.slice(0, 32),
    path: `enrolments/${name}`,
  }));
  const results = namesIn(join(inbox, 'results'), AGENT).flatMap((agent) =>
    namesIn(join(inbox, 'results', agent)).map((name) => ({
      kind: 'results' as const,
      agent,
      path: `results/${agent}/${name}`,
    })),
  );
  const records = namesIn(join(inbox, 'records'), /^[0-9a-f]{64}\.pfr$/).map((name) => ({
    kind: 'records' as const,
    agent: name.slice(0, 32),
    path: `records/${name}`,
  }));
  return [...records, ...enrolments, ...results].flatMap((one) => {
    const bytes = AGENT.test(one.agent) ? tryRead(join(inbox, one.path)) : undefined;
    return bytes === undefined ? [] : [{ ...one, hash: envelopeHash(bytes) }];
  });
}

/** Drops from the spool what the publisher has by its own word. @param note is told their hashes first @returns how many items */
export function acknowledge(folder: string, inbox: string, note: (hashes: readonly string[]) => void, upTo: number): number {
  const state = readReturns(folder);
  const known = Math.min(upTo, state.sequence); // a number from before this state was lost binds nothing
  const told = state.open.filter(({ sequence }) => sequence <= known).flatMap(({ items }) => items);
  const here = told.filter(({ path, hash }) => {
    const bytes = tryRead(join(inbox, path));
    return bytes !== undefined && envelopeHash(bytes) === hash;
  });
  note(here.flatMap(({ kind, hash }) => (kind === 'records' ? [] : [hash])));
  for (const { path } of here) fs.rmSync(join(inbox, path), { force: true });
  if (known > state.acknowledged) {
    const open = state.open.filter(({ sequence }) => sequence > known);
    writeReturns(folder, { ...state, acknowledged: known, open });
  }
  return here.length;
}

function namesIn(folder: string, pattern: RegExp = /^[^.].*\.pfe$/): string[] {
  try {
    return fs
      .readdirSync(folder)
      .filter((name) => pattern.test(name))
      .toSorted();
  } catch {
    return []; // not made yet, or emptied and removed this moment
  }
}

function tryRead(file: string): Uint8Array | undefined {
  try {
    return fs.readFileSync(file);
  } catch {
    return undefined; // forwarded another way meanwhile
  }
}
