// `publish`, `verify`: out into the repository, a look at any repository or bundle with public keys only.
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { readFileBounded } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import { TRUST_LIMITS } from '#manifests/trust';
import { openCatalogStore } from '../catalog/index.ts';
import { PAYLOAD_CHOICES, type PublisherHome } from '../home.ts';
import { readRoster } from '../roster/index.ts';
import { openKeyring, type PublishReport, publish, type VerifyReport, verifyRepository } from '../sign/index.ts';
import { acksOf } from './collect.ts';
import {
  argument,
  counted,
  flag,
  homeOf,
  PASSPHRASE_OPTION,
  passphraseOf,
  type Tools,
  table,
  textOption,
  withLock,
} from './common.ts';
import { exceptionsToSign } from './exceptions.ts';
import { policyOf } from './policy.ts';

const fault = defineFaults('verify', {
  'no-root': { exit: EXIT.usage, next: 'Name the root.json you were given by a way you trust: --root FILE.' },
});

export function publishCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'publish',
      summary: 'Resolve the policy, fetch payloads, sign, and write the repository; nothing half, ever',
      options: [
        {
          flags: '--payloads <which>',
          says: 'payloads to fetch: approved (and pending), wanted (of those what hosts lack), all, none; from the settings unless told',
          choices: PAYLOAD_CHOICES,
        },
        { flags: '--refresh', says: 'sign a new timestamp even when nothing changed' },
        { flags: '--dry-run', says: 'say what would change; fetches nothing, signs nothing, needs no keys' },
        PASSPHRASE_OPTION,
      ],
      examples: [
        { line: 'publisher publish --dry-run', says: 'What would change.' },
        {
          line: 'publisher source sync && publisher collect && publisher publish',
          says: 'The daily round. Exit 3: nothing new and the timestamp is fresh.',
        },
        {
          line: 'publisher publish --refresh --passphrase-file /run/keys/passphrase',
          says: 'A new timestamp in any case, without a question.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        return withLock(home, 'publish', async () => {
          using catalog = openCatalogStore(home.catalogFolder);
          const keyring = openKeyring(home, passphraseOf(context, tools));
          const policy = policyOf(home);
          const roster = readRoster(home.rosterFile);
          const report = await publish({
            home,
            register: keyring.register,
            keyring,
            policy,
            catalog,
            roster,
            exceptions: exceptionsToSign(home, policy, roster, tools.clock.now()),
            acks: acksOf(home),
            payloads: home.settings.payloads,
            refresh: flag(context, 'refresh'),
            dryRun: flag(context, 'dryRun'),
            clock: tools.clock,
            signal: context.signal,
            progress: (label, total) => context.progress(label, total),
          });
          return {
            exit: report.roles.length === 0 && report.payloads.fetched === 0 ? EXIT.current : EXIT.done,
            text: publishText(report, home),
            report: { schema: 'patchferry/publish', schemaVersion: 1, repository: home.repositoryFolder, ...report },
          };
        });
      },
    },
    {
      name: 'verify',
      summary: 'Check any repository with public keys only: the metadata chain, every document, every payload',
      args: [{ name: '<repository>', says: 'URL or folder' }],
      options: [
        { flags: '--root <file>', says: 'the public root to start from (root.json)', required: true },
        { flags: '--payloads', says: 'read every payload again (from a URL: fetch it)' },
        { flags: '--complete', says: 'payloads of approved patches that are not here are findings' },
        { flags: '--all', says: 'print every check, not only what is not as it should be' },
      ],
      examples: [
        { line: 'publisher verify /srv/patchferry/repository --root root.json --payloads', says: 'Everything, byte for byte.' },
        {
          line: 'publisher verify http://relay.example:8080/ --root root.json',
          says: 'What a relay offers. Exit 0 sound, 1 findings, 5 refused.',
        },
      ],
      async run(context) {
        const file = textOption(context, 'root') ?? '';
        const root = readFileBounded(file, TRUST_LIMITS.rootBytes);
        if (root === undefined) throw fault('no-root', `there is no ${file}`, { where: file });
        const report = await verifyRepository({
          repository: argument(context, 0),
          root,
          payloads: flag(context, 'payloads'),
          complete: flag(context, 'complete'),
          clock: tools.clock,
          signal: context.signal,
          progress: (label, total) => context.progress(label, total),
        });
        const refused = report.checks.some(({ verdict }) => verdict === 'refused');
        const findings = report.checks.some(({ verdict }) => verdict === 'finding');
        return {
          exit: refused ? EXIT.refused : findings ? EXIT.findings : EXIT.done,
          text: verifyText(report, flag(context, 'all')),
          report: { schema: 'patchferry/verify', schemaVersion: 1, ...report },
        };
      },
    },
  ];
}

function publishText(report: PublishReport, home: PublisherHome): string {
  const changed = report.documents.filter(({ state }) => state !== 'same');
  const same = report.documents.length - changed.length;
  const lines: string[] = [];
  if (report.baselines.length > 0) {
    const rows = report.baselines.map((one) => [
      one.name,
      one.product,
      String(one.approved),
      String(one.pending),
      String(one.rejected),
    ]);
    lines.push(table(['BASELINE', 'PRODUCT', 'APPROVED', 'PENDING', 'REJECTED'], rows), '');
  }
  if (changed.length > 0) {
    lines.push(
      table(
        ['DOCUMENT', 'CHANGE', 'SIZE'],
        changed.map(({ path, state, bytes }) => [path, state, formatBytes(bytes)]),
      ),
    );
  }
  lines.push(`${counted(changed.length, 'document')} changed, ${same} as before`);
  if (report.payloads.fetched > 0)
    lines.push(`${counted(report.payloads.fetched, 'payload')} fetched, ${formatBytes(report.payloads.bytes)}`);
  if (report.payloads.missingBytes > 0) lines.push(`${formatBytes(report.payloads.missingBytes)} of payloads to fetch`);
  for (const { role, version, why } of report.roles)
    lines.push(`${report.dryRun ? 'would sign' : 'signed'} ${role} ${version} (${why})`);
  if (report.retiredKeys.length > 0)
    lines.push(`${counted(report.retiredKeys.length, 'old key file')} moved to ${join(home.keysFolder, 'retired')}`);
  for (const remark of report.remarks) lines.push(`look at: ${remark}`);
  if (report.roles.length === 0) lines.push('nothing to publish: all is current');
  if (report.expires !== null)
    lines.push(`hosts warn after ${report.softExpires ?? '-'} and stop installing after ${report.expires}`);
  return lines.join('\n');
}

function verifyText(report: VerifyReport, all: boolean): string {
  const shown = report.checks.filter(
    ({ what, verdict }) => all || verdict !== 'ok' || ['metadata', 'freshness', 'payloads'].includes(what),
  );
  const refused = report.checks.filter(({ verdict }) => verdict === 'refused').length;
  const findings = report.checks.filter(({ verdict }) => verdict === 'finding').length;
  const documents = report.checks.filter(({ what, verdict }) => verdict === 'ok' && what.includes('/')).length;
  return [
    table(
      ['VERDICT', 'WHAT', 'SAYS'],
      shown.map(({ verdict, what, says, code }) => [verdict, what, code === null ? says : `${says} (${code})`]),
    ),
    '',
    `${report.repository}: ${counted(documents, 'document')} sound, ${counted(findings, 'finding')}, ${refused} refused`,
  ].join('\n');
}
