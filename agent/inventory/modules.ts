// Which streams of modules the administrator (or dnf, installing something of them) has enabled, by dnf's own record: of dnf 5 where
// there is one, else of dnf 4. Formats: libdnf, ModulePackageContainer (`/etc/dnf/modules.d/*.module`, INI); libdnf5, system/state.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';

const LIMITS = {
  /** Bytes of one file. */
  fileBytes: 1024 * 1024,
  /** Modules of a host; distributions have a few dozen. */
  modules: 1_000,
} as const;

const RECORD_5 = 'usr/lib/sysimage/libdnf5/modules.toml';
const FOLDER_4 = 'etc/dnf/modules.d';

/** `NAME:STREAM`, sorted; empty where none is enabled. */
export function readEnabledModules(root: string): string[] {
  const read = (path: string) => Buffer.from(readFileBounded(join(root, path), LIMITS.fileBytes) ?? []).toString('utf8');
  const five = parseModules5(read(RECORD_5));
  if (five.length > 0) return five.toSorted().slice(0, LIMITS.modules);
  const folder = join(root, FOLDER_4);
  const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.endsWith('.module')) : [];
  const four = names.slice(0, LIMITS.modules).flatMap((name) => parseModules4(read(`${FOLDER_4}/${name}`)));
  return [...new Set(four)].toSorted();
}

const named = (name: string | undefined, stream: string | undefined): string[] => {
  const text = `${name}:${stream}`;
  return name !== undefined && /^[A-Za-z0-9][A-Za-z0-9.+_-]*:[A-Za-z0-9._+-]+$/.test(text) && text.length <= 200 ? [text] : [];
};

/** Sections of `key = value` lines. */
function sectionsOf(text: string): { head: string; fields: Map<string, string> }[] {
  const sections: { head: string; fields: Map<string, string> }[] = [];
  for (const line of text.split('\n')) {
    const head = /^\s*\[([^[\]]+)\]\s*$/.exec(line)?.[1];
    if (head !== undefined) sections.push({ head: head.trim(), fields: new Map() });
    const [, key = '', value = ''] = /^\s*([A-Za-z_]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (head === undefined && key !== '') sections.at(-1)?.fields.set(key, value);
  }
  return sections;
}

/** `[nodejs]`, `stream=18`, `state=enabled` */
export function parseModules4(text: string): string[] {
  return sectionsOf(text).flatMap(({ head, fields }) =>
    fields.get('state') === 'enabled' ? named(fields.get('name') ?? head, fields.get('stream')) : [],
  );
}

/** `[modules.nodejs]`, `enabled_stream = "18"`, `state = "Enabled"` */
export function parseModules5(text: string): string[] {
  const plain = (value: string | undefined) => /^(["'])(.*)\1$/.exec(value ?? '')?.[2];
  return sectionsOf(text).flatMap(({ head, fields }) => {
    const name = /^modules\.(["']?)(.+)\1$/.exec(head)?.[2];
    return plain(fields.get('state')) === 'Enabled' ? named(name, plain(fields.get('enabled_stream'))) : [];
  });
}
