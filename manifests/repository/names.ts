// Names of files inside a repository, relative to its root, and the payloads that a catalog names. Pure.
import { type Catalog, type PatchPackage, relativePath, sha256 as sha256Schema } from '#manifests/schema';
import { fault } from './faults.ts';

/** `metadata/FILE`, e.g. `metadata/3.root.json`. @throws repository.name */
export function metadataPath(fileName: string): string {
  if (fileName.includes('/')) throw fault('name', `${JSON.stringify(fileName)} is no name of a metadata file`);
  return `metadata/${checkRelative(fileName)}`;
}

/**
 * Where a TUF target lies with consistent snapshots: `targets/DIR/HASH.NAME` (TUF specification 1.0.31, 6.2).
 * @throws repository.name
 */
export function targetFilePath(path: string, sha256: string): string {
  const parts = checkRelative(path).split('/');
  const base = parts.pop() ?? '';
  return ['targets', ...parts, `${checkSha256(sha256)}.${base}`].join('/');
}

/** `payloads/sha256/ab/abcd…`. @throws repository.name */
export function payloadPath(sha256: string): string {
  return `payloads/sha256/${checkSha256(sha256).slice(0, 2)}/${sha256}`;
}

const HASHED_TARGET = /^targets\/(?:[^/]+\/)*([0-9a-f]{64})\.[^/]+$/;
const PAYLOAD = /^payloads\/sha256\/([0-9a-f]{2})\/([0-9a-f]{64})$/;

/** The hash that a path carries in its name (targets, payloads), so that its content never changes; else undefined. */
export function hashInPath(path: string): string | undefined {
  const payload = PAYLOAD.exec(path);
  if (payload) return payload[2]?.startsWith(payload[1] ?? '-') === true ? payload[2] : undefined;
  return HASHED_TARGET.exec(path)?.[1];
}

/** A payload as a catalog names it; `path` is where the vendor's repository has it. */
export type PayloadRef = Pick<PatchPackage, 'sha256' | 'size' | 'path'>;

/**
 * Every payload of a catalog, each once: the vendors' index files, and the packages of all patches or of those in `only`.
 */
export function payloadsOf(catalog: Catalog, only?: ReadonlySet<string>): PayloadRef[] {
  const found = new Map<string, PayloadRef>();
  const add = ({ sha256, size, path }: PayloadRef) => {
    if (!found.has(sha256)) found.set(sha256, { sha256, size, path });
  };
  for (const repository of catalog.repositories) repository.indexes.forEach(add);
  for (const patch of catalog.patches) {
    if (only === undefined || only.has(patch.id)) patch.packages.forEach(add);
  }
  return [...found.values()];
}

/** The path again, when it is a relative path of plain names that does not climb. @throws repository.name */
export function checkRelative(path: string): string {
  if (!relativePath.safeParse(path).success) {
    throw fault('name', `${JSON.stringify(path.slice(0, 200))} is no relative path of plain names`);
  }
  return path;
}

function checkSha256(value: string): string {
  if (!sha256Schema.safeParse(value).success) throw fault('name', `${JSON.stringify(value.slice(0, 80))} is no SHA-256`);
  return value;
}
