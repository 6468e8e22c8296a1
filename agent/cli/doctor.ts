// `doctor`: everything that would keep this agent from doing its work, each with what to do about it. Changes nothing.
import * as fs from 'node:fs';
import { EXIT, PatchferryError } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { formatBytes } from '#manifests/platform/progress';
import { OUTBOX_LIMITS } from '../outbox/index.ts';
import type { HostContext, InstallPlan } from '../packages/index.ts';
import { races } from '../prechecks/index.ts';
import { HANDS_NEEDED } from '../run/index.ts';
import { type Agent, type AgentSettings, makeWorld, placesOf } from '../service/index.ts';
import { settingsFrom, withAgent } from './frame.ts';
import { hanging, paint, screenOf } from './screen.ts';

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly says: string;
  readonly next?: string;
}

export async function doctor(context: CommandContext): Promise<Outcome> {
  const checks: Check[] = [];
  const settings = await settingsFrom(context);
  checks.push(...checkFolders(settings), ...(await checkCertificates(settings)));
  try {
    checks.push(...(await withAgent(context, (agent) => checkAgent(agent, context))));
  } catch (error) {
    checks.push(failed('agent', error));
  }
  const wrong = checks.filter(({ ok }) => !ok);
  const screen = screenOf(process.stdout, process.env);
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, ok, says, next }) => {
    const word = (ok ? 'ok' : 'WRONG').padEnd(5);
    const text = hanging(screen, `${word}  ${name.padEnd(width)}  `, says).slice(word.length);
    return [
      `${paint(screen, ok ? 'good' : 'bad', word)}${text}`,
      ...(ok || next === undefined ? [] : [hanging(screen, `${' '.repeat(7 + width + 2)}-> `, next)]),
    ];
  });
  const end =
    wrong.length === 0 ? 'nothing keeps this agent from working' : `to put right: ${wrong.map(({ name }) => name).join(', ')}`;
  return {
    exit: wrong.length === 0 ? EXIT.done : EXIT.findings,
    text: [...lines, paint(screen, wrong.length === 0 ? 'good' : 'bad', end)].join('\n'),
    report: { schema: 'patchferry/agent-doctor', schemaVersion: 1, checks },
  };
}

function failed(name: string, error: unknown): Check {
  const next = error instanceof PatchferryError ? { next: error.next } : {};
  return { name, ok: false, says: error instanceof Error ? error.message : String(error), ...next };
}

function checkFolders(settings: AgentSettings): Check[] {
  const { keys } = placesOf(settings);
  const checks: Check[] = [];
  for (const folder of [settings.stateDir, settings.cacheDir]) {
    const there = fs.existsSync(folder);
    if (!there) continue;
    try {
      fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK);
      const { bavail, bsize } = fs.statfsSync(folder);
      const free = bavail * bsize;
      const ok = free > 64 * 1024 * 1024;
      checks.push({
        name: 'folder',
        ok,
        says: `${folder}: ${formatBytes(free)} free`,
        next: 'Make room, or move it with --state-dir or --cache-dir.',
      });
    } catch (error) {
      checks.push(failed('folder', error));
    }
  }
  for (const name of fs.existsSync(keys) ? fs.readdirSync(keys) : []) {
    const mode = fs.statSync(`${keys}/${name}`).mode & 0o777;
    const ok = (mode & 0o077) === 0;
    checks.push({ name: 'key', ok, says: `${name} has mode ${mode.toString(8)}`, next: `chmod 600 ${keys}/${name}` });
  }
  return checks;
}

/** The CAs and the certificate that the settings name; nothing where they name none. */
async function checkCertificates({ relayTls }: AgentSettings): Promise<Check[]> {
  if (Object.keys(relayTls).length === 0) return [];
  const { inspectTls } = await import('#manifests/transfer');
  return inspectTls(relayTls, systemClock.now(), 'this host').map((finding) => ({ name: 'certificate', ...finding }));
}

