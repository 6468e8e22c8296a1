// `init` and `key list · rotate · make · export`: the home and its keys.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { writeFileAtomic } from '#manifests/platform/files';
import { name as nameSchema } from '#manifests/schema';
import { generateSigningKey, writeKeyFile } from '#manifests/trust';
import { homeFolder, ROLES, type Role } from '../home.ts';
import {
  findKeyFile,
  type KeyRegister,
  keyFileName,
  parseThresholds,
  personKeyFile,
  pinnedRoot,
  readPublished,
  readRegister,
  rotateRole,
  setUpHome,
  signedKeys,
} from '../sign/index.ts';
import {
  argument,
  counted,
  flag,
  homeOf,
  homeRequest,
  listOption,
  PASSPHRASE_OPTION,
  passphraseOf,
  type Tools,
  table,
  textOption,
  withLock,
} from './common.ts';

const fault = defineFaults('key', {
  role: { exit: EXIT.usage, next: `Name one of: ${ROLES.join(', ')}.` },
  threshold: { exit: EXIT.usage, next: 'Give a number from 1 to 16.' },
  name: { exit: EXIT.usage, next: 'Take a short name of lower-case letters, digits and dashes.' },
  exists: { exit: EXIT.usage, next: 'Take another name or file; a key is never written over.' },
  'two-ways': { exit: EXIT.usage, next: 'Give either --unattended or --passphrase-file.' },
});

/** Loud on purpose: who holds the files holds the keys. */
const UNATTENDED_WARNING = [
  'WARNING: --unattended wrote the keys UNENCRYPTED. Whoever can read the keys folder can sign as this publisher.',
  '         Use this for demonstrations and tests only, never for hosts that matter.',
];

