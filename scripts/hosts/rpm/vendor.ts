// A small RPM vendor for tests: real packages by rpmbuild, really signed by rpmsign, real repository metadata by createrepo_c with
// an updateinfo.xml, signed by GnuPG. What lies in its repository is given by the test; what is in its packages, by packages.ts.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { run, runOrThrow } from '#manifests/platform/process';

const COMMAND_MS = 120_000;

/** One package, as little of a spec file as the tests need. */
export interface PackageSpec {
  readonly name: string;
  readonly epoch?: number;
  readonly version: string;
  readonly release: string;
  /** `x86_64` unless told. */
  readonly arch?: string;
  readonly summary?: string;
  readonly requires?: readonly string[];
  readonly recommends?: readonly string[];
  readonly provides?: readonly string[];
  readonly conflicts?: readonly string[];
  readonly obsoletes?: readonly string[];
  /** Content by path. */
  readonly files?: Readonly<Record<string, string>>;
  /** Attributes by path, as rpm writes them: `%config(noreplace)`, `%caps(cap_net_raw=ep)`, `%attr(0755,root,root)`. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly links?: Readonly<Record<string, string>>;
  /** Scriptlets by section: `pre`, `post`, `preun`, `postun`, `posttrans`. */
  readonly scripts?: Readonly<Record<string, string>>;
  readonly changelog?: string;
}

/** An advisory, as updateinfo.xml has it. */
export interface AdvisorySpec {
  readonly id: string;
  readonly type: 'security' | 'bugfix' | 'enhancement' | 'newpackage';
  readonly severity?: string;
  readonly issued: string;
  readonly updated?: string;
  readonly title?: string;
  readonly cves?: readonly string[];
  readonly status?: string;
  readonly reboot?: boolean;
  readonly packages: readonly PackageSpec[];
}

/** A build of a stream of a module, as modules.yaml has it. */
export interface ModuleSpec {
  readonly name: string;
  readonly stream: string;
  readonly version: number;
  readonly packages: readonly PackageSpec[];
}

/** What a repository has besides its packages. */
export interface IndexOptions {
  readonly advisories?: readonly AdvisorySpec[];
  readonly modules?: readonly ModuleSpec[];
  /** False leaves repomd.xml without a signature. */
  readonly sign?: boolean;
  readonly revision?: number;
  readonly compression?: 'gz' | 'xz' | 'bz2';
}

export function evrOf(spec: Pick<PackageSpec, 'epoch' | 'version' | 'release'>): string {
  return `${spec.epoch === undefined || spec.epoch === 0 ? '' : `${spec.epoch}:`}${spec.version}-${spec.release}`;
}

export function fileNameOf(spec: PackageSpec): string {
  return `${spec.name}-${spec.version}-${spec.release}.${spec.arch ?? 'x86_64'}.rpm`;
}

export class RpmVendor {
  readonly folder: string;
  /** Armored public key, for keyrings and `rpm --import`. */
  readonly publicKey: string;
  readonly #gnupg: string;
  readonly #user: string;

  private constructor(folder: string, user: string) {
    this.folder = folder;
    this.#user = user;
    this.#gnupg = join(folder, 'gnupg');
    this.publicKey = join(folder, 'RPM-GPG-KEY');
  }

