// A new home: folders, keys of every role, the first root. It appears whole or not at all.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { syncFolder, writeFileAtomic } from '#manifests/platform/files';
import { metadataPath } from '#manifests/repository';
import { memorySigner, readKeyFile, type Signer, signMetadata } from '#manifests/trust';
import { homePaths, type PublisherHomePaths, publisherSettings, type Role } from '../home.ts';
import { newRoster, writeRoster } from '../roster/index.ts';
import { findKeyFile, type KeyRegister, makeKeys } from './keyring.ts';
import { rootOf } from './metadata.ts';

const fault = defineFaults('init', {
  exists: { exit: EXIT.usage, next: 'Choose another folder; an existing one is never written over.' },
});

const SETTINGS_TEXT = `# Settings of this publisher. Everything here has a default; README.md of the publisher lists them all.
# Where vendor updates come from: written by \`publisher source add\`.
sources: []
# How many days the signature of a role holds. The timestamp is renewed by \`publisher publish\`.
# expiresDays:
#   timestamp: 14
# Hosts warn after this many days without a new timestamp.
# softExpiresDays: 7
# Payloads that \`publish\` fetches: approved (and pending), wanted (of those what hosts lack), all, or none.
# payloads: approved
`;

export interface SetupOptions {
  readonly folder: string;
  readonly thresholds: Readonly<Record<Role, number>>;
  /** Undefined: key files are only protected by their permissions (unattended). */
  readonly passphrase: string | undefined;
  /** Milliseconds. */
  readonly now: number;
}

/** Makes a home. @throws init.exists when the folder is there and not empty */
export async function setUpHome(options: SetupOptions): Promise<{ home: PublisherHomePaths; register: KeyRegister }> {
  const home = homePaths(options.folder);
  if (fs.existsSync(home.folder) && (!fs.statSync(home.folder).isDirectory() || fs.readdirSync(home.folder).length > 0)) {
    throw fault('exists', `${home.folder} is there and not empty`, { where: home.folder });
  }
  fs.mkdirSync(dirname(home.folder), { recursive: true });
  const making = homePaths(join(dirname(home.folder), `.tmp-${randomBytes(6).toString('hex')}-home`));
  try {
    fs.mkdirSync(making.folder, { mode: 0o700 });
    const register = makeKeys(making.keysFolder, options.thresholds, options.passphrase);
    const root = await signFirstRoot(making, register, options);
    writeFileAtomic(join(making.folder, 'root.json'), root);
    writeFileAtomic(join(making.repositoryFolder, metadataPath('1.root.json')), root);
    writeRoster(making.rosterFile, newRoster(register.collector, options.now), options.now);
    for (const folder of [making.policyFolder, making.sourcesFolder, making.catalogFolder]) fs.mkdirSync(folder);
    for (const folder of ['results', 'enrolments']) fs.mkdirSync(join(making.inboxFolder, folder), { recursive: true });
    fs.mkdirSync(making.pendingFolder, { mode: 0o700 });
    writeFileAtomic(making.settingsFile, SETTINGS_TEXT, { mode: 0o600 });
    fs.renameSync(making.folder, home.folder);
    syncFolder(dirname(home.folder));
    return { home, register };
  } catch (error) {
    fs.rmSync(making.folder, { recursive: true, force: true });
    throw error;
  }
}

async function signFirstRoot(making: PublisherHomePaths, register: KeyRegister, options: SetupOptions): Promise<Uint8Array> {
  const { expiresDays } = publisherSettings.parse({});
  const signers: Signer[] = [];
  for (const key of register.roles.root.keys) {
    const stored = await readKeyFile(findKeyFile(making.keysFolder, 'root', key) ?? '', () => options.passphrase ?? '');
    signers.push(memorySigner(stored));
  }
  return signMetadata(
    rootOf(register, { version: 1, expires: options.now + expiresDays.root * 86_400_000 }, options.now),
    signers,
  );
}
