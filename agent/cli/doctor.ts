// `doctor`: everything that would keep this agent from doing its work, each with what to do about it. Changes nothing.
import * as fs from 'node:fs';
import { EXIT, PatchferryError } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { formatBytes } from '#manifests/platform/progress';
import { OUTBOX_LIMITS } from '../outbox/index.ts';
import { races } from '../prechecks/index.ts';
import { HANDS_NEEDED } from '../run/index.ts';
import { type Agent, type AgentSettings, makeWorld, placesOf } from '../service/index.ts';
import { settingsFrom, table, withAgent } from './frame.ts';

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
  const rows = checks.flatMap(({ name, ok, says, next }) => [
    [ok ? 'ok' : 'WRONG', name, says],
    ...(ok || next === undefined ? [] : [['', '', `-> ${next}`]]),
  ]);
  return {
    exit: wrong.length === 0 ? EXIT.done : EXIT.findings,
    text: table(rows),
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
        : `agent ${keys.id} is ${view.standing}`,
    next: `The publisher approves it: publisher agent approve ${keys.id}`,
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
    says: `the host's clock is ${clock}`,
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
  for (const [format, system] of Object.entries(hands.systems)) {
    if (!(await system.available(host))) {
      checks.push({ name: 'packages', ok: true, says: `${format}: not on this host` });
      continue;
    }
    const wrong = await system.audit(host);
    checks.push({
      name: 'packages',
      ok: wrong.length === 0,
      says: wrong.length === 0 ? `${format}: healthy` : `${format}: ${wrong.join('; ')}`,
      next: 'Put the package database right by hand (dpkg --configure -a, apt-get -f install).',
    });
  }
  const racing = (await hands.updaters.find()).filter(races).map(({ unit }) => unit);
  checks.push({
    name: 'updaters',
    ok: true,
    says:
      racing.length === 0
        ? 'no updater of the distribution is switched on'
        : `${racing.join(', ')} may install by itself; the group's otherUpdaters: take-over switches it off`,
  });
  for (const way of hands.ways) {
    const { says } = await way.assess([], host);
    checks.push({ name: 'way back', ok: true, says: `${way.kind}: ${says}` });
  }
  fs.rmSync(host.workFolder, { recursive: true, force: true });
  if (process.getuid?.() !== 0 && settings.archiveRoot.startsWith('/opt')) {
    checks.push({ name: 'user', ok: true, says: 'not root: packages of the system cannot be installed, own components can' });
  }
  return checks;
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
