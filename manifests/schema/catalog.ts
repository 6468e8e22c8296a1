// The catalog: all patches of one product as the publisher knows them, with the vendor's own signed index files beside them.
import { z } from 'zod';
import { contentRef, count, document, line, list, moment, name, relativePath, sha256 } from './common.ts';

export const CLASSIFICATIONS = ['security', 'bugfix', 'enhancement', 'other'] as const;
export const SEVERITIES = ['critical', 'high', 'medium', 'low', 'informational', 'unspecified'] as const;
export const PATCH_FORMATS = ['deb', 'rpm', 'archive', 'msi', 'exe', 'msu', 'pkg'] as const;

export const cveId = z.string().regex(/^CVE-\d{4}-\d{4,19}$/);

/** A product: `debian-12`, `own-tool`. */
export const product = name;

/** `SOURCE@VERSION`: unique inside a product. */
export const patchId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9.+_-]*@[A-Za-z0-9.+~:^_-]+$/)
  .max(300);

/** A stream of a module of RPM distributions, as dnf takes it on its command line: `nodejs:18`. */
export const moduleStream = z
  .string()
  .max(200)
  .regex(/^[A-Za-z0-9][A-Za-z0-9.+_-]*:[A-Za-z0-9._+-]+$/);

/** One package of a patch: what has to be on the host, at least in this version, for the patch to be installed. */
export const patchPackage = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9.+_-]*$/)
    .max(200),
  version: z
    .string()
    .regex(/^[A-Za-z0-9.+~:^_-]+$/)
    .max(200),
  /** Architecture as the package system writes it; `all` (deb), `noarch` (rpm) fit every host. */
  arch: z
    .string()
    .regex(/^[a-z0-9_-]+$/)
    .max(40),
  /** The payload. */
  sha256,
  size: count,
  /** Where the vendor's repository has it, relative to the repository's root. */
  path: relativePath,
  /** rpm: streams of modules that it belongs to. It is for hosts on which one of them is enabled, and for no others. */
  modules: list(moduleStream, 100).optional(),
});
export type PatchPackage = z.infer<typeof patchPackage>;

/** How own software is put in place on a host; what is left out is not done. */
export const placement = z.strictObject({
  /** Units of systemd that are stopped before a version is switched and started after it. */
  services: list(
    line(255).regex(/^[A-Za-z0-9@_][A-Za-z0-9@_.:-]*\.(?:service|socket|timer)$/, { error: 'must name a unit' }),
    20,
  ).optional(),
  /** `user` or `user:group` of everything in it; both have to be on the host. */
  owner: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}(?::[a-z_][a-z0-9_-]{0,31})?$/, { error: 'must be user or user:group' })
    .optional(),
  /** Modes of files by path, `*` for part of a name; the last that fits counts. Never set-uid, set-gid or sticky. */
  modes: list(
    z.strictObject({
      path: z
        .string()
        .max(500)
        .regex(/^[A-Za-z0-9_+@=,~.*-]+(?:\/[A-Za-z0-9_+@=,~.*-]+)*$/, { error: 'must be a relative path' }),
      mode: z.string().regex(/^0[0-7]{3}$/, { error: 'must be a mode, quoted: "0640"' }),
    }),
    200,
  ).optional(),
  /** Installers (msi, exe): arguments besides the usual ones, each by itself, never a shell line. */
  arguments: list(line(500), 50).optional(),
});
export type Placement = z.infer<typeof placement>;

export const patch = z.strictObject({
  id: patchId,
  format: z.enum(PATCH_FORMATS),
  /** Source package (deb, rpm) or component (archive). */
  source: z.string().max(200),
  version: z.string().max(200),
  title: line(300),
  classification: z.enum(CLASSIFICATIONS),
  severity: z.enum(SEVERITIES),
  section: line(100),
  priority: line(40),
  /** Name of the entry of `repositories` that brought it. */
  repository: name,
  cves: list(cveId, 10_000),
  advisories: list(line(80), 100),
  /** When this publisher first saw it; delays count from here. */
  firstSeen: moment,
  /** The vendor's dates, where there are any. */
  released: moment.nullable(),
  updated: moment.nullable(),
  /** The vendor says that it takes effect with a reboot (`reboot_suggested` of an RPM advisory). */
  rebootSuggested: z.boolean().optional(),
  packages: list(patchPackage, 10_000),
  /** Own software only. */
  placement: placement.optional(),
});
export type Patch = z.infer<typeof patch>;

/** A vendor repository as it was when signed: its index files, byte for byte, are payloads. */
export const vendorRepository = z.strictObject({
  name,
  format: z.enum(['apt', 'rpm', 'folder']),
  /** apt: the path under `dists/`, as `bookworm-security`; others: empty. */
  suite: line(100),
  components: list(line(100), 100),
  architectures: list(line(40), 100),
  /** The vendor's signed root (`dists/SUITE/InRelease`; rpm: `repodata/repomd.xml` with its `.asc`) and the indexes it names, relative to the repository's root. */
  indexes: list(contentRef.extend({ path: relativePath }), 1_000),
  syncedAt: moment,
});
export type VendorRepository = z.infer<typeof vendorRepository>;

export const catalog = document('catalog', 1, {
  product,
  generatedAt: moment,
  repositories: list(vendorRepository, 100),
  patches: list(patch),
});
export type Catalog = z.infer<typeof catalog>;
