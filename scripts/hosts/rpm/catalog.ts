// A repository of the vendor as a signed catalog would name it: index files and packages by their hashes, in one payload folder.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type Catalog, sha256Of } from '#manifests/schema';
import { evrOf, fileNameOf, type PackageSpec } from './vendor.ts';

const MOMENT = '2026-10-10T00:00:00Z';

/** Copies the repository's files into `payloads` (named by hash), and gives the catalog: a patch for each package. */
export function ferryCatalog(repository: string, specs: readonly PackageSpec[], payloads: string): Catalog {
  fs.mkdirSync(payloads, { recursive: true });
  const take = (path: string) => {
    const bytes = fs.readFileSync(join(repository, path));
    const sha256 = sha256Of(bytes);
    fs.writeFileSync(join(payloads, sha256), bytes);
    return { sha256, size: bytes.length, path };
  };
  const indexes = fs.readdirSync(join(repository, 'repodata')).map((name) => take(`repodata/${name}`));
  return {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product: 'ferrylinux-9',
    generatedAt: MOMENT,
    repositories: [
      { name: 'ferry-9', format: 'rpm', suite: '', components: [], architectures: ['x86_64'], indexes, syncedAt: MOMENT },
    ],
    patches: specs.map((spec) => {
      const version = evrOf(spec);
      const file = take(`Packages/${fileNameOf(spec)}`);
      return {
        id: `${spec.name}@${version}`,
        format: 'rpm' as const,
        source: spec.name,
        version,
        title: spec.name,
        classification: 'security' as const,
        severity: 'high' as const,
        section: '',
        priority: '',
        repository: 'ferry-9',
        cves: [],
        advisories: [],
        firstSeen: MOMENT,
        released: MOMENT,
        updated: null,
        packages: [{ name: spec.name, version, arch: spec.arch ?? 'x86_64', ...file }],
      };
    }),
  };
}
