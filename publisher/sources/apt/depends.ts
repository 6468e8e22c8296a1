// What packages need of each other, out of the vendor's own Packages indexes: so that of a patch only what hosts need is fetched.
import * as fs from 'node:fs';
import type { PayloadStore } from '#manifests/repository';
import type { VendorRepository } from '#manifests/schema';
import { bounded, decompress } from '../compression.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';

/** Names that a package depends on (every alternative), by `NAME VERSION`. Indexes that are not here tell nothing. */
export async function readDependencies(
  repository: VendorRepository,
  payloads: PayloadStore,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for (const { path, sha256, size } of repository.format === 'apt' ? repository.indexes : []) {
    const kind = /\/Packages(?:\.(xz|gz))?$/.exec(path);
    if (kind === null || !payloads.has(sha256, size)) continue;
    const plain = decompress(
      fs.createReadStream(payloads.pathOf(sha256)),
      kind[1] === 'xz' ? 'xz' : kind[1] === 'gz' ? 'gz' : 'none',
    );
    const tooMuch = () =>
      fault('too-large', `${path} unpacks to more than ${SOURCE_LIMITS.indexPlainBytes} bytes`, { where: path });
    let name = '';
    let version = '';
    let needs: string[] = [];
    for await (const text of linesOf(bounded(plain, SOURCE_LIMITS.indexPlainBytes, tooMuch))) {
      if (text === '') {
        if (name !== '') found.set(`${name} ${version}`, needs);
        name = '';
        needs = [];
      } else if (text.startsWith('Package: ')) name = text.slice(9);
      else if (text.startsWith('Version: ')) version = text.slice(9);
      else if (text.startsWith('Depends: ') || text.startsWith('Pre-Depends: ')) needs = [...needs, ...namesIn(text)];
    }
    if (name !== '') found.set(`${name} ${version}`, needs);
  }
  return found;
}

/** `Depends: a (>= 1), b | c:any` -> a, b, c (Debian policy 7.1). */
function namesIn(field: string): string[] {
  return field
    .slice(field.indexOf(':') + 1)
    .split(/[,|]/)
    .map((part) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(part)?.[1] ?? '')
    .filter((name) => name !== '');
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > SOURCE_LIMITS.stanzaChars) throw fault('too-large', 'a line of a Packages index is too long');
    yield* parts;
  }
  if (rest !== '') yield rest;
}
