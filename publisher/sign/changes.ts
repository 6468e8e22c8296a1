// Change requests: what the policy role is asked to sign, kept until enough of its approvers have. Their approvals are the very
// signatures of the role that hosts verify, so nothing here has to be believed.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, count, document, line, list, moment, sha256, sha256Of, suggestion } from '#manifests/schema';
import { addSignature, holdingSignatures, keyIdOf, type Signer, tufKeyOf, verifyOne } from '#manifests/trust';
import type { PublisherHomePaths } from '../home.ts';
import type { TargetDocument } from './documents.ts';
import type { RoleKeys } from './keyring.ts';

const fault = defineFaults('change', {
  unknown: { exit: EXIT.usage, next: '`publisher change list` names them; the first digits are enough.' },
  damaged: {
    exit: EXIT.handsNeeded,
    next: 'Remove its folder: the next publish makes the request anew, and approvers sign again.',
  },
  'not-approver': { exit: EXIT.refused, next: 'Sign with a key of the policy role: `publisher key list` names them.' },
  rejected: { exit: EXIT.usage, next: 'Change the policy; the next publish makes another request of it.' },
  closed: { exit: EXIT.current, next: 'Nothing is left to do about it.' },
});

const CHANGE_LIMITS = { fileBytes: 16 * 1024 * 1024, documentBytes: 512 * 1024 * 1024, kept: 100, lines: 2_000 } as const;

const change = document('change', 1, {
  id: z.string().regex(/^[0-9a-f]{12}$/),
  createdAt: moment,
  /** Digest of what it was made from: authored policy, catalogs, feeds, keys and what was published. */
  inputs: sha256,
  /** Version of the policy role that it follows on, and its own. */
  base: count,
  version: count,
  /** Milliseconds. */
  expires: count,
  /** What it changes, in words. */
  says: list(line(4_000), CHANGE_LIMITS.lines),
  documents: list(
    z.strictObject({ path: line(500), role: z.enum(['policy', 'catalog']), sha256, state: z.enum(['new', 'changed', 'same']) }),
    100_000,
  ),
  rejected: z.strictObject({ at: moment, reason: line(500) }).nullable(),
  published: moment.nullable(),
});
export type Change = z.infer<typeof change>;

export const CHANGE_STATES = ['waiting', 'approved', 'rejected', 'published'] as const;

export interface ChangeStanding {
  readonly state: (typeof CHANGE_STATES)[number];
  /** Public keys of the approvers that have signed. */
  readonly signed: readonly string[];
  readonly threshold: number;
}

const folderOf = (home: PublisherHomePaths, id: string) => join(home.changesFolder, id);
const metadataFile = (home: PublisherHomePaths, id: string) => join(folderOf(home, id), 'policy.json');

/** All change requests, newest first. @throws change.damaged */
export function readChanges(home: PublisherHomePaths): Change[] {
  if (!fs.existsSync(home.changesFolder)) return [];
  return fs
    .readdirSync(home.changesFolder)
    .filter((id) => /^[0-9a-f]{12}$/.test(id) && fs.existsSync(join(folderOf(home, id), 'change.json')))
    .map((id) => readChange(home, id))
    .toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? -1 : 1));
}

function readChange(home: PublisherHomePaths, id: string): Change {
  const file = join(folderOf(home, id), 'change.json');
  const bytes = readFileBounded(file, CHANGE_LIMITS.fileBytes);
  try {
    return change.parse(JSON.parse(Buffer.from(bytes ?? []).toString('utf8')));
  } catch (cause) {
    throw fault('damaged', `${file} is damaged`, { where: file, cause });
  }
}

function writeChange(home: PublisherHomePaths, value: Change): void {
  writeFileAtomic(join(folderOf(home, value.id), 'change.json'), `${canonicalJson(value)}\n`);
}

/** The one that is named, or the newest that is not published. @throws change.unknown */
export function findChange(changes: readonly Change[], start: string): Change {
  const open = changes.filter(({ published }) => published === null);
  const found = start === '' ? open.slice(0, 1) : changes.filter(({ id }) => id.startsWith(start.toLowerCase()));
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  const says =
    start === '' ? 'no change waits' : `${found.length === 0 ? 'no change begins' : 'several changes begin'} with "${start}"`;
  throw fault(
    'unknown',
    `${says}${
      start === ''
        ? ''
        : suggestion(
            start,
            changes.map(({ id }) => id),
          )
    }`,
    { where: start },
  );
}

/** Who has signed, and what is still needed. */
export function standingOf(home: PublisherHomePaths, { id, rejected, published }: Change, keys: RoleKeys): ChangeStanding {
  const signed = published !== null ? [] : signedBy(readMetadata(home, id), keys);
  const { threshold } = keys;
  const state =
    published !== null ? 'published' : rejected !== null ? 'rejected' : signed.length >= threshold ? 'approved' : 'waiting';
  return { state, signed, threshold };
}

