// The publisher's keys at rest: one file a key, and a register of which keys a role has now and how many must sign.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded, syncFolder, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, document, list, publicKeyHex } from '#manifests/schema';
import { fileSigner, generateBoxKey, generateSigningKey, readKeyFile, type Signer, writeKeyFile } from '#manifests/trust';
import { type PublisherHomePaths, ROLES, type Role } from '../home.ts';
import type { PassphraseSource } from './passphrase.ts';

const fault = defineFaults('keys', {
  'no-register': {
    exit: EXIT.usage,
    next: 'Take the keys folder back from a backup; without roles.json nobody knows which key is whose.',
  },
  threshold: { exit: EXIT.usage, next: 'Write it as ROLE=NUMBER, from 1 to 16, for example --threshold root=2.' },
  missing: {
    exit: EXIT.usage,
    next: 'Bring the key file (it may be kept offline) into the keys folder for this command, or rotate the role.',
  },
});

const KEY_LIMITS = { threshold: 16, registerBytes: 256 * 1024 } as const;

const roleKeys = z.strictObject({
  threshold: z.int().min(1).max(KEY_LIMITS.threshold),
  /** Public keys, hex. */
  keys: list(publicKeyHex, KEY_LIMITS.threshold).min(1),
});
export type RoleKeys = z.infer<typeof roleKeys>;

const keyRegister = document('key-register', 1, {
  /** Whether key files are encrypted with a passphrase, or (unattended) only protected by their permissions. */
  protection: z.enum(['passphrase', 'none']),
  roles: z.strictObject(Object.fromEntries(ROLES.map((role) => [role, roleKeys])) as Record<Role, typeof roleKeys>),
  /** Box key that results are sealed to. */
  collector: publicKeyHex,
});
export type KeyRegister = z.infer<typeof keyRegister>;

const COLLECTOR_FILE = 'collector.key';
const REGISTER_FILE = 'roles.json';
const RETIRED = 'retired';

/** `root-1f2e3d4c5b6a.key`: the role and the first digits of the public key. */
export function keyFileName(role: Role, publicKey: string): string {
  return `${role}-${publicKey.slice(0, 12)}.key`;
}

/** Where the key of an approver or a site lies when it is kept in the home. */
export function personKeyFile({ keysFolder }: Pick<PublisherHomePaths, 'keysFolder'>, person: string): string {
  return join(keysFolder, 'people', `${person}.key`);
}

/** Reads `--threshold root=2` and the like; one for every role not named. @throws keys.threshold */
export function parseThresholds(given: readonly string[]): Record<Role, number> {
  const thresholds = Object.fromEntries(ROLES.map((role) => [role, 1])) as Record<Role, number>;
  for (const text of given) {
    const [role, number, ...rest] = text.split('=');
    const known = ROLES.find((one) => one === role);
    const value = /^\d{1,2}$/.test(number ?? '') ? Number(number) : 0;
    if (known === undefined || rest.length > 0 || value < 1 || value > KEY_LIMITS.threshold) {
      throw fault('threshold', `${JSON.stringify(text)} is no threshold; roles: ${ROLES.join(', ')}`, { where: '--threshold' });
    }
    thresholds[known] = value;
  }
  return thresholds;
}

/** Makes the keys of every role and the collector's box key in a new keys folder. */
export function makeKeys(
  keysFolder: string,
  thresholds: Readonly<Record<Role, number>>,
  passphrase: string | undefined,
): KeyRegister {
  fs.mkdirSync(keysFolder, { recursive: true, mode: 0o700 });
  const roles = Object.fromEntries(
    ROLES.map((role) => [
      role,
      { threshold: thresholds[role], keys: makeRoleKeys(keysFolder, role, thresholds[role], passphrase) },
    ]),
  ) as Record<Role, RoleKeys>;
  const box = generateBoxKey();
  writeKeyFile(join(keysFolder, COLLECTOR_FILE), { kind: 'box', ...box }, passphrase);
  const register: KeyRegister = {
    schema: 'patchferry/key-register',
    schemaVersion: 1,
    protection: passphrase === undefined ? 'none' : 'passphrase',
    roles,
    collector: box.publicKey,
  };
  writeRegister(keysFolder, register);
  return register;
}

