import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { openPayloadStore } from '#manifests/repository';
import { type Catalog, type Patch, sha256Of } from '#manifests/schema';
import { lackingPackages, onlyLacking } from './wanted.ts';

const INDEX = `Package: linux-image-amd64
Version: 6.1.192+2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192+2)

Package: linux-image-6.1.0-56-amd64
Version: 6.1.192+2
Pre-Depends: debconf | debconf-2.0
Depends: kmod, linux-base (>= 4.3~), libssl3

Package: linux-image-rt-amd64
Version: 6.1.192+2
Depends: linux-image-6.1.0-56-rt-amd64 (= 6.1.192+2)

Package: libssl3
Version: 3.0.15
Depends: libc6 (>= 2.34)
`;

function patchOf(id: string, names: readonly string[]): Patch {
  const version = id.split('@')[1] ?? '';
  return {
    id,
    format: 'deb',
    source: id.split('@')[0] ?? '',
    version,
    title: id,
    classification: 'security',
    severity: 'unspecified',
    section: '',
    priority: '',
    repository: 'debian',
    cves: [],
    advisories: [],
    firstSeen: '2026-03-01T12:00:00Z',
    released: null,
    updated: null,
    packages: names.map((name) => ({
      name,
      version,
      arch: 'amd64',
      sha256: sha256Of(name),
      size: 1,
      path: `pool/${name}.deb`,
    })),
  };
}

test('of a patch only what hosts have, and what that needs inside the patch, is wanted', async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-wanted-'));
  try {
    const payloads = openPayloadStore(folder);
    const index = gzipSync(INDEX);
    const sha256 = sha256Of(index);
    await payloads.put(
      sha256,
      index.length,
      (async function* () {
        yield await Promise.resolve(index);
      })(),
    );
    const kernel = patchOf('linux-signed-amd64@6.1.192+2', [
      'linux-image-amd64',
      'linux-image-6.1.0-56-amd64',
      'linux-image-rt-amd64',
      'linux-image-6.1.0-56-rt-amd64',
    ]);
    const openssl = patchOf('openssl@3.0.15', ['libssl3', 'libssl-dev', 'openssl']);
    const catalog: Catalog = {
      schema: 'patchferry/catalog',
      schemaVersion: 1,
      product: 'debian-12',
      generatedAt: '2026-03-01T12:00:00Z',
      repositories: [
        {
          name: 'debian',
          format: 'apt',
          suite: 'bookworm-security',
          components: ['main'],
          architectures: ['amd64'],
          indexes: [{ path: 'dists/bookworm-security/main/binary-amd64/Packages.gz', sha256, size: index.length }],
          syncedAt: '2026-03-01T12:00:00Z',
        },
      ],
      patches: [kernel, openssl],
    };
    const lacking = new Map([['debian-12 linux-signed-amd64@6.1.192+2', new Set(['linux-image-amd64'])]]);
    const wanted = await onlyLacking(catalog, catalog.patches, lacking, payloads);
    assert.deepEqual(
      wanted.map(({ id, packages }) => [id, packages.map(({ name }) => name)]),
      [['linux-signed-amd64@6.1.192+2', ['linux-image-amd64', 'linux-image-6.1.0-56-amd64']]],
    );
    const other = await onlyLacking({ ...catalog, product: 'debian-13' }, catalog.patches, lacking, payloads);
    assert.deepEqual(other, [], 'of another product nothing is lacking');
    assert.equal(lackingPackages(join(folder, 'no-store.sqlite')).size, 0);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