export function keyCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'init',
      summary: 'Make the home folder: keys for every role, encrypted at rest, and the first root',
      options: [
        {
          flags: '--threshold <role=number>',
          says: 'so many keys, all of which must sign (several times); 1 unless told',
          many: true,
        },
        PASSPHRASE_OPTION,
        { flags: '--unattended', says: 'keys UNENCRYPTED in 0600 files, for demonstrations and tests only' },
      ],
      examples: [
        {
          line: 'publisher init --home /srv/patchferry --threshold root=2 --threshold policy=2',
          says: 'Asks for a passphrase twice.',
        },
        {
          line: 'publisher init --home ./try --unattended',
          says: 'Without a question and without encryption: to try things out.',
        },
      ],
      async run(context) {
        const folder = homeFolder(homeRequest(context, tools));
        const unattended = flag(context, 'unattended');
        if (unattended && textOption(context, 'passphraseFile') !== undefined) {
          throw fault('two-ways', 'a passphrase for keys that are not to be encrypted');
        }
        const thresholds = parseThresholds(listOption(context, 'threshold'));
        const passphrase = unattended ? undefined : await passphraseOf(context, tools).fresh();
        const { home, register } = await setUpHome({ folder, thresholds, passphrase, now: tools.clock.now() });
        if (unattended) for (const line of UNATTENDED_WARNING) context.say(line);
        const keys = ROLES.reduce((sum, role) => sum + register.roles[role].keys.length, 0);
        return {
          exit: EXIT.done,
          text: [
            `${home.folder} is ready: ${counted(keys, 'signing key')} for ${ROLES.length} roles, one key that opens results.`,
            unattended
              ? 'The keys are NOT encrypted.'
              : 'The keys are encrypted; keep the passphrase and a copy of the keys folder apart from each other.',
            '',
            'Next:',
            '  publisher source add --help     where vendor updates come from',
            `  ${home.policyFolder}   your policy; manifests/examples has some to start from`,
            '  publisher publish               resolve, sign, write the repository',
            `  ${join(home.folder, 'root.json')}   the public root: hand it to relays and agents by a way you trust`,
          ].join('\n'),
          report: {
            schema: 'patchferry/init',
            schemaVersion: 1,
            home: home.folder,
            repository: home.repositoryFolder,
            root: join(home.folder, 'root.json'),
            protection: register.protection,
            roles: register.roles,
            collector: register.collector,
          },
        };
      },
    },
    {
      name: 'key list',
      summary: 'List the keys of every role, how many must sign, and what is waiting for a publish',
      examples: [{ line: 'publisher key list', says: 'A row for each key.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const register = readRegister(home.keysFolder);
        const waiting = await waitingRoles(home, register);
        const keys = ROLES.flatMap((role) =>
          register.roles[role].keys.map((publicKey) => ({
            role,
            threshold: register.roles[role].threshold,
            publicKey,
            file: keyFileName(role, publicKey),
            here: findKeyFile(home.keysFolder, role, publicKey) !== undefined,
            published: !waiting.includes(role),
          })),
        );
        return {
          exit: EXIT.done,
          text: [
            table(
              ['ROLE', 'NEEDED', 'FILE', 'HERE', 'PUBLISHED', 'PUBLIC KEY'],
              keys.map((one) => [
                one.role,
                String(one.threshold),
                one.file,
                one.here ? 'yes' : 'no',
                one.published ? 'yes' : 'at next publish',
                one.publicKey,
              ]),
            ),
            '',
            `Results are sealed to ${register.collector}. Key files are ${register.protection === 'passphrase' ? 'encrypted' : 'NOT encrypted (--unattended)'}.`,
          ].join('\n'),
          report: {
            schema: 'patchferry/keys',
            schemaVersion: 1,
            protection: register.protection,
            collector: register.collector,
            keys,
          },
        };
      },
    },
    {
      name: 'key rotate',
      summary: 'Make new keys for one role; the next publish carries them into the repository',
      args: [{ name: '<role>', says: ROLES.join(', ') }],
      options: [{ flags: '--threshold <number>', says: 'so many keys from now on, all of which must sign' }, PASSPHRASE_OPTION],
      examples: [
        { line: 'publisher key rotate timestamp && publisher publish', says: 'After an online key may have leaked.' },
        { line: 'publisher key rotate root --threshold 3', says: 'New root keys, three of them. Hosts follow by themselves.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const given = argument(context, 0);
        const role = ROLES.find((one) => one === given);
        if (role === undefined) throw fault('role', `there is no role "${given}"`, { where: given });
        const threshold = thresholdOption(textOption(context, 'threshold'));
        return withLock(home, 'key rotate', async () => {
          const register = await rotateRole(home, role, { threshold, passphrase: passphraseOf(context, tools) });
          return {
            exit: EXIT.done,
            text: `${role}: ${counted(register.roles[role].keys.length, 'new key')}. Next: publisher publish (the old files are needed until then).`,
            report: { schema: 'patchferry/key-rotate', schemaVersion: 1, role, ...register.roles[role] },
          };
        });
      },
    },
    {
      name: 'key make',
      summary: 'Make a key of its own for a person or a site: an approver of waivers, the keeper of an overlay',
      args: [{ name: '<name>', says: 'names the person or site: anna, ship-7' }],
      options: [
        { flags: '-o, --output <file>', says: 'write it here instead of into keys/people/ of the home' },
        PASSPHRASE_OPTION,
        { flags: '--unattended', says: 'UNENCRYPTED in a 0600 file, for demonstrations and tests only' },
      ],
      examples: [
        { line: 'publisher key make anna', says: 'Prints the public part, which a group names under waivers.approvers.' },
        { line: 'publisher key make ship-7 -o ship-7.key', says: 'For a site; it stays there, its public part comes here.' },
      ],
      async run(context) {
        const name = nameSchema.safeParse(argument(context, 0));
        if (!name.success) throw fault('name', `"${argument(context, 0)}" ${name.error.issues[0]?.message ?? ''}`);
        const unattended = flag(context, 'unattended');
        if (unattended && textOption(context, 'passphraseFile') !== undefined)
          throw fault('two-ways', 'a passphrase for a key that is not to be encrypted');
        const output = textOption(context, 'output');
        const file = output ?? personKeyFile(homeOf(context, tools), name.data);
        if (fs.existsSync(file)) throw fault('exists', `${file} is there already`, { where: file });
        const passphrase = unattended ? undefined : await passphraseOf(context, tools).fresh();
        fs.mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
        const pair = generateSigningKey();
        writeKeyFile(file, { kind: 'sign', ...pair }, passphrase);
        if (unattended) for (const line of UNATTENDED_WARNING) context.say(line);
        return {
          exit: EXIT.done,
          text: `key of ${name.data} written to ${file}\npublic key: ${pair.publicKey}`,
          report: { schema: 'patchferry/key-make', schemaVersion: 1, name: name.data, file, publicKey: pair.publicKey },
        };
      },
    },
    {
      name: 'key export',
      summary: 'Write the public root that agents and relays pin',
      options: [
        { flags: '-o, --output <file>', says: 'write it here instead of stdout' },
        { flags: '--newest', says: 'the newest root instead of the first; both lead to the same trust' },
      ],
      examples: [{ line: 'publisher key export -o root.json', says: 'Hand this file to hosts by a way you trust.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const bytes = flag(context, 'newest') ? await newestRoot(home) : pinnedRoot(home);
        const output = textOption(context, 'output');
        const root = JSON.parse(Buffer.from(bytes).toString('utf8')) as { signed: { version: number; expires: string } };
        if (output !== undefined) writeFileAtomic(output, bytes);
        return {
          exit: EXIT.done,
          text: output === undefined ? Buffer.from(bytes).toString('utf8') : `root ${root.signed.version} written to ${output}`,
          report: {
            schema: 'patchferry/key-export',
            schemaVersion: 1,
            version: root.signed.version,
            expires: root.signed.expires,
            output: output ?? null,
            root,
          },
        };
      },
    },
  ];
}

type Home = ReturnType<typeof homeOf>;

async function withPublished<T>(home: Home, use: (published: Awaited<ReturnType<typeof readPublished>>) => T): Promise<T> {
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-keys-'));
  try {
    return use(await readPublished(home, scratch));
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function newestRoot(home: Home): Promise<Uint8Array> {
  return withPublished(home, ({ files }) => files.get('root')?.bytes ?? pinnedRoot(home));
}

/** Roles whose registered keys are not those that hosts know yet. */
function waitingRoles(home: Home, register: KeyRegister): Promise<Role[]> {
  return withPublished(home, (published) =>
    ROLES.filter((role) => {
      const signed = signedKeys(published, role);
      const wanted = register.roles[role];
      return signed?.threshold !== wanted.threshold || signed.keys.toSorted().join() !== wanted.keys.toSorted().join();
    }),
  );
}

function thresholdOption(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const value = /^\d{1,2}$/.test(given) ? Number(given) : 0;
  if (value < 1 || value > 16) throw fault('threshold', `${JSON.stringify(given)} is no threshold`, { where: '--threshold' });
  return value;
}
