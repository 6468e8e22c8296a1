// `run` and `sync`: the commands that bring things here and on.
import { EXIT, isFault } from '#manifests/errors';
import { several } from '#manifests/page';
import type { CommandSpec } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { createLog, silentLog } from '#manifests/platform/log';
import { formatBytes } from '#manifests/platform/progress';
import { openOrigin } from '#manifests/transfer';
import { counted, openLine } from '../line.ts';
import { summaryOf, syncMirror } from '../mirror/index.ts';
import { startRelay } from '../run.ts';
import { foldersOf, quotaBytesOf, settingsOf } from '../settings.ts';
import { noteFetchedByHand } from '../site/index.ts';
import { noteSync } from '../status.ts';

export const run: CommandSpec = {
  name: 'run',
  summary: 'serve, sync now and then, take results in and bring them on; until SIGTERM',
  options: [
    { flags: '--listen <host:port>', says: 'where to serve; port 0 takes a free one' },
    { flags: '--sync-every <minutes>', says: 'minutes between two syncs' },
    { flags: '--drop-folder <folder>', says: 'watch this folder for bundles' },
    { flags: '--inbox-forward <place>', says: 'relay or inbox folder for results; may be given several times', many: true },
  ],
  examples: [
    { line: 'patchferry-relay run', says: 'with the settings in /etc/patchferry/relay.yaml' },
    {
      line: 'patchferry-relay run --upstream ./repository --upstream-root ./root.json --listen 127.0.0.1:8480 --state-dir ./s --cache-dir ./c',
      says: 'unprivileged in a folder, to try it out',
    },
  ],
  async run(context) {
    const settings = settingsOf(context);
    const relay = await startRelay(settings, { log: createLog('relay', settings.logLevel) });
    context.say(`serving at ${relay.url}`);
    await new Promise<void>((resolve) => {
      if (context.signal.aborted) resolve();
      context.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await relay.stop();
    return {
      exit: EXIT.done,
      text: '',
      report: { schema: 'patchferry/relay-run', schemaVersion: 1, url: relay.url, ended: 'stopped' },
    };
  },
};

export const sync: CommandSpec = {
  name: 'sync',
  summary: 'bring the mirror to the state of the upstream, once',
  examples: [
    { line: 'patchferry-relay sync', says: 'exit 0: a new generation is served; exit 3: nothing was new' },
    {
      line: 'patchferry-relay sync --upstream /media/stick/repository --json',
      says: 'from a folder, with a report for programs',
    },
  ],
  async run(context) {
    const settings = settingsOf(context);
    const folders = foldersOf(settings);
    const log = settings.logLevel === 'debug' ? createLog('relay', 'debug') : silentLog;
    const line = openLine(settings, systemClock, log);
    let fetched = 0;
    const origins = settings.upstream.map((place) => counted(openOrigin(place, line.origin), (bytes) => (fetched += bytes)));
    let shown: ReturnType<typeof context.progress> | undefined;
    try {
      const report = await syncMirror({
        ...folders,
        origins,
        pinnedRoot: settings.upstreamRoot,
        payloads: settings.payloads,
        products: settings.products,
        quotaBytes: quotaBytesOf(settings),
        payloadsNow: line.payloadsNow,
        clock: systemClock,
        log,
        signal: context.signal,
        onProgress: (done, total) => {
          shown ??= context.progress('payloads, bytes', total);
          shown.at(done);
        },
      });
      shown?.end();
      noteSync(folders.status, systemClock.now(), report);
      for (const { origin, code, message } of report.failures) context.say(`passed over ${origin}: ${message} (${code})`);
      const { generation } = report;
      const what = `generation ${generation.number} (timestamp ${generation.versions.timestamp}), ${generation.payloadCount} payloads, ${formatBytes(generation.payloadBytes)}`;
      const text = report.changed
        ? `now at ${what}\nfetched ${several(report.fetchedDocuments, 'document')} and ${several(report.fetchedPayloads, 'payload')} from ${report.origin}`
        : `nothing new at ${report.origin}; still at ${what}`;
      return {
        exit: report.changed ? EXIT.done : EXIT.current,
        text:
          generation.absent === 0
            ? text
            : `${text}\n${generation.absent} payloads that a baseline names are not at the upstream`,
        report: { schema: 'patchferry/relay-sync', schemaVersion: 1, ...report, generation: summaryOf(generation) },
      };
    } catch (error) {
      shown?.end('not finished');
      if (!isFault(error, 'lock.held')) noteSync(folders.status, systemClock.now(), { error });
      throw error;
    } finally {
      noteFetchedByHand(folders.observed, fetched, systemClock.now());
      await Promise.all(origins.map((origin) => origin.close()));
    }
  },
};