function readMetadata(home: PublisherHomePaths, id: string): Uint8Array {
  const file = metadataFile(home, id);
  const bytes = readFileBounded(file, CHANGE_LIMITS.fileBytes);
  if (bytes === undefined) throw fault('damaged', `${file} is not there`, { where: file });
  return bytes;
}

function signedBy(metadata: Uint8Array, { keys }: RoleKeys): string[] {
  const byId = new Map(keys.map((publicKey) => [keyIdOf(tufKeyOf(publicKey)), publicKey]));
  const checks = [...byId].map(([id, publicKey]) => {
    const key = tufKeyOf(publicKey);
    return { id, check: (message: Uint8Array, signature: string) => verifyOne(key, message, signature) };
  });
  return holdingSignatures(metadata, checks).flatMap((id) => byId.get(id) ?? []);
}

export interface ChangeDraft {
  readonly inputs: string;
  readonly base: number;
  readonly version: number;
  readonly expires: number;
  readonly says: readonly string[];
  /** Of the policy and catalog roles, as they would be published. */
  readonly documents: readonly TargetDocument[];
  /** The role's metadata, unsigned. */
  readonly metadata: Uint8Array;
  /** Milliseconds. */
  readonly now: number;
}

/** Keeps a new request in place of those that waited, which nobody can publish any more. */
export function writeNewChange(home: PublisherHomePaths, draft: ChangeDraft): Change {
  const id = sha256Of(draft.metadata).slice(0, 12);
  const before = readChanges(home);
  const value: Change = {
    schema: 'patchferry/change',
    schemaVersion: 1,
    id,
    createdAt: utcSeconds(draft.now),
    inputs: draft.inputs,
    base: draft.base,
    version: draft.version,
    expires: draft.expires,
    says: draft.says.slice(0, CHANGE_LIMITS.lines).map((says) => says.slice(0, 4_000)),
    documents: draft.documents.map(({ path, role, sha256: digest, state }) => ({
      path,
      role: role === 'catalog' ? 'catalog' : 'policy',
      sha256: digest,
      state,
    })),
    rejected: null,
    published: null,
  };
  const folder = folderOf(home, id);
  fs.mkdirSync(join(folder, 'documents'), { recursive: true });
  for (const { sha256: digest, bytes } of draft.documents) writeFileAtomic(join(folder, 'documents', digest), bytes);
  writeFileAtomic(metadataFile(home, id), draft.metadata);
  writeChange(home, value); // last: without it the folder is no request
  for (const one of before)
    if (one.id !== id && one.published === null) fs.rmSync(folderOf(home, one.id), { recursive: true, force: true });
  for (const one of before.filter(({ published }) => published !== null).slice(CHANGE_LIMITS.kept))
    fs.rmSync(folderOf(home, one.id), { recursive: true, force: true });
  return value;
}

/** Documents of a request, checked by their hashes. @throws change.damaged */
export function changeDocuments(home: PublisherHomePaths, { id, documents }: Change): TargetDocument[] {
  return documents.map(({ path, role, sha256: digest, state }) => {
    const file = join(folderOf(home, id), 'documents', digest);
    const bytes = readFileBounded(file, CHANGE_LIMITS.documentBytes);
    if (bytes === undefined || sha256Of(bytes) !== digest) throw fault('damaged', `${file} is damaged`, { where: file });
    return { path, role, bytes, sha256: digest, state };
  });
}

/** The role's metadata with the signatures it has. */
export function changeMetadata(home: PublisherHomePaths, { id }: Change): Uint8Array {
  return readMetadata(home, id);
}

/** Adds approvals. @throws change.closed, change.rejected, change.not-approver */
export async function approveChange(
  home: PublisherHomePaths,
  value: Change,
  signers: readonly Signer[],
  keys: RoleKeys,
): Promise<ChangeStanding> {
  const { id } = value;
  if (value.published !== null) throw fault('closed', `change ${id} is published`, { where: id });
  if (value.rejected !== null) throw fault('rejected', `change ${id} was rejected: ${value.rejected.reason}`, { where: id });
  let metadata = readMetadata(home, id);
  const known = new Set(keys.keys.map((key) => keyIdOf(tufKeyOf(key))));
  for (const signer of signers) {
    if (!known.has(signer.keyId))
      throw fault('not-approver', `key ${signer.keyId.slice(0, 12)}… is none of the policy role`, { where: id });
    metadata = await addSignature(metadata, signer);
  }
  writeFileAtomic(metadataFile(home, id), metadata);
  return standingOf(home, value, keys);
}

/** @throws change.closed */
export function rejectChange(home: PublisherHomePaths, value: Change, reason: string, now: number): void {
  if (value.published !== null) throw fault('closed', `change ${value.id} is published`, { where: value.id });
  writeChange(home, { ...value, rejected: { at: utcSeconds(now), reason } });
}

/** Notes that a request was published, and lets go of its documents. */
export function closeChange(home: PublisherHomePaths, value: Change, now: number): void {
  writeChange(home, { ...value, published: utcSeconds(now) });
  fs.rmSync(join(folderOf(home, value.id), 'documents'), { recursive: true, force: true });
}
