// `site`: what a site's own key may do (delegation, signed by policy), and what the site does with it (overlay, signed by the site).
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { signedDelegationOf } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import {
  AUTHORED_LIMITS,
  decodeDocument,
  publicKeyHex,
  readAuthoredOrThrow,
  SITE_POWERS,
  type SignedDelegation,
  type SiteOverlay,
  suggestion,
} from '#manifests/schema';
import { openOrigin } from '#manifests/transfer';
import { checkSigningKey, fileSigner, openTrust, readAny, TRUST_LIMITS } from '#manifests/trust';
import type { PublisherHome } from '../home.ts';
import { readRoster } from '../roster/index.ts';
import {
  dropOverlay,
  keepOverlay,
  openOverlay,
  readSignedOverlay,
  signOverlay,
  siteRole,
  takenOverlay,
  writeSignedOverlay,
} from '../sign/index.ts';
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
import { policyOf } from './policy.ts';

const fault = defineFaults('site', {
  key: { exit: EXIT.usage, next: 'Give the public key of the site, 64 hex digits: `publisher key make SITE` prints it there.' },
  number: { exit: EXIT.usage, next: 'Give a whole number of at least 0.' },
  unknown: { exit: EXIT.usage, next: '`publisher site list` names them; `publisher site add` delegates to a new one.' },
  exists: { exit: EXIT.usage, next: 'Give --replace to write it anew, or edit its file in the policy folder.' },
  file: {
    exit: EXIT.usage,
    next: 'Give a YAML file with one document of kind SiteOverlay; manifests/examples/sites.yaml shows one.',
  },
  'no-root': { exit: EXIT.usage, next: 'Name the root.json you were given by a way you trust: --root FILE.' },
});

const DAY_MS = 86_400_000;
const delegationFile = (home: PublisherHome, site: string) => join(home.policyFolder, 'sites', `${site}.yaml`);

