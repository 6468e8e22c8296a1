// `doctor`: what is wrong with this relay, and what to do about it.
import { EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { openLine } from '../line.ts';
import { foldersOf, settingsOf } from '../settings.ts';
import { examine, gatherFacts } from '../site/index.ts';

export const doctor: CommandSpec = {
  name: 'doctor',
  summary: 'looks at disk, clock, upstream, roster, expiry and inbox, and says what to do',
  examples: [{ line: 'patchferry-relay doctor', says: 'exit 0: all is well; exit 1: something needs a look' }],
  async run(context) {
    const settings = settingsOf(context);
    const facts = gatherFacts({ ...settings, folders: foldersOf(settings), clock: systemClock });
    const { tls, upstreamTls } = settings;
    const served = { cert: tls?.cert, key: tls?.key, ca: tls?.clientCa };
    const checks = await examine(facts, {
      ...settings,
      reach: openLine(settings, systemClock, silentLog).origin,
      certificates: [
        { name: 'tls', whose: 'this relay towards its clients', files: served },
        { name: 'upstreamTls', whose: 'this relay towards upstreams', files: upstreamTls },
      ],
      now: systemClock.now(),
      signal: context.signal,
    });
    const lines = checks.map(
      ({ name, state, says, next }) => `${state.padEnd(5)} ${name}: ${says}${next === '' ? '' : `\n      next: ${next}`}`,
    );
    return {
      exit: checks.every(({ state }) => state === 'ok') ? EXIT.done : EXIT.findings,
      text: lines.join('\n'),
      report: { schema: 'patchferry/relay-doctor', schemaVersion: 1, checks },
    };
  },
};