  /** A vendor with a fresh key. Its agent ends with `close`. */
  static async open(folder: string, user = 'Ferry Linux <security@ferry.example>'): Promise<RpmVendor> {
    const vendor = new RpmVendor(folder, user);
    fs.mkdirSync(vendor.#gnupg, { recursive: true, mode: 0o700 });
    await vendor.#gpg('--quick-gen-key', user, 'rsa2048', 'sign', 'never');
    const key = await vendor.#gpg('--armor', '--export', user);
    fs.writeFileSync(vendor.publicKey, key.stdout);
    return vendor;
  }

  /** Builds and signs packages; those that are there already are left. Gives their paths, in order. */
  async build(specs: readonly PackageSpec[], options: { sign?: boolean } = {}): Promise<string[]> {
    const paths = specs.map((spec) => join(this.folder, 'packages', fileNameOf(spec)));
    const missing = specs.filter((_, at) => !fs.existsSync(paths[at] ?? ''));
    const built: string[] = [];
    for (let at = 0; at < missing.length; at += 2)
      built.push(...(await Promise.all(missing.slice(at, at + 2).map((spec) => this.#buildOne(spec)))));
    if (options.sign !== false && built.length > 0) await this.sign(built);
    fs.mkdirSync(join(this.folder, 'packages'), { recursive: true });
    for (const path of built) fs.renameSync(path, join(this.folder, 'packages', path.split('/').at(-1) ?? ''));
    return paths;
  }

  async sign(packages: readonly string[]): Promise<void> {
    await runOrThrow(
      'rpmsign',
      ['--define', `_gpg_name ${this.#user}`, '--define', '__gpg /usr/bin/gpg', '--addsign', ...packages],
      {
        timeoutMs: COMMAND_MS,
        env: this.#environment(),
      },
    );
  }

  /** A detached armored signature beside a file. */
  async signFile(path: string): Promise<void> {
    fs.rmSync(`${path}.asc`, { force: true });
    await this.#gpg('--armor', '--detach-sign', '--output', `${path}.asc`, path);
  }

  /**
   * Writes a repository: these packages below `Packages/`, metadata by createrepo_c, the advisories, and a signature over
   * repomd.xml unless `sign` is false. A repository that is there is replaced as a whole.
   */
  async publish(repository: string, specs: readonly PackageSpec[], options: IndexOptions = {}): Promise<void> {
    const paths = await this.build(specs);
    fs.rmSync(repository, { recursive: true, force: true });
    fs.mkdirSync(join(repository, 'Packages'), { recursive: true });
    for (const path of paths) fs.copyFileSync(path, join(repository, 'Packages', path.split('/').at(-1) ?? ''));
    await this.index(repository, options);
  }

  /** Metadata for what lies in a repository. */
  async index(repository: string, options: IndexOptions = {}): Promise<void> {
    const compression = options.compression ?? 'gz';
    const revision =
      options.revision === undefined ? [] : ['--revision', String(options.revision), '--set-timestamp-to-revision'];
    const args = ['--quiet', '--no-database', `--general-compress-type=${compression}`, ...revision, repository];
    await runOrThrow('createrepo_c', args, {
      timeoutMs: COMMAND_MS,
      env: { ...this.#environment(), ...sourceDate(options.revision) },
    });
    const add = async (kind: string, name: string, text: string) => {
      const file = join(this.folder, name);
      fs.writeFileSync(file, text);
      const args = [`--mdtype=${kind}`, `--compress-type=${compression}`, file, join(repository, 'repodata')];
      await runOrThrow('modifyrepo_c', args, { timeoutMs: COMMAND_MS });
    };
    if (options.advisories !== undefined) await add('updateinfo', 'updateinfo.xml', updateInfo(options.advisories));
    if (options.modules !== undefined) await add('modules', 'modules.yaml', modulesYaml(options.modules));
    if (options.revision !== undefined) {
      const file = join(repository, 'repodata/repomd.xml'); // modifyrepo_c always writes the time of now
      const stamp = `<timestamp>${options.revision}</timestamp>`;
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replaceAll(/<timestamp>\d+<\/timestamp>/g, stamp));
    }
    if (options.sign !== false) await this.signFile(join(repository, 'repodata/repomd.xml'));
  }

  /** Ends the key's agent; the folder is the test's. Never throws. */
  async close(): Promise<void> {
    await run('gpgconf', ['--homedir', this.#gnupg, '--kill', 'all'], { timeoutMs: COMMAND_MS }).catch(() => undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #buildOne(spec: PackageSpec): Promise<string> {
    const top = join(this.folder, 'build', `${spec.name}-${spec.version}-${spec.release}`);
    fs.mkdirSync(join(top, 'SPECS'), { recursive: true });
    const file = join(top, 'SPECS', 'package.spec');
    fs.writeFileSync(file, specFile(spec));
    const defines = [
      `_topdir ${top}`,
      '_build_id_links none',
      'debug_package %{nil}',
      '__os_install_post %{nil}',
      `_buildhost vendor`,
    ];
    const target = spec.arch === undefined ? [] : ['--target', spec.arch];
    await runOrThrow('rpmbuild', ['-bb', '--quiet', ...target, ...defines.flatMap((define) => ['--define', define]), file], {
      timeoutMs: COMMAND_MS,
      env: this.#environment(),
    });
    return join(top, 'RPMS', spec.arch ?? 'x86_64', fileNameOf(spec));
  }

  #environment(): Record<string, string> {
    return { PATH: process.env['PATH'] ?? '', HOME: this.folder, GNUPGHOME: this.#gnupg, LC_ALL: 'C.UTF-8' };
  }

  #gpg(...args: string[]) {
    return runOrThrow('gpg', ['--batch', '--yes', '--passphrase', '', '--pinentry-mode', 'loopback', ...args], {
      timeoutMs: COMMAND_MS,
      env: this.#environment(),
    });
  }
}

function sourceDate(revision: number | undefined): Record<string, string> {
  return revision === undefined ? {} : { SOURCE_DATE_EPOCH: String(revision) };
}

function specFile(spec: PackageSpec): string {
  const files = Object.entries(spec.files ?? {});
  const links = Object.entries(spec.links ?? {});
  const lines = [
    `Name: ${spec.name}`,
    ...(spec.epoch === undefined ? [] : [`Epoch: ${spec.epoch}`]),
    `Version: ${spec.version}`,
    `Release: ${spec.release}`,
    `Summary: ${spec.summary ?? `The ${spec.name} of tests`}`,
    'License: MIT',
    'AutoReqProv: no',
    ...(['requires', 'recommends', 'provides', 'conflicts', 'obsoletes'] as const).flatMap((kind) =>
      (spec[kind] ?? []).map((one) => `${kind[0]?.toUpperCase()}${kind.slice(1)}: ${one}`),
    ),
    '%description',
    spec.summary ?? 'For tests.',
    '%install',
    ...[...files, ...links].map(([path]) => `mkdir -p %{buildroot}${path.slice(0, path.lastIndexOf('/'))}`),
    ...files.flatMap(([path, content]) => [`cat > %{buildroot}${path} <<'END-OF-FILE'`, content, 'END-OF-FILE']),
    ...links.map(([path, to]) => `ln -s ${to} %{buildroot}${path}`),
    ...Object.entries(spec.scripts ?? {}).flatMap(([section, text]) => [`%${section}`, text]),
    '%files',
    '%defattr(-,root,root)',
    ...[...files, ...links].map(([path]) => `${spec.attributes?.[path] ?? ''} ${path}`.trim()),
    ...(spec.changelog === undefined ? [] : ['%changelog', spec.changelog]),
  ];
  return `${lines.join('\n')}\n`;
}

/** The modules in the form that Red Hat and Fedora publish (libmodulemd, modulemd version 2), with a document of defaults. */
function modulesYaml(modules: readonly ModuleSpec[]): string {
  const streams = modules.map(({ name, stream, version, packages }) => {
    const rpms = packages.map((spec) => {
      const { epoch = 0, version: upstream, release, arch = 'x86_64' } = spec;
      return `    - ${spec.name}-${epoch}:${upstream}-${release}.${arch}`;
    });
    return `---
document: modulemd
version: 2
data:
  name: ${name}
  stream: "${stream}"
  version: ${version}
  context: abcdef12
  arch: x86_64
  summary: The ${name} of tests
  description: >-
    For tests.
  license:
    module:
    - MIT
  artifacts:
    rpms:
${rpms.join('\n')}
...
`;
  });
  const defaults = modules.map(
    ({ name, stream }) =>
      `---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: ${name}\n  profiles:\n    "${stream}": []\n...\n`,
  );
  return [...streams, ...defaults.slice(0, 1)].join('');
}

/** The advisories in the form that Fedora, Red Hat and Amazon publish (libcreaterepo_c, updateinfo). */
function updateInfo(advisories: readonly AdvisorySpec[]): string {
  const rows = advisories.map((advisory) => {
    const references = (advisory.cves ?? []).map(
      (cve) => `<reference href="https://vendor.example/${cve}" id="${cve}" type="cve" title="${cve}"/>`,
    );
    const packages = advisory.packages.map((spec) => {
      const arch = spec.arch ?? 'x86_64';
      const attributes = `name="${spec.name}" epoch="${spec.epoch ?? 0}" version="${spec.version}" release="${spec.release}" arch="${arch}" src="${spec.name}-${spec.version}-${spec.release}.src.rpm"`;
      const reboot = advisory.reboot === true ? '<reboot_suggested>True</reboot_suggested>' : '';
      return `<package ${attributes}><filename>${fileNameOf(spec)}</filename>${reboot}</package>`;
    });
    return `<update from="security@ferry.example" status="${advisory.status ?? 'final'}" type="${advisory.type}" version="1">
<id>${advisory.id}</id><title>${advisory.title ?? advisory.id}</title>
<issued date="${advisory.issued}"/>${advisory.updated === undefined ? '' : `<updated date="${advisory.updated}"/>`}
${advisory.severity === undefined ? '' : `<severity>${advisory.severity}</severity>`}
<description>What ${advisory.id} is about.</description>
<references>${references.join('')}</references>
<pkglist><collection short="ferry-9"><name>Ferry Linux 9</name>${packages.join('')}</collection></pkglist>
</update>`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n${rows.join('\n')}\n</updates>\n`;
}
