// Rotation: new keys for one role. The register changes here; the next publish carries it into signed metadata.
import type { PublisherHomePaths, Role } from '../home.ts';
import { type KeyRegister, makeRoleKeys, provePassphrase, readRegister, writeRegister } from './keyring.ts';
import type { PassphraseSource } from './passphrase.ts';

/**
 * Makes new keys for a role, as many as its threshold (or a new threshold), and registers them. The old files stay until
 * the rotation is published: the new root must carry their signatures too. Killed in between, at most an unused key file
 * is left over. @throws trust.passphrase, keys.no-register
 */
export async function rotateRole(
  home: PublisherHomePaths,
  role: Role,
  options: { threshold: number | undefined; passphrase: PassphraseSource },
): Promise<KeyRegister> {
  const register = readRegister(home.keysFolder);
  let passphrase: string | undefined;
  if (register.protection === 'passphrase') {
    passphrase = await options.passphrase.existing();
    await provePassphrase(home.keysFolder, passphrase); // a mistyped one must not lock the new key away
  }
  const threshold = options.threshold ?? register.roles[role].threshold;
  const keys = makeRoleKeys(home.keysFolder, role, threshold, passphrase);
  const next: KeyRegister = { ...register, roles: { ...register.roles, [role]: { threshold, keys } } };
  writeRegister(home.keysFolder, next);
  return next;
}
