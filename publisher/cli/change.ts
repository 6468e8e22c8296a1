// `change`: what a publish would change in policy, and the approvals it waits for.
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { fileSigner, type Signer } from '#manifests/trust';
import type { PublisherHome } from '../home.ts';
import {
  approveChange,
  type Change,
  type ChangeStanding,
  findChange,
  openKeyring,
  readChanges,
  readRegister,
  rejectChange,
  standingOf,
} from '../sign/index.ts';
import {
  argument,
  counted,
  homeOf,
  listOption,
  PASSPHRASE_OPTION,
  passphraseOf,
  type Tools,
  table,
  textOption,
  withLock,
} from './common.ts';

const fault = defineFaults('change', {
  reason: { exit: EXIT.usage, next: 'Give --reason TEXT, at most 500 characters; it is kept with the request.' },
  'no-key': { exit: EXIT.usage, next: 'Name the key file: --key FILE; none of the policy role is in the keys folder.' },
});

const CHANGE_ARGUMENT = { name: '[change]', says: 'first digits of its id; the newest that is open unless told' };

export function changeCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'change list',
      summary: 'List change requests of policy: waiting, approved, rejected, published',
      examples: [{ line: 'publisher change list', says: 'Exit 1 when one waits for approvers, 0 else.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const { policy } = readRegister(home.keysFolder).roles;
        const rows = readChanges(home).map((one) => ({ one, standing: standingOf(home, one, policy) }));
        const waits = rows.some(({ standing }) => standing.state === 'waiting');
        return {
          exit: waits ? EXIT.findings : EXIT.done,
          text:
            rows.length === 0
              ? policy.threshold === 1
                ? 'no change request: policy has one approver, and publish signs at once; `publisher publish --dry-run` shows what it would change'
                : 'no change request; `publisher publish` makes one when policy would change'
              : table(
                  ['CHANGE', 'STATE', 'SIGNED', 'MADE', 'CHANGES'],
                  rows.map(({ one, standing }) => [
                    one.id,
                    standing.state,
                    standing.state === 'published' ? '-' : `${standing.signed.length} of ${standing.threshold}`,
                    one.createdAt,
                    one.rejected === null ? (one.says[0] ?? '') : `rejected: ${one.rejected.reason}`,
                  ]),
                ),
          report: {
            schema: 'patchferry/changes',
            schemaVersion: 1,
            changes: rows.map(({ one, standing }) => ({ ...one, ...standing })),
          },
        };
      },
    },
    {
      name: 'change show',
      summary: 'What a change request would change, and who has signed it',
      args: [CHANGE_ARGUMENT],
      examples: [{ line: 'publisher change show', says: 'The newest that is open, line by line.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const one = findChange(readChanges(home), argument(context, 0));
        const standing = standingOf(home, one, readRegister(home.keysFolder).roles.policy);
        return {
          exit: EXIT.done,
          text: [
            headline(one, standing),
            ...standing.signed.map((key) => `signed by ${key.slice(0, 12)}…`),
            ...(one.rejected === null ? [] : [`rejected at ${one.rejected.at}: ${one.rejected.reason}`]),
            '',
            ...one.says,
            '',
            counted(one.documents.filter(({ state }) => state !== 'same').length, 'document'),
          ].join('\n'),
          report: { ...one, ...standing, schema: 'patchferry/change-request', schemaVersion: 1 },
        };
      },
    },
    {
      name: 'change approve',
      summary: 'Sign a change request with a key of the policy role; publish carries it once enough have',
      args: [CHANGE_ARGUMENT],
      options: [
        {
          flags: '--key <file>',
          says: 'a policy key kept elsewhere (several times); those in the keys folder unless told',
          many: true,
        },
        PASSPHRASE_OPTION,
      ],
      examples: [
        { line: 'publisher change approve', says: 'With the policy keys that lie in the keys folder.' },
        { line: 'publisher change approve 4b1f --key /media/token/policy.key', says: 'With one that its holder brought.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        return withLock(home, 'change approve', async () => {
          const one = findChange(readChanges(home), argument(context, 0));
          const { policy } = readRegister(home.keysFolder).roles;
          const before = standingOf(home, one, policy);
          const standing = await approveChange(home, one, await signersOf(context, home), policy);
          return {
            exit: standing.signed.length === before.signed.length ? EXIT.current : EXIT.done,
            text: [
              headline(one, standing),
              standing.state === 'approved'
                ? 'Next: publisher publish'
                : `it waits for ${standing.threshold - standing.signed.length} more`,
            ].join('\n'),
            report: { schema: 'patchferry/change-approval', schemaVersion: 1, change: one.id, ...standing },
          };
        });
      },
    },
    {
      name: 'change reject',
      summary: 'Turn a change request down; publish refuses it until the policy is another one',
      args: [CHANGE_ARGUMENT],
      options: [{ flags: '--reason <text>', says: 'why (needed); kept with it' }],
      examples: [
        { line: 'publisher change reject 4b1f --reason "not before the audit"', says: 'Policy stays as it is published.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const reason = textOption(context, 'reason') ?? '';
        if (reason === '' || reason.length > 500) throw fault('reason', 'a reason is missing', { where: '--reason' });
        return withLock(home, 'change reject', () => {
          const one = findChange(readChanges(home), argument(context, 0));
          rejectChange(home, one, reason, tools.clock.now());
          const standing = standingOf(
            home,
            { ...one, rejected: { at: one.createdAt, reason } },
            readRegister(home.keysFolder).roles.policy,
          );
          return {
            exit: EXIT.done,
            text: `change ${one.id} rejected: ${reason}`,
            report: { schema: 'patchferry/change-approval', schemaVersion: 1, change: one.id, ...standing },
          };
        });
      },
    },
  ];

  async function signersOf(context: CommandContext, home: PublisherHome): Promise<readonly Signer[]> {
    const files = listOption(context, 'key');
    const passphrase = passphraseOf(context, tools);
    if (files.length === 0) {
      const keyring = openKeyring(home, passphrase);
      const signers = await keyring.signers('policy', keyring.register.roles.policy.keys, 0);
      if (signers.length === 0) throw fault('no-key', 'no key of the policy role is here', { where: home.keysFolder });
      return signers;
    }
    const signers: Signer[] = [];
    for (const file of files) signers.push(await fileSigner(file, () => passphrase.existing()));
    return signers;
  }
}

function headline({ id, createdAt, version }: Change, { state, signed, threshold }: ChangeStanding): string {
  return `change ${id} of ${createdAt}, policy ${version}: ${state}${state === 'published' ? '' : `, signed by ${signed.length} of ${threshold}`}`;
}
