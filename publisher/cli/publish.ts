// `publish`, `verify`: out into the repository, a look at any repository or bundle with public keys only.
import { join, resolve } from 'node:path';
import { parseCard } from '#manifests/courier';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec, Outcome } from '#manifests/platform/cli';
import { readFileBounded } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import { TRUST_LIMITS } from '#manifests/trust';
import { type BundleCheck, holdsBundles, verifyBundles } from '../airgap/index.ts';
import { openCatalogStore } from '../catalog/index.ts';
import { PAYLOAD_CHOICES, type PublisherHome } from '../home.ts';
import { readRoster } from '../roster/index.ts';
import { type Keyring, openKeyring, type PublishReport, publish, type VerifyReport, verifyRepository } from '../sign/index.ts';
import { acksOf } from './collect.ts';
import {
  argument,
  counted,
  flag,
  homeOf,
  listOption,
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
          const keyring = openKeyring(home, passphraseOf(context, tools));
          const report = await publishHome(context, home, keyring, tools, {
            refresh: flag(context, 'refresh'),
            dryRun: flag(context, 'dryRun'),
          });
          return {
            exit:
              report.change !== null && report.change.state !== 'approved'
                ? EXIT.deferred
                : report.roles.length === 0 && report.payloads.fetched === 0
                  ? EXIT.current
                  : EXIT.done,
            text: publishText(report, home),
            report: { schema: 'patchferry/publish', schemaVersion: 1, repository: home.repositoryFolder, ...report },
          };
        });
      },
    },
    {
      name: 'verify',
      summary: 'Check a repository, a stick or a bundle with public keys only: every signature, every document, every byte',
      args: [{ name: '<repository>', says: 'URL or folder of a repository; stick, folder or .pfb.json file of bundles' }],
      options: [
        { flags: '--root <file>', says: 'the public root to start from (root.json)', required: true },
        { flags: '--payloads', says: 'read every payload again (from a URL: fetch it)' },
        { flags: '--complete', says: 'payloads of approved patches that are not here are findings' },
        {
          flags: '--card <card>',
          says: 'of bundles: the card of a site, whose key signs what comes back; may be given several times',
          many: true,
        },
        { flags: '--all', says: 'print every check, not only what is not as it should be' },
      ],
      examples: [
        { line: 'publisher verify /srv/patchferry/repository --root root.json --payloads', says: 'Everything, byte for byte.' },
        {
          line: 'publisher verify http://relay.example:8080/ --root root.json',
          says: 'What a relay offers. Exit 0 sound, 1 findings, 5 refused.',
        },
        {
          line: 'publisher verify /media/stick --root root.json',
          says: 'Every bundle on a stick; what is sealed stays sealed.',
        },
      ],
      async run(context) {
        const file = textOption(context, 'root') ?? '';
        const root = readFileBounded(file, TRUST_LIMITS.rootBytes);
        if (root === undefined) throw fault('no-root', `there is no ${file}`, { where: file });
        const place = resolve(argument(context, 0));
        if (holdsBundles(place)) return verifyStick(context, tools, place, root);
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

async function publishHome(
  context: CommandContext,
  home: PublisherHome,
  keyring: Keyring,
  tools: Tools,
  how: { readonly refresh: boolean; readonly dryRun: boolean },
): Promise<PublishReport> {
  using catalog = openCatalogStore(home.catalogFolder);
  const policy = policyOf(home);
  const roster = readRoster(home.rosterFile);
  return await publish({
    home,
    register: keyring.register,
    keyring,
    policy,
    catalog,
    roster,
    exceptions: exceptionsToSign(home, policy, roster, tools.clock.now()),
    acks: acksOf(home),
    payloads: home.settings.payloads,
    ...how,
    clock: tools.clock,
    signal: context.signal,
    progress: (label, total) => context.progress(label, total),
  });
}

/** Documents of policy and catalogs that the next `publish` would change; roster and acks apart. @throws as `publish` */
export async function unpublished(
  context: CommandContext,
  home: PublisherHome,
  keyring: Keyring,
  tools: Tools,
): Promise<string[]> {
  const { documents } = await publishHome(context, home, keyring, tools, { refresh: false, dryRun: true });
  return documents.flatMap(({ path, state }) => (state === 'same' || /^(roster|acks)\b/.test(path) ? [] : [path]));
}

/** Lines of policy changes shown to a person. */
const SHOWN = 20;

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
  if (report.differences.length > 0)
    lines.push('', 'policy changes:', ...report.differences.slice(0, SHOWN).map((says) => `  ${says}`));
  if (report.differences.length > SHOWN) lines.push(`  … and ${report.differences.length - SHOWN} more; see --json`);
  if (report.differences.length > 0) lines.push('');
  if (report.change !== null) {
    const { id, state, signed, threshold } = report.change;
    lines.push(
      state === 'approved'
        ? `change ${id} is published as its approvers signed it`
        : `change ${id} is ${state}, signed by ${signed} of ${threshold}: policy and catalogs stay as they are published. See: publisher change show ${id}`,
    );
  }
  for (const remark of report.remarks) lines.push(`look at: ${remark}`);
  if (report.roles.length === 0) lines.push('nothing to publish: all is current');
  if (report.expires !== null)
    lines.push(`hosts warn after ${report.softExpires ?? '-'} and stop installing after ${report.expires}`);
  return lines.join('\n');
}

async function verifyStick(context: CommandContext, tools: Tools, place: string, root: Uint8Array): Promise<Outcome> {
  const checks = await verifyBundles({
    place,
    root,
    cards: listOption(context, 'card').map(parseCard),
    now: tools.clock.now(),
    signal: context.signal,
    progress: (label, total) => context.progress(label, total),
  });
  const has = (verdict: BundleCheck['verdict']) => checks.some((check) => check.verdict === verdict);
  return {
    exit: has('refused') ? EXIT.refused : has('finding') ? EXIT.findings : EXIT.done,
    text: table(
      ['VERDICT', 'WHAT', 'SAYS'],
      checks.map(({ verdict, what, says, code }) => [verdict, what, code === null ? says : `${says} (${code})`]),
    ),
    report: { schema: 'patchferry/verify-bundles', schemaVersion: 1, place, checks },
  };
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
