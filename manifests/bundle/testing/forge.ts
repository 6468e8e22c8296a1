// For attacks: what a thief of a signing key could put on a stick, made by changing a good bundle and signing it again.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { run } from '#manifests/platform/process';
import { canonicalJson } from '#manifests/schema';
import type { Signer } from '#manifests/trust';
import type { Container, IndexV2 } from '../format.ts';
import { LIST_FILE } from '../format.ts';
import { sevenZipProgram } from '../seven.ts';
import { signedBytes } from '../signed.ts';
import { tarHeader, tarPadding } from '../tar.ts';
import { sha256 } from './stage.ts';

/** The signed part of an index file, unchecked. */
export function bodyOf(indexPath: string): IndexV2 {
  return (JSON.parse(fs.readFileSync(indexPath, 'utf8')) as { body: IndexV2 }).body;
}

export async function signAgain(indexPath: string, signer: Signer, change: (body: IndexV2) => unknown): Promise<void> {
  fs.writeFileSync(indexPath, await signedBytes('index', change(structuredClone(bodyOf(indexPath))), signer));
}

/** Puts other bytes in place of the (single) container file and signs their hash. */
export async function swapContainer(indexPath: string, signer: Signer, bytes: Buffer): Promise<void> {
  const body = bodyOf(indexPath);
  const container = body.container as Container;
  const name = container.files[0]?.name ?? '';
  fs.writeFileSync(join(dirname(indexPath), name), bytes);
  const files = [{ name, size: bytes.length, sha256: sha256(bytes) }];
  await signAgain(indexPath, signer, (signed) => ({ ...signed, container: { ...container, files } }));
}

/** Signs a list of entries with any paths whatever; contents stay as they are. */
export async function swapPaths(indexPath: string, signer: Signer, paths: readonly string[]): Promise<void> {
  const body = bodyOf(indexPath);
  const folder = indexPath.replace(/\.json$/, '');
  const entries = paths.map((path, at) => ({
    path,
    size: at === 0 ? body.streamBytes : 0,
    sha256: '0'.repeat(64),
  }));
  const list = zstdCompressSync(canonicalJson({ schema: 'patchferry/bundle-list', schemaVersion: 1, entries }));
  fs.writeFileSync(join(folder, LIST_FILE), list);
  const named = { sha256: sha256(list), size: list.length };
  await signAgain(indexPath, signer, (signed) => ({ ...signed, list: named, entryCount: entries.length }));
}

export interface TarPiece {
  readonly name: string;
  readonly bytes: Buffer;
  /** Changes the header before its checksum is set. */
  readonly header?: (block: Buffer) => void;
}

/** A tar archive of any pieces, checksums right. */
export function tarOf(pieces: readonly TarPiece[]): Buffer {
  const blocks = pieces.flatMap(({ name, bytes, header }) => {
    const block = tarHeader('x', bytes.length);
    block.fill(0, 0, 100);
    block.write(name, 0, 100, 'utf8');
    header?.(block);
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
    return [block, bytes, Buffer.alloc(tarPadding(bytes.length))];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** The members of a tar file in our own form. */
export function membersOf(archive: Buffer, container: Container): TarPiece[] {
  let at = 0;
  return container.members.map(({ name, size }) => {
    const bytes = archive.subarray(at + 512, at + 512 + size);
    at += 512 + size + tarPadding(size);
    return { name, bytes };
  });
}

/** Runs the real 7-Zip in a folder. */
export async function seven(cwd: string, ...args: string[]): Promise<void> {
  const result = await run(sevenZipProgram(), args, { timeoutMs: 120_000, cwd });
  if (result.code !== 0) throw new Error(`7-Zip ${args.join(' ')}: ${result.stdout}${result.stderr}`);
}
