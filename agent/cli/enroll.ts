// `enroll`: own keys, the repository verified with the pinned root, one sealed request. Twice is as good as once.
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import { settingsFrom } from './frame.ts';

export async function enroll(context: CommandContext): Promise<Outcome> {
  const [service, outbox, poll, { silentLog }, { openJournal }] = await Promise.all([
    import('../service/index.ts'),
    import('../outbox/index.ts'),
    import('../poll/index.ts'),
    import('#manifests/platform/log'),
    import('../run/index.ts'),
  ]);
  const { options, signal } = context;
  const relays = (options['relay'] as readonly string[]).map(String);
  const given = await settingsFrom({ options: { ...options, relays } });
  const settings = { ...given, ...(typeof options['root'] === 'string' ? { rootFile: options['root'] } : {}) };
  const code = String(options['code']);
  outbox.parseCode(code); // a mistyped code is told before anything is made
  const places = service.placesOf(settings);
  fs.mkdirSync(settings.stateDir, { recursive: true, mode: 0o700 });
  const lock = takeLock(places.lock, 'agent enroll');
  const origins = await service.openRelayOrigins({ ...settings, relays }, { clock: systemClock, log: silentLog });
  try {
    const now = systemClock.now();
    const trust = service.openAgentTrust(settings, systemClock);
    const keys = await outbox.ensureKeys(places.keys);
    using journal = openJournal(places.journal, { now });
    const documents = poll.openDocuments(places.documents);
    context.say('verifying the repository with the pinned root …');
    const known = poll.openRelays({
      origins,
      notes: journal,
      agent: keys.id,
      clock: systemClock,
      choice: settings.relayChoice,
    });
    const synced = await poll.syncOnce({
      relays: known,
      trust,
      documents,
      agent: keys.id,
      eager: true,
      keep: [],
      signal,
    });
    if (synced.kind !== 'synced' && synced.kind !== 'behind') {
      if (synced.kind === 'paused') throw new TypeError('an eager sync does not pause');
      throw synced.error;
    }
    const view = documents.view(keys.id);
    const report = (state: string, says: string) => ({
      schema: 'patchferry/agent-enroll',
      schemaVersion: 1,
      agent: keys.id,
      state,
      says,
    });
    if (view.standing === 'approved') {
      const says = `this host is enrolled: agent ${keys.id}, group ${view.member?.group ?? ''}`;
      return { exit: EXIT.current, text: says, report: report('approved', says) };
    }
    const enrolment = outbox.prepareEnrolment({
      stateDir: settings.stateDir,
      keys,
      code,
      title: settings.title ?? hostname(),
      relays,
      recipients: view.recipients,
      inventory: await service.inventoryOf(settings, systemClock),
      trustedNow: trust.freshness().trustedTime,
      now,
    });
    journal.setMeta('chain.start', enrolment.envelopeSha256);
    const { sent, says } = await outbox.sendEnrolment(settings.stateDir, known.order(true), now, signal);
    const text = sent
      ? `agent ${keys.id} ("${enrolment.title}") waits for approval: ${says}\nthe publisher approves it with: publisher agent approve ${keys.id}`
      : `agent ${keys.id} is prepared, but no relay took the request yet:\n${says}\nit is sent with the next cycle; \`agent export DIR\` writes it for a courier`;
    return { exit: sent ? EXIT.done : EXIT.unreachable, text, report: report(sent ? 'waiting' : 'unsent', says) };
  } finally {
    await Promise.all(origins.map((origin) => origin.close()));
    lock.release();
  }
}
