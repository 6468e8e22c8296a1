// `waiver`: exceptions that owners ask for or people write, approved by signatures of several, published, ended.
import * as fs from 'node:fs';
import { stringify } from 'yaml';
import { waiverBytes } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { AUTHORED_LIMITS, canonicalJson, readAuthoredOrThrow, suggestion, type Waiver } from '#manifests/schema';
import { fileSigner } from '#manifests/trust';
import type { PublisherHome } from '../home.ts';
import type { WaiverRequest } from '../results/index.ts';
import { personKeyFile } from '../sign/index.ts';
import {
  forgetRevoked,
  readApprovals,
  revokeFile,
  type WaiverState,
  waiverFile,
  waiverState,
  writeAnswer,
  writeApprovals,
} from '../waivers/index.ts';
import { argument, flag, homeOf, PASSPHRASE_OPTION, passphraseOf, type Tools, textOption, withLock } from './common.ts';
import { type Exceptions, groupsFor, readExceptions } from './exceptions.ts';
import { listText, nameOfRequest, reportOf, showText } from './waiver-text.ts';

const fault = defineFaults('waiver', {
  unknown: {
    exit: EXIT.usage,
    next: '`publisher waiver list` names requests and waivers; the first digits of a request are enough.',
  },
  exists: { exit: EXIT.usage, next: 'Take another name (--name), or revoke that one first.' },
  file: {
    exit: EXIT.usage,
    next: 'Give a YAML file with one document of kind Waiver; manifests/examples/exceptions.yaml shows one.',
  },
  'too-long': { exit: EXIT.usage, next: 'Bring `until` nearer; the group says maxDays under spec.waivers.' },
  'no-policy': {
    exit: EXIT.usage,
    next: 'Let the group say who approves: spec.waivers with approvers, threshold and maxDays.',
  },
  'not-approver': { exit: EXIT.refused, next: 'Its public key must stand under spec.waivers.approvers of the group.' },
  'no-key': { exit: EXIT.usage, next: 'Name the key: --as NAME for keys/people/NAME.key, or --key FILE.' },
  reason: { exit: EXIT.usage, next: 'Give --reason TEXT; the owner of the host reads it.' },
  'in-force': { exit: EXIT.usage, next: 'End it early with `publisher waiver revoke`.' },
  authored: { exit: EXIT.usage, next: 'Take it out of that file, then run `publisher publish`.' },
});