export function siteCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'site add',
      summary: 'Let a site’s own key narrow what its hosts do, within bounds; writes the delegation into the policy folder',
      args: [{ name: '<site>', says: 'name of the site, as the roster has it' }],
      options: [
        {
          flags: '--key <hex>',
          says: 'public key of the site (several times), made there by `publisher key make`; not needed where it may only halt',
          many: true,
        },
        {
          flags: '--may <power>',
          says: `${SITE_POWERS.join(', ')} (several times); narrow-window and reject unless told`,
          many: true,
          choices: SITE_POWERS,
        },
        {
          flags: '--relay <card>',
          says: 'halt: card of a relay of the site that may halt it, and that reads its results (several times); `patchferry-relay courier key` prints it',
          many: true,
        },
        { flags: '--max-delay-days <number>', says: 'so long an approval may be put off at most', fallback: '0' },
        { flags: '--min-ring-percent <number>', says: 'so much of a ring must stay', fallback: '0' },
        { flags: '--days <number>', says: 'how long the delegation holds', fallback: '365' },
        { flags: '--replace', says: 'write over the delegation that is there' },
      ],
      examples: [
        {
          line: 'publisher site add ship-7 --key 0f3b…0b1c --may narrow-window --may delay --max-delay-days 7 && publisher publish',
          says: 'The first publish after it needs the targets keys: they say who may sign what.',
        },
        {
          line: 'publisher site add ward-7 --may halt --relay CARD && publisher publish',
          says: 'The relay whose card it is may halt its site; `patchferry-relay courier key` prints the card.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const site = argument(context, 0);
        const keys = listOption(context, 'key');
        for (const key of keys) {
          if (!publicKeyHex.safeParse(key).success)
            throw fault('key', `${JSON.stringify(key)} is no public key`, { where: '--key' });
          checkSigningKey(key);
        }
        const may = listOption(context, 'may');
        const haltOnly = may.length > 0 && may.every((power) => power === 'halt');
        if (keys.length === 0 && !haltOnly) throw fault('key', '--key is missing', { where: '--key' });
        const text = stringify({
          apiVersion: 'patchferry/v1',
          kind: 'SiteDelegation',
          metadata: { name: site },
          spec: {
            site,
            keys: [...keys],
            may: may.length === 0 ? ['narrow-window', 'reject'] : [...may],
            ...(listOption(context, 'relay').length === 0 ? {} : { relays: [...listOption(context, 'relay')] }),
            maxDelayDays: numberOf(context, 'maxDelayDays'),
            minRingPercent: numberOf(context, 'minRingPercent'),
            until: utcSeconds(tools.clock.now() + numberOf(context, 'days') * DAY_MS),
          },
        });
        const [document] = readAuthoredOrThrow(text, '(the delegation as given)');
        return withLock(home, 'site add', () => {
          const file = delegationFile(home, site);
          if (fs.existsSync(file) && !flag(context, 'replace')) throw fault('exists', `${file} is there`, { where: file });
          fs.mkdirSync(join(home.policyFolder, 'sites'), { recursive: true });
          writeFileAtomic(file, text);
          return {
            exit: EXIT.done,
            text: haltOnly
              ? `wrote ${file}\nNext: publisher publish (with the policy keys); then the site’s relays sync`
              : `wrote ${file}\nNext: publisher publish (with the targets keys); then the site signs: publisher site overlay sign`,
            report: { schema: 'patchferry/site', schemaVersion: 1, site, delegation: document, file },
          };
        });
      },
    },
    {
      name: 'site list',
      summary: 'List sites: what each may do, how many hosts stand there, what its overlay does',
      examples: [{ line: 'publisher site list', says: 'A row for each site of the policy.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const at = tools.clock.now();
        const agents = readRoster(home.rosterFile).agents.filter(({ status }) => status === 'approved');
        const sites = delegationsOf(home, at).map((delegation) => {
          const taken = takenOverlay(home, delegation.site);
          const overlay = taken === undefined ? null : stateOf(() => openOverlay(taken, delegation, at));
          return { ...delegation, hosts: agents.filter(({ site }) => site === delegation.site).length, overlay };
        });
        return {
          exit: EXIT.done,
          text:
            sites.length === 0
              ? 'no site has a delegation; `publisher site add --help` has an example'
              : table(
                  ['SITE', 'HOSTS', 'MAY', 'UNTIL', 'OVERLAY'],
                  sites.map(({ site, hosts, may, until, overlay }) => [
                    site,
                    String(hosts),
                    may.join(', '),
                    until,
                    overlay?.says ?? 'none',
                  ]),
                ),
          report: { schema: 'patchferry/sites', schemaVersion: 1, sites },
        };
      },
    },
    {
      name: 'site remove',
      summary: 'Take a site’s delegation back; its overlay counts no more after the next publish',
      args: [{ name: '<site>', says: 'name of the site' }],
      examples: [{ line: 'publisher site remove ship-7 && publisher publish', says: 'Needs the targets keys.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const site = argument(context, 0);
        return withLock(home, 'site remove', () => {
          const file = delegationFile(home, site);
          if (!fs.existsSync(file)) throw fault('unknown', `there is no ${file}`, { where: file });
          fs.rmSync(file);
          dropOverlay(home, site);
          return {
            exit: EXIT.done,
            text: `removed ${file}\nNext: publisher publish (with the targets keys)`,
            report: { schema: 'patchferry/site', schemaVersion: 1, site, delegation: null, file },
          };
        });
      },
    },
    {
      name: 'site overlay sign',
      summary:
        'At the site: check an overlay against the delegation that is published, and sign it with the site’s key; needs no home',
      args: [{ name: '<overlay>', says: 'YAML with one document of kind SiteOverlay' }],
      options: [
        { flags: '--key <file>', says: 'the key file of the site', required: true },
        { flags: '--repository <repository>', says: 'URL or folder of a relay or of the publisher', required: true },
        { flags: '--root <file>', says: 'the public root to start from (root.json)', required: true },
        { flags: '-o, --output <file>', says: 'what is handed to the publisher', required: true },
        { flags: '--days <number>', says: 'how long the signature holds, at most as long as the delegation', fallback: '180' },
        PASSPHRASE_OPTION,
      ],
      examples: [
        {
          line: 'publisher site overlay sign ship-7.yaml --key ship-7.key --repository http://relay.example:8080/ --root root.json -o ship-7.overlay',
          says: 'What would widen, or goes beyond a bound, is refused with the bound named. Hand the file to the publisher.',
        },
      ],
      async run(context) {
        const authored = readOverlay(argument(context, 0));
        const { site } = authored.spec;
        const { delegation, version } = await publishedSite(context, site);
        const signer = await fileSigner(textOption(context, 'key') ?? '', () => passphraseOf(context, tools).existing());
        const now = tools.clock.now();
        const expires = Math.min(now + numberOf(context, 'days') * DAY_MS, Date.parse(delegation.until));
        const signed = await signOverlay(authored, delegation, signer, { version: version + 1, expires, now });
        const output = textOption(context, 'output') ?? '';
        writeSignedOverlay(output, signed);
        return {
          exit: EXIT.done,
          text: `overlay ${version + 1} of ${site} signed until ${utcSeconds(expires)}, written to ${output}\nNext, at the publisher: publisher site overlay take ${output} && publisher publish`,
          report: {
            schema: 'patchferry/site-overlay-change',
            schemaVersion: 1,
            site,
            version: version + 1,
            expires: utcSeconds(expires),
            output,
          },
        };
      },
    },
    {
      name: 'site overlay take',
      summary: 'At the publisher: check a signed overlay and keep it for the next publish',
      args: [{ name: '<file>', says: 'what the site handed over' }],
      examples: [
        {
          line: 'publisher site overlay take ship-7.overlay && publisher publish',
          says: 'Needs no key of policy: the site has signed it.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const file = readSignedOverlay(argument(context, 0));
        return withLock(home, 'site overlay take', () => {
          const at = tools.clock.now();
          const delegations = delegationsOf(home, at);
          const delegation = delegations.find(({ site }) => site === file.site);
          if (delegation === undefined) {
            const names = delegations.map(({ site }) => site);
            throw fault('unknown', `site ${file.site} has no delegation${suggestion(file.site, names)}`, { where: file.site });
          }
          const opened = openOverlay(file, delegation, at);
          keepOverlay(home, file);
          const expires = utcSeconds(opened.expires);
          return {
            exit: EXIT.done,
            text: `overlay ${opened.version} of ${opened.site} is kept; its signature holds until ${expires}\nNext: publisher publish`,
            report: {
              schema: 'patchferry/site-overlay-change',
              schemaVersion: 1,
              site: opened.site,
              version: opened.version,
              expires,
              output: null,
            },
          };
        });
      },
    },
  ];

  async function publishedSite(
    context: CommandContext,
    site: string,
  ): Promise<{ delegation: SignedDelegation; version: number }> {
    const rootFile = textOption(context, 'root') ?? '';
    const root = readFileBounded(rootFile, TRUST_LIMITS.rootBytes);
    if (root === undefined) throw fault('no-root', `there is no ${rootFile}`, { where: rootFile });
    const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-site-'));
    const origin = openOrigin(textOption(context, 'repository') ?? '');
    try {
      const trust = openTrust({ folder, pinnedRoot: root, now: () => tools.clock.now() });
      await trust.refresh(origin, context.signal);
      const path = `policy/sites/${site}.json.zst`;
      if (trust.target(path) === undefined)
        throw fault('unknown', `no delegation for site ${site} is published`, { where: path });
      const delegation = decodeDocument('site-delegation', await trust.readTarget(path, origin, context.signal), path);
      const listed = trust.metadataFiles().find(({ name }) => name.endsWith('snapshot.json'));
      const meta = listed === undefined ? undefined : readAny(listed.bytes).signed;
      const before = meta !== undefined && 'meta' in meta ? meta.meta.get(siteRole(site)) : undefined;
      return { delegation, version: before?.version ?? 0 };
    } finally {
      await origin.close();
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }
}

function delegationsOf(home: PublisherHome, at: number): SignedDelegation[] {
  return [...policyOf(home).delegations.values()].map(({ document }) => signedDelegationOf(document, at));
}

function stateOf(open: () => ReturnType<typeof openOverlay>): { holds: boolean; says: string } {
  try {
    const { version, expires, overlay } = open();
    const parts = [
      counted(overlay.windows.length, 'window'),
      counted(overlay.reject.length, 'rejection'),
      ...(overlay.delayDays > 0 ? [`delay of ${counted(overlay.delayDays, 'day')}`] : []),
    ];
    return { holds: true, says: `version ${version} until ${utcSeconds(expires)}: ${parts.join(', ')}` };
  } catch (error) {
    return { holds: false, says: (error as Error).message };
  }
}

/** @throws site.file, policy.invalid */
function readOverlay(file: string): SiteOverlay {
  const bytes = readFileBounded(file, AUTHORED_LIMITS.fileBytes);
  if (bytes === undefined) throw fault('file', `there is no ${file}`, { where: file });
  const overlays = readAuthoredOrThrow(Buffer.from(bytes).toString('utf8'), file).filter((one) => one.kind === 'SiteOverlay');
  const [document] = overlays;
  if (document === undefined || overlays.length > 1)
    throw fault('file', `${file} does not hold exactly one SiteOverlay`, { where: file });
  return document;
}

function numberOf(context: CommandContext, option: string): number {
  const text = textOption(context, option) ?? '';
  if (!/^\d{1,4}$/.test(text)) throw fault('number', `${JSON.stringify(text)} is no number`, { where: option });
  return Number(text);
}
