// Pure: reads what tar(1) says of each member besides its content: extended attributes and access lists, from the extended headers
// of pax(1), POSIX.1-2024, "pax Interchange Format", with the keywords of star and GNU tar.

const BLOCK = 512;

/** Attributes of one file: name as getxattr(2) knows it, value as Latin-1 text, one character a byte. */
export type Attributes = ReadonlyMap<string, string>;

const ACCESS_LISTS: Readonly<Record<string, string>> = {
  'SCHILY.acl.access': 'system.posix_acl_access',
  'SCHILY.acl.default': 'system.posix_acl_default',
};

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

/** A field of a header: up to its first NUL. */
function field(header: Uint8Array, at: number, size: number): string {
  return text(header.subarray(at, at + size)).split('\0', 1)[0] ?? '';
}

/** Records `LENGTH KEYWORD=VALUE\n`; what is cut off is no record. */
function records(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const length = Number.parseInt(text(bytes.subarray(at, at + 12)), 10);
    if (!Number.isInteger(length) || length < 5 || at + length > bytes.length) break;
    const record = text(bytes.subarray(at, at + length - 1));
    const [head = '', ...value] = record.split('=');
    found.set(head.slice(head.indexOf(' ') + 1), value.join('='));
    at += length;
  }
  return found;
}

/** Attributes of every folder in an archive, by its path on the host (`./etc/x/` is `/etc/x`). */
export function attributesIn(archive: Uint8Array): Map<string, Attributes> {
  const found = new Map<string, Attributes>();
  let extended = new Map<string, string>();
  for (let at = 0; at + BLOCK <= archive.length; ) {
    const header = archive.subarray(at, at + BLOCK);
    const type = field(header, 156, 1);
    const size = Number.parseInt(field(header, 124, 12), 8) || 0;
    const content = archive.subarray(at + BLOCK, at + BLOCK + size);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    if (header.every((byte) => byte === 0)) continue; // the end, and what fills the last record
    if (type === 'x') extended = records(content);
    if (type === 'x' || type === 'g') continue;
    const prefix = field(header, 345, 155);
    const raw = extended.get('path') ?? (prefix === '' ? '' : `${prefix}/`) + field(header, 0, 100);
    const name = Buffer.from(raw, 'latin1').toString('utf8');
    const attributes = new Map<string, string>();
    for (const [key, value] of extended) {
      const as = key.startsWith('SCHILY.xattr.') ? key.slice('SCHILY.xattr.'.length) : ACCESS_LISTS[key];
      if (as !== undefined) attributes.set(as, value);
    }
    found.set(name.replace(/^\.(?=\/)/, '').replace(/(?<=.)\/$/, ''), attributes);
    extended = new Map();
  }
  return found;
}

/** What `is` has that `was` has not, and whether anything else differs. */
export function attributesDiffer(was: Attributes, is: Attributes): { readonly extra: string[]; readonly other: boolean } {
  return {
    extra: [...is.keys()].filter((name) => !was.has(name)),
    other: [...was].some(([name, value]) => is.get(name) !== value),
  };
}
