// `status`, `verify` and `gc`: what is here, whether it is whole, and what can go.
import { EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { writeFileAtomic } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import { openPayloadStore } from '#manifests/repository';
import { openTrust } from '#manifests/trust';
import { collectGarbage, currentGeneration, mirrorLayout, readStaging, summaryOf, verifyMirror } from '../mirror/index.ts';
import { foldersOf, settingsOf } from '../settings.ts';
import { concernsOf, gatherFacts, renderSite, verifiedText } from '../site/index.ts';
import { readStatus } from '../status.ts';

export const status: CommandSpec = {
  name: 'status',
  summary: 'what is served, how old it is, what waits, what went wrong last',
  options: [{ flags: '--html <file>', says: "write the site's status page into this file too" }],
  examples: [
    { line: 'patchferry-relay status --json', says: 'exit 0: all is well; exit 1: something needs a look' },
    { line: 'patchferry-relay status --html site.html', says: 'the page that the relay serves at /site/, as a file' },
  ],
  run(context) {
    const settings = settingsOf(context);
    const folders = foldersOf(settings);
    const { html } = context.options;
    const facts = gatherFacts({ folders, site: settings.site, verifyEveryDays: settings.verifyEveryDays, clock: systemClock });
    if (typeof html === 'string') writeFileAtomic(html, renderSite(facts));
    const dropped = facts.gaps.reduce((sum, { results }) => sum + results, 0);
    const generation = currentGeneration(mirrorLayout(folders.mirror));
    const last = readStatus(folders.status);
    const { results, enrolments, refused } = facts.waiting;
    const waiting = { results, enrolments, refused };
    const staging = readStaging(folders.staging);
    const freshness =
      generation === undefined ? undefined : openTrust({ folder: folders.trust, now: () => systemClock.now() }).freshness();
    const concerns = concernsOf(facts);
    const lines = [
      generation === undefined
        ? 'generation: none'
        : `generation: ${generation.number} of ${generation.madeAt} from ${generation.from}, products ${generation.products.join(', ') || 'none'}`,
      ...(generation === undefined
        ? []
        : [
            `versions:   root ${generation.versions.root}, timestamp ${generation.versions.timestamp}, snapshot ${generation.versions.snapshot}, targets ${generation.versions.targets}`,
            `payloads:   ${generation.payloadCount} (${formatBytes(generation.payloadBytes)}), setting ${generation.payloads}${notHere(generation)}${besides(folders.mirror, generation)}`,
            `expires:    ${freshness?.expires ?? 'unknown'}`,
          ]),
      `last sync:  ${last.lastGoodSync ?? 'never'}${last.lastSync !== last.lastGoodSync ? ` (tried ${last.lastSync})` : ''}`,
      `waiting:    ${waiting.results} results, ${waiting.enrolments} enrolments`,
      ...facts.fuses.map(
        ({ rollout, state, limit }) =>
          `fuse:       ${rollout}: ${state.failures} of ${state.reports} hosts failed (allowed ${limit})${facts.fuseSays === '' ? '' : `; ${facts.fuseSays}`}`,
      ),
      ...(dropped > 0 ? [`dropped:    ${dropped} results for want of room`] : []),
      `verified:   ${verifiedText(facts.checked)}`,
      ...(staging?.openings ?? []).map(
        ({ group, window, opensAt, payloads, here }) =>
          `staged:     ${here} of ${payloads} payloads for ${group}, window ${window} at ${opensAt}`,
      ),
      ...last.failures.map(({ origin, code, message }) => `failure:    ${origin}: ${message} (${code})`),
      ...concerns.map(({ says, next }) => `look at:    ${says}\n            ${next}`),
    ];
    const summary = generation === undefined ? null : summaryOf(generation);
    return Promise.resolve({
      exit: concerns.length === 0 ? EXIT.done : EXIT.findings,
      text: lines.join('\n'),
      report: {
        schema: 'patchferry/relay-status',
        schemaVersion: 1,
        generation: summary,
        freshness: freshness ?? null,
        lastSync: last.lastSync,
        lastGoodSync: last.lastGoodSync,
        failures: last.failures,
        failuresInARow: last.failuresInARow,
        waiting,
        verified: facts.checked,
        staging,
        fuses: facts.fuses,
        siteHalts: facts.siteHalts,
        dropped: facts.gaps.map(({ title: _title, ...gap }) => gap),
        concerns: concerns.map(({ says }) => says),
      },
    });
  },
};

export const verify: CommandSpec = {
  name: 'verify',
  summary: 'hash everything that is served anew; what is damaged is fetched again by the next sync',
  examples: [{ line: 'patchferry-relay verify', says: 'exit 0: whole; exit 5: something was damaged, and is named' }],
  async run(context) {
    const folders = foldersOf(settingsOf(context));
    const total = currentGeneration(mirrorLayout(folders.mirror))?.payloadBytes;
    const line = context.progress('verified, bytes', total);
    const report = await verifyMirror({
      ...folders,
      now: () => systemClock.now(),
      onProgress: (bytes) => line.at(bytes),
      signal: context.signal,
    });
    line.end();
    const rows = report.bad.map(({ path, says }) => `${path} ${says}`);
    const checked = `generation ${report.generation}: ${report.files} signed files and ${report.payloads} payloads, ${formatBytes(report.bytes)}`;
    return {
      exit: rows.length === 0 ? EXIT.done : EXIT.refused,
      text: rows.length === 0 ? `${checked}: whole` : `${checked}\n${rows.join('\n')}\nrun sync to fetch these again`,
      report: { schema: 'patchferry/relay-verify', schemaVersion: 1, ...report },
    };
  },
};

export const gc: CommandSpec = {
  name: 'gc',
  summary: 'remove old generations, and payloads that no document of a kept one names',
  options: [{ flags: '--dry-run', says: 'say what would go, change nothing' }],
  examples: [{ line: 'patchferry-relay gc --dry-run', says: 'exit 0: something can go; exit 3: there is nothing to do' }],
  run(context) {
    const folders = foldersOf(settingsOf(context));
    const dryRun = context.options['dryRun'] === true;
    const report = collectGarbage({ mirror: folders.mirror, lock: folders.lock, dryRun, now: systemClock.now() });
    const nothing = report.generations.length === 0 && report.payloads === 0;
    const verb = dryRun ? 'would remove' : 'removed';
    return Promise.resolve({
      exit: nothing ? EXIT.current : EXIT.done,
      text: nothing
        ? 'nothing to remove'
        : `${verb} ${report.generations.length} generations and ${report.payloads} payloads (${formatBytes(report.bytes)})`,
      report: { schema: 'patchferry/relay-gc', schemaVersion: 1, dryRun, ...report },
    });
  },
};

/** What lies on disk beside the selection: it came on demand, or was selected before. */
function besides(mirror: string, { payloadCount, payloadBytes }: { payloadCount: number; payloadBytes: number }): string {
  const all = [...openPayloadStore(mirrorLayout(mirror).payloads).list()];
  const more = all.length - payloadCount;
  return more > 0 ? `; ${more} more on disk (${formatBytes(all.reduce((sum, { size }) => sum + size, -payloadBytes))})` : '';
}

/** Payloads that are asked for and are not here, by why. */
function notHere({ absent, waiting, overQuota }: { absent: number; waiting: number; overQuota: number }): string {
  const parts = [
    ...(absent > 0 ? [`${absent} not at the upstream`] : []),
    ...(waiting > 0 ? [`${waiting} wait for a free hour of the line`] : []),
    ...(overQuota > 0 ? [`${overQuota} beyond the quota`] : []),
  ];
  return parts.map((part) => `, ${part}`).join('');
}