/** Makes `count` new signing keys of a role and gives back their public parts. */
export function makeRoleKeys(keysFolder: string, role: Role, count: number, passphrase: string | undefined): string[] {
  const made: string[] = [];
  for (let number = 0; number < count; number += 1) {
    const pair = generateSigningKey();
    writeKeyFile(join(keysFolder, keyFileName(role, pair.publicKey)), { kind: 'sign', ...pair }, passphrase);
    made.push(pair.publicKey);
  }
  syncFolder(keysFolder);
  return made;
}

/** @throws keys.no-register */
export function readRegister(keysFolder: string): KeyRegister {
  const file = join(keysFolder, REGISTER_FILE);
  const bytes = readFileBounded(file, KEY_LIMITS.registerBytes);
  let cause: unknown;
  try {
    if (bytes !== undefined) return keyRegister.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (error) {
    cause = error;
  }
  throw fault('no-register', `${file} is ${bytes === undefined ? 'not there' : 'no register of keys'}`, { where: file, cause });
}

export function writeRegister(keysFolder: string, register: KeyRegister): void {
  writeFileAtomic(join(keysFolder, REGISTER_FILE), `${canonicalJson(keyRegister.parse(register))}\n`, { mode: 0o600 });
}

/** Path of a key's file, retired ones included; undefined when it is not in this home (kept offline). */
export function findKeyFile(keysFolder: string, role: Role, publicKey: string): string | undefined {
  const name = keyFileName(role, publicKey);
  return [join(keysFolder, name), join(keysFolder, RETIRED, name)].find((path) => fs.existsSync(path));
}

/** Puts key files that no role uses any more into `retired/`: a rotation may still need them until it is published. */
export function retireKeys(keysFolder: string, register: KeyRegister): string[] {
  const used = new Set(ROLES.flatMap((role) => register.roles[role].keys.map((key) => keyFileName(role, key))));
  const old = fs
    .readdirSync(keysFolder)
    .filter((name) => name.endsWith('.key') && name !== COLLECTOR_FILE && !name.startsWith('.') && !used.has(name));
  if (old.length === 0) return [];
  const folder = join(keysFolder, RETIRED);
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of old) fs.renameSync(join(keysFolder, name), join(folder, name));
  syncFolder(folder);
  syncFolder(keysFolder);
  return old;
}

/** Refuses a passphrase that does not open the keys of this home. @throws trust.passphrase */
export async function provePassphrase(keysFolder: string, passphrase: string): Promise<void> {
  await readKeyFile(join(keysFolder, COLLECTOR_FILE), () => passphrase);
}

/** Opens signers as they are needed, each once; the passphrase is asked at the first encrypted file. */
export interface Keyring {
  readonly register: KeyRegister;
  /** Signers of these keys of a role. @throws keys.missing when fewer than `least` are here; trust.passphrase, trust.key-file */
  signers(role: Role, publicKeys: readonly string[], least: number): Promise<Signer[]>;
  /** How many of these keys have a file here. */
  present(role: Role, publicKeys: readonly string[]): number;
  /** The key that opens results. @throws trust.passphrase, trust.key-file */
  collector(): Promise<{ publicKey: string; secretKey: Uint8Array }>;
}

export function openKeyring(home: PublisherHomePaths, passphrase: PassphraseSource): Keyring {
  const folder = home.keysFolder;
  const register = readRegister(folder);
  const opened = new Map<string, Promise<Signer>>();
  const ask = register.protection === 'none' ? undefined : () => passphrase.existing();
  return {
    register,
    present: (role, keys) => keys.filter((key) => findKeyFile(folder, role, key) !== undefined).length,
    async signers(role, publicKeys, least) {
      const files = publicKeys.flatMap((key) => findKeyFile(folder, role, key) ?? []);
      if (files.length < least) {
        const names = publicKeys
          .filter((key) => findKeyFile(folder, role, key) === undefined)
          .map((key) => keyFileName(role, key));
        throw fault('missing', `role ${role} needs ${least} keys, ${files.length} are here; not here: ${names.join(', ')}`, {
          where: folder,
        });
      }
      const signers: Signer[] = [];
      for (const file of files) {
        const signer = opened.get(file) ?? fileSigner(file, ask);
        opened.set(file, signer);
        signers.push(await signer);
      }
      return signers;
    },
    async collector() {
      const { publicKey, secretKey } = await readKeyFile(join(folder, COLLECTOR_FILE), ask);
      return { publicKey, secretKey };
    },
  };
}