async function checkAgent(agent: Agent, context: CommandContext): Promise<Check[]> {
  const { keys, trust, documents, journal, hands, settings } = agent;
  const checks: Check[] = [];
  if (keys === undefined) {
    return [
      {
        name: 'enrolment',
        ok: false,
        says: 'this host is not enrolled',
        next: 'agent enroll --code CODE --relay URL --root root.json',
      },
    ];
  }
  const view = documents.view(keys.id);
  checks.push({
    name: 'enrolment',
    ok: view.standing === 'approved',
    says:
      view.standing === 'approved'
        ? `agent ${keys.id}, group ${view.member?.group ?? ''}`
        : view.standing === 'revoked'
          ? `agent ${keys.id} was revoked: it installs nothing`
          : `agent ${keys.id} waits for approval`,
    next:
      view.standing === 'revoked'
        ? 'Ask the publisher why; a host that comes back is enrolled anew.'
        : `At the publisher, once its request has arrived: publisher agent approve ${keys.id}`,
  });
  const { hardExpired, softExpired, expires, since, clock } = trust.freshness();
  checks.push({
    name: 'documents',
    ok: !hardExpired && !softExpired,
    says: hardExpired || softExpired ? `expired or stale since ${since ?? 'an unknown moment'}` : `good until ${expires}`,
    next: 'Let a relay (or a courier) bring newer ones; the publisher has to sign in time.',
  });
  checks.push({
    name: 'clock',
    ok: clock === 'ok',
    says: clock === 'ok' ? 'agrees with signed times' : `is ${clock} of what signatures prove`,
    next: 'Set the clock right; enrolling anew is not needed.',
  });
  checks.push(...(await checkRelays(agent, context)));
  const handsNeeded = journal.meta(HANDS_NEEDED);
  checks.push({
    name: 'rollback',
    ok: handsNeeded === undefined,
    says: handsNeeded === undefined ? 'no rollback has failed' : `the rollback of run ${handsNeeded} failed`,
    next: 'Look at the host by hand, then: agent once --retry',
  });
  const waiting = agent.outbox?.status();
  checks.push({
    name: 'outbox',
    ok: (waiting?.bytes ?? 0) < OUTBOX_LIMITS.warnBytes,
    says: `${waiting?.waiting ?? 0} results wait, ${formatBytes(waiting?.bytes ?? 0)}`,
    next: 'Results stay until an ack covers them: let them reach the publisher (a relay, or agent export DIR).',
  });
  const world = makeWorld(agent, () => view, { signal: context.signal, say: () => undefined });
  const host = world.context('doctor', [], context.signal);
  const [here, absent]: [string[], string[]] = [[], []];
  for (const [format, system] of Object.entries(hands.systems)) {
    const there = await system.available(host);
    (there ? here : absent).push(format);
    const wrong = there ? await system.audit(host) : [];
    if (wrong.length === 0) continue;
    checks.push({
      name: 'packages',
      ok: false,
      says: `${format}: ${wrong.join('; ')}`,
      next: 'Put the package database right by hand (dpkg --configure -a, apt-get -f install), or let the group name the fix configure-packages.',
    });
  }
  const others = absent.length === 0 ? '' : ` (not on this host: ${absent.join(', ')})`;
  checks.push({ name: 'packages', ok: true, says: `can install ${here.join(', ')}${others}` });
  const racing = (await hands.updaters.find()).filter(races).map(({ unit }) => unit);
  checks.push({
    name: 'updaters',
    ok: true,
    says:
      racing.length === 0
        ? 'no updater of the distribution is switched on'
        : `${racing.join(', ')} may install by itself; the group's otherUpdaters: take-over switches it off`,
  });
  checks.push(...(await checkWays(agent, host, here)));
  fs.rmSync(host.workFolder, { recursive: true, force: true });
  if (process.getuid?.() !== 0 && settings.archiveRoot.startsWith('/opt')) {
    checks.push({ name: 'user', ok: true, says: 'not root: packages of the system cannot be installed, own components can' });
  }
  return checks;
}

/** By which way packages of the system could be taken back here, asked with a plan that changes nothing. */
async function checkWays({ hands }: Agent, host: HostContext, here: readonly string[]): Promise<Check[]> {
  const format = (['deb', 'rpm'] as const).find((one) => here.includes(one));
  if (format === undefined) return [];
  const empty = { items: [], newPackages: [], removals: [], keptBack: [], payloads: [], changes: [], touches: [] };
  const plan: InstallPlan = { format, ...empty, refused: null, diskBytes: 0 };
  const reasons: string[] = [];
  for (const way of hands.ways) {
    const { possible, says } = await way.assess([plan], host);
    if (possible) return [{ name: 'way back', ok: true, says: `by ${way.kind}: ${says}` }];
    reasons.push(`${way.kind}: ${says}`);
  }
  const next = 'Make room for copies, or put the root on btrfs, thin LVM or ZFS.';
  return [{ name: 'way back', ok: false, says: `none is possible: ${reasons.join('; ')}`, next }];
}

/** Each relay is asked now; which one is used first, and why, is told with it. */
async function checkRelays({ relays, line }: Agent, { signal }: CommandContext): Promise<Check[]> {
  const { why, relays: known } = relays.report();
  const checks: Check[] = [];
  if (known.length === 0)
    checks.push({ name: 'relay', ok: false, says: 'none is known', next: 'Name one in agent.yaml (relays:).' });
  for (const origin of relays.origins) {
    const use = known.find(({ relay }) => relay === origin.name);
    const role = use?.first === true ? `; asked first: ${why}` : use?.restsUntil ? `; rests until ${use.restsUntil}` : '';
    try {
      const found = await origin.fetchSmall('metadata/timestamp.json', { limitBytes: 65_536, signal });
      const says = found.kind === 'missing' ? 'holds no repository' : 'answers';
      checks.push({
        name: 'relay',
        ok: found.kind !== 'missing',
        says: `${origin.name} ${says}${role}`,
        next: 'Let it sync first, or name another one.',
      });
    } catch (error) {
      const check = failed('relay', error);
      checks.push({ ...check, says: `${check.says}${role}` });
    }
  }
  const lines = known.filter(({ relay }) => /^https?:/.test(relay));
  if (lines.length > 0 && !lines.some(({ takesResults }) => takesResults)) {
    const next = 'Name a relay that takes results too, or bring them with `agent export DIR`.';
    checks.push({ name: 'relay', ok: false, says: 'none of them takes results', next });
  }
  checks.push({ name: 'line', ok: true, says: (await line.now(false)).says });
  return checks;
}
