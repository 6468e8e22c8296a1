// The order of the host's own package sources: whether they mix releases or pin one repository above all others. They take no part in
// an installation here, but a host whose sources are mixed has packages that no baseline was made for. Reads only; pure parsers.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';
import type { HostCheck, HostLook } from './check.ts';

const FILE_BYTES = 1024 * 1024;
/** Priorities at which apt downgrades, and below which it refuses a version (apt_preferences(5)). */
const PIN = { forces: 1_000, forbids: 0 } as const;

export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly where: string;
}

/** One-line sources: `deb [options] URI SUITE COMPONENTS` (sources.list(5)). */
export function parseSourcesList(text: string, file: string): AptSource[] {
  return text.split('\n').flatMap((row, at) => {
    const parts = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/.exec(row);
    return parts?.[1] === undefined || parts[2] === undefined
      ? []
      : [{ uri: parts[1], suite: parts[2], where: `${file}:${at + 1}` }];
  });
}

/** deb822 sources: stanzas with `Types`, `URIs`, `Suites`, `Enabled` (sources.list(5)). */
export function parseDeb822(text: string, file: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string) =>
      new RegExp(`^${name}:((?:.*(?:\\n[ \\t].*)*))`, 'im').exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
    if (!field('Types').includes('deb') || /^(?:no|false|0)$/i.test(field('Enabled')[0] ?? '')) return [];
    return field('URIs').flatMap((uri) => field('Suites').map((suite) => ({ uri, suite, where: file })));
  });
}

/** Pins for every package at a priority that overrules the order of versions: `Pin` and priority. */
export function parsePins(text: string): { pin: string; priority: number }[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'im').exec(stanza)?.[1]?.trim();
    const priority = Number(field('Pin-Priority'));
    const everything = field('Package') === '*';
    return everything && (priority >= PIN.forces || priority < PIN.forbids) ? [{ pin: field('Pin') ?? '', priority }] : [];
  });
}

/** The release of a suite: `bookworm` of `bookworm-security`, `bookworm-updates`, `bookworm/updates`. */
export function releaseOf(suite: string): string {
  return suite
    .replace(/\/$/, '')
    .replace(/[-/](?:security|updates|proposed-updates|backports(?:-sloppy)?|debug|proposed)$/, '');
}

/** Whether this is the distribution's own archive, by the path that every mirror of it has. */
function isOwnArchive({ uri }: AptSource): boolean {
  return /\/(?:debian|debian-security|ubuntu|ubuntu-ports|raspbian)\/?$/.test(uri);
}

/** What is out of order. @param codename of the host's release, as os-release has it */
export function disorder(
  sources: readonly AptSource[],
  pins: readonly { pin: string; priority: number }[],
  codename: string,
): string[] {
  const foreign = sources.filter((source) => isOwnArchive(source) && releaseOf(source.suite) !== codename);
  return [
    ...foreign.map(({ suite, where }) => `${where} names ${suite}, this host is ${codename}`),
    ...pins.map(({ pin, priority }) => `every package is pinned to "${pin}" with priority ${priority}`),
  ];
}

function textsIn(root: string, folder: string, suffix: string): { file: string; text: string }[] {
  const path = join(root, folder);
  const names = fs.existsSync(path) ? fs.readdirSync(path).filter((name) => name.endsWith(suffix)) : [];
  return names.toSorted().map((name) => ({ file: `${folder}/${name}`, text: textOf(root, `${folder}/${name}`) }));
}

function textOf(root: string, file: string): string {
  try {
    return Buffer.from(readFileBounded(join(root, file), FILE_BYTES) ?? new Uint8Array()).toString('utf8');
  } catch {
    return '';
  }
}

/** Undefined where the host has no apt. */
export function checkRepositories({ policy, root = '/' }: HostLook): HostCheck | undefined {
  const codename = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(textOf(root, '/etc/os-release'))?.[1];
  if (codename === undefined || !fs.existsSync(join(root, '/etc/apt'))) return undefined;
  const sources = [
    ...parseSourcesList(textOf(root, '/etc/apt/sources.list'), '/etc/apt/sources.list'),
    ...textsIn(root, '/etc/apt/sources.list.d', '.list').flatMap(({ file, text }) => parseSourcesList(text, file)),
    ...textsIn(root, '/etc/apt/sources.list.d', '.sources').flatMap(({ file, text }) => parseDeb822(text, file)),
  ];
  const preferences = [
    textOf(root, '/etc/apt/preferences'),
    ...textsIn(root, '/etc/apt/preferences.d', '').map(({ text }) => text),
  ];
  const wrong = disorder(sources, preferences.flatMap(parsePins), codename);
  return {
    name: 'repositories',
    ok: wrong.length === 0,
    blocks: policy.repositories === 'refuse',
    says: wrong.length === 0 ? `${sources.length} sources, all of ${codename}` : wrong.join('; ').slice(0, 1_000),
    retryLater: false,
  };
}