export function waiverCommands(tools: Tools): CommandSpec[] {
  const openAll = (home: PublisherHome) => readExceptions(home, tools.clock.now());
  return [
    {
      name: 'waiver list',
      summary: 'List requests of owners and waivers: open, pending, coming, active, expired, revoked, rejected',
      options: [{ flags: '--open', says: 'only what waits for somebody: requests and pending waivers' }],
      examples: [
        { line: 'publisher collect && publisher waiver list', says: 'What owners ask for, and what is excepted until when.' },
        { line: 'publisher waiver list --open', says: 'What waits for approvers. Exit 1 when something does, 0 else.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const exceptions = openAll(home);
        const open = flag(context, 'open');
        const waits = exceptions.requests.length + exceptions.states.filter(({ standing }) => standing === 'pending').length;
        return {
          exit: open && waits > 0 ? EXIT.findings : EXIT.done,
          text: listText(exceptions, open),
          report: { schema: 'patchferry/waivers', schemaVersion: 1, ...reportOf(exceptions, open) },
        };
      },
    },
    {
      name: 'waiver show',
      summary: 'Everything about one waiver or request: what, where, until when, who has signed, what is still needed',
      args: [{ name: '<waiver>', says: 'name of a waiver, or the first digits of a request' }],
      examples: [{ line: 'publisher waiver show till-openssl', says: 'Also what each group says of it.' }],
      async run(context) {
        const home = homeOf(context, tools);
        const exceptions = openAll(home);
        const found = find(exceptions, argument(context, 0));
        return {
          exit: EXIT.done,
          text: showText(found),
          report: {
            schema: 'patchferry/waiver',
            schemaVersion: 1,
            request: found.request ?? null,
            waiver: found.state ?? null,
          },
        };
      },
    },
    {
      name: 'waiver add',
      summary: 'Take in a waiver that was written here; it is pending until its approvers have signed',
      args: [{ name: '<file>', says: 'YAML with one document of kind Waiver' }],
      examples: [
        {
          line: 'publisher waiver add till-openssl.yaml',
          says: 'Checked against the groups it is about: how long, who approves.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const document = readWaiver(argument(context, 0));
        return withLock(home, 'waiver add', () => {
          const exceptions = openAll(home);
          checkNew(exceptions, document);
          const state = waiverState(
            document,
            { requestedBy: null, request: null, approvals: [] },
            groupsFor(exceptions, document),
            tools.clock.now(),
          );
          checkBounds(state);
          writeAuthored(home, document);
          return outcome(state, [`${document.metadata.name} is pending: publisher waiver approve ${document.metadata.name}`]);
        });
      },
    },
    {
      name: 'waiver approve',
      summary: 'Sign a waiver, or an owner’s request, with your own key; it counts once enough approvers have',
      args: [{ name: '<waiver>', says: 'name of a waiver, or the first digits of a request' }],
      options: [
        { flags: '--as <name>', says: 'sign with the key of this person: keys/people/NAME.key of the home' },
        { flags: '--key <file>', says: 'sign with this key file, kept elsewhere' },
        {
          flags: '--name <name>',
          says: 'a request: name of the waiver it becomes; made from what it is about and its id unless told',
        },
        { flags: '--until <moment>', says: 'a request: an earlier end than asked for (2026-01-31T00:00:00Z)' },
        PASSPHRASE_OPTION,
      ],
      examples: [
        {
          line: 'publisher waiver approve 3f2a --as anna',
          says: 'A request becomes a waiver; a second approver signs it by its name.',
        },
        { line: 'publisher waiver approve till-openssl --key /media/token/ben.key', says: 'The second signature.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        return withLock(home, 'waiver approve', () => approve(context, home));
      },
    },
    {
      name: 'waiver reject',
      summary: 'Say no to a request or to a waiver that is still pending; the owner sees the reason on the host',
      args: [{ name: '<waiver>', says: 'name of a waiver, or the first digits of a request' }],
      options: [{ flags: '--reason <text>', says: 'what the owner is told (needed)' }],
      examples: [
        {
          line: 'publisher waiver reject 3f2a --reason "the vendor has certified it since"',
          says: 'Told with the next publish.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const reason = reasonOf(context);
        return withLock(home, 'waiver reject', () => {
          const { request, state } = find(openAll(home), argument(context, 0));
          const at = utcSeconds(tools.clock.now());
          if (state !== undefined) {
            if (state.standing !== 'pending') throw fault('in-force', `waiver ${state.waiver.name} is ${state.standing}`);
            checkOwnFile(home, state);
            if (state.request !== null && state.waiver.requestedBy !== null)
              writeAnswer(home.waiversFolder, {
                request: state.request,
                agent: state.waiver.requestedBy,
                decision: 'rejected',
                waiver: null,
                reason,
                at,
              });
            revokeFile(home.waiversFolder, { at, reason, waiver: state.waiver });
          } else if (request !== undefined) {
            const { agent, body } = request;
            writeAnswer(home.waiversFolder, { request: body.request, agent, decision: 'rejected', waiver: null, reason, at });
          }
          const name = state?.waiver.name ?? request?.body.request ?? '';
          return {
            exit: EXIT.done,
            text: `${name} rejected: ${reason}\nThe owner sees it after the next publish.`,
            report: { schema: 'patchferry/waiver-change', schemaVersion: 1, waiver: name, change: 'rejected', reason },
          };
        });
      },
    },
    {
      name: 'waiver revoke',
      summary: 'End a waiver before its time; hosts count what it covered as missing after the next publish',
      args: [{ name: '<waiver>', says: 'name of a waiver' }],
      options: [{ flags: '--reason <text>', says: 'why (needed); kept with it' }],
      examples: [
        { line: 'publisher waiver revoke till-openssl --reason "exploited since" && publisher publish', says: 'At once.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const reason = reasonOf(context);
        return withLock(home, 'waiver revoke', () => {
          const { state } = find(openAll(home), argument(context, 0));
          if (state === undefined) throw fault('unknown', `"${argument(context, 0)}" is a request; reject it instead`);
          checkOwnFile(home, state);
          revokeFile(home.waiversFolder, { at: utcSeconds(tools.clock.now()), reason, waiver: state.waiver });
          return {
            exit: EXIT.done,
            text: `waiver ${state.waiver.name} ended: ${reason}\nNext: publisher publish`,
            report: {
              schema: 'patchferry/waiver-change',
              schemaVersion: 1,
              waiver: state.waiver.name,
              change: 'revoked',
              reason,
            },
          };
        });
      },
    },
  ];

  async function approve(context: CommandContext, home: PublisherHome) {
    const exceptions = openAll(home);
    const found = find(exceptions, argument(context, 0));
    const now = tools.clock.now();
    const fresh = found.request === undefined ? undefined : documentOf(found.request, context, exceptions);
    if (fresh !== undefined) checkNew(exceptions, fresh);
    const document = fresh ?? exceptions.documents.get(found.state?.waiver.name ?? '');
    if (document === undefined) throw fault('unknown', `nothing is named "${argument(context, 0)}"`);
    const name = document.metadata.name;
    const before =
      found.request === undefined
        ? readApprovals(home.waiversFolder, name)
        : { requestedBy: found.request.agent, request: found.request.body.request, approvals: [] };
    const groups = groupsFor(exceptions, document);
    const unsigned = waiverState(document, before, groups, now);
    checkBounds(unsigned);
    const signer = await signerOf(context, home);
    const { public: publicKey } = signer.key.keyval;
    const approver = groups.flatMap(({ policy }) => policy?.approvers ?? []).find((one) => one.publicKey === publicKey);
    if (approver === undefined) {
      const names = groups.map((one) => one.name).join(', ');
      throw fault('not-approver', `key ${publicKey.slice(0, 12)}… is no approver of ${names}`, { where: publicKey });
    }
    const signature = Buffer.from(await signer.sign(waiverBytes(unsigned.waiver))).toString('hex');
    const approvals = [
      ...before.approvals.filter((one) => one.publicKey !== publicKey),
      { approver: approver.name, publicKey, at: utcSeconds(now), signature },
    ];
    if (fresh !== undefined) writeAuthored(home, fresh);
    writeApprovals(home.waiversFolder, name, { ...before, approvals });
    const state = waiverState(document, { ...before, approvals }, groups, now);
    const lines = [
      `${approver.name} has signed ${name}`,
      ...state.verdicts.map(({ group, says }) => `group ${group}: ${says}`),
      state.standing === 'pending'
        ? `it is pending until enough approvers have signed: publisher waiver approve ${name}`
        : 'Next: publisher publish',
    ];
    return outcome(state, lines);
  }

  async function signerOf(context: CommandContext, home: PublisherHome) {
    const person = textOption(context, 'as');
    const file = textOption(context, 'key') ?? (person === undefined ? undefined : personKeyFile(home, person));
    if (file === undefined) throw fault('no-key', 'whose signature is it?');
    return fileSigner(file, () => passphraseOf(context, tools).existing());
  }
}

interface Found {
  readonly request?: WaiverRequest;
  readonly state?: WaiverState;
}

/** @throws waiver.unknown */
function find(exceptions: Exceptions, given: string): Found {
  const state = exceptions.states.find(({ waiver }) => waiver.name === given);
  if (state !== undefined) return { state };
  const requests = exceptions.requests.filter(({ body }) => given !== '' && body.request.startsWith(given.toLowerCase()));
  const [request] = requests;
  if (request === undefined || requests.length > 1) {
    const names = exceptions.states.map(({ waiver }) => waiver.name);
    const says = requests.length > 1 ? `${requests.length} requests begin with` : 'there is no waiver and no open request';
    throw fault('unknown', `${says} "${given}"${suggestion(given, names)}`, { where: given });
  }
  return { request };
}

/** The waiver that a request asks for, for that host alone. */
function documentOf({ agent, body }: WaiverRequest, context: CommandContext, exceptions: Exceptions): Waiver {
  const title = exceptions.roster.agents.find(({ id }) => id === agent)?.title ?? agent;
  const [document] = readAuthoredOrThrow(
    stringify({
      apiVersion: 'patchferry/v1',
      kind: 'Waiver',
      metadata: {
        name: textOption(context, 'name') ?? nameOfRequest(body),
        description: `asked for by ${body.requestedBy} on ${title}`.slice(0, 500),
      },
      spec: {
        scope: { agents: [agent] },
        patches: body.patches,
        cves: body.cves,
        from: body.from,
        until: textOption(context, 'until') ?? body.until,
        response: body.response,
        reason: body.reason,
        ...(body.control === null ? {} : { control: body.control }),
      },
    }),
    '(the request)',
  );
  return document as Waiver;
}

/** @throws waiver.file, policy.invalid */
function readWaiver(file: string): Waiver {
  const bytes = readFileBounded(file, AUTHORED_LIMITS.fileBytes);
  if (bytes === undefined) throw fault('file', `there is no ${file}`, { where: file });
  const documents = readAuthoredOrThrow(Buffer.from(bytes).toString('utf8'), file);
  const [document] = documents;
  if (documents.length !== 1 || document?.kind !== 'Waiver')
    throw fault('file', `${file} does not hold exactly one Waiver`, { where: file });
  return document;
}

/** @throws waiver.exists */
function checkNew({ documents }: Exceptions, document: Waiver): void {
  const before = documents.get(document.metadata.name);
  if (before !== undefined && canonicalJson(before) !== canonicalJson(document))
    throw fault('exists', `there is already a waiver "${document.metadata.name}"`, { where: document.metadata.name });
}

/** What no signature could cure is said before anybody signs. @throws waiver.too-long, waiver.no-policy */
function checkBounds({ waiver, verdicts, from, until }: WaiverState): void {
  const { name } = waiver;
  if (!(until > from)) throw fault('too-long', `${name} does not end after it begins`, { where: name });
  const curable = verdicts.some(({ ok, code }) => ok || code === 'too-few-approvers');
  if (curable) return;
  const long = verdicts.find(({ code }) => code === 'too-long');
  if (long !== undefined) throw fault('too-long', `${name}: ${long.says} (group ${long.group})`, { where: name });
  throw fault('no-policy', `no group that ${name} is about takes waivers`, { where: name });
}

/** @throws waiver.authored */
function checkOwnFile(home: PublisherHome, { waiver }: WaiverState): void {
  if (fs.existsSync(waiverFile(home.waiversFolder, waiver.name))) return;
  throw fault('authored', `waiver ${waiver.name} is written in the policy folder, not by these commands`, {
    where: waiver.name,
  });
}

function writeAuthored(home: PublisherHome, document: Waiver): void {
  fs.mkdirSync(home.waiversFolder, { recursive: true });
  writeFileAtomic(waiverFile(home.waiversFolder, document.metadata.name), stringify(document));
  forgetRevoked(home.waiversFolder, document.metadata.name);
}

function reasonOf(context: CommandContext): string {
  const reason = textOption(context, 'reason') ?? '';
  if (reason === '' || reason.length > 500)
    throw fault('reason', 'a reason of at most 500 characters is missing', { where: '--reason' });
  return reason;
}

function outcome(state: WaiverState, lines: readonly string[]) {
  return {
    exit: EXIT.done,
    text: lines.join('\n'),
    report: {
      schema: 'patchferry/waiver-change',
      schemaVersion: 1,
      waiver: state.waiver.name,
      change: state.standing,
      approvers: state.approvers,
      groups: state.verdicts,
    },
  };
}
