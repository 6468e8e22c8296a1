// The watched drop folder: whatever is put there is looked at once it has changed, imported, and answered on the same stick.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import type { Log } from '#manifests/platform/log';
import type { RelaySettings } from '../settings.ts';
import { exportReturn } from './export.ts';
import { importBundles } from './import.ts';

export interface Watcher {
  /** Looks once; calls while a look is going on are passed over. Never throws: what happens is logged and noted. */
  look(): Promise<void>;
  /** Resolves when no look is going on. */
  idle(): Promise<void>;
}

const WATCH_LIMITS = {
  /** Milliseconds that a folder with a damaged bundle must have been still before the bundle is put away: nobody is copying. */
  settleMs: 60_000,
} as const;

/** @param signal ends an import between two chunks; it goes on at the next start */
export function watchDropFolder(
  settings: RelaySettings,
  options: { log: Log; signal: AbortSignal; settleMs?: number },
): Watcher {
  const { dropFolder: place, dropMedium: medium } = settings;
  const { log, signal } = options;
  let seen: string | undefined;
  const settleMs = options.settleMs ?? WATCH_LIMITS.settleMs;
  /** What the folder was when a damaged bundle was found, and since when it is so. */
  let doubtful: { readonly state: string; readonly since: number } | undefined;
  let looking: Promise<void> | undefined;

  async function once(): Promise<void> {
    if (place === undefined) return;
    const now = fingerprint(place);
    const still = doubtful !== undefined && doubtful.state === now ? performance.now() - doubtful.since : 0;
    const final = doubtful !== undefined && doubtful.state === now && still >= settleMs;
    if (now === undefined || (now === seen && !final)) return;
    doubtful = undefined;
    const common = { settings, place, medium, log, signal } as const;
    try {
      const report = await importBundles({ ...common, final });
      for (const { bundle, outcome, says, code } of report.rows)
        (outcome === 'refused' ? log.error.bind(log) : log.info.bind(log))({ bundle, outcome, code, says }, 'drop folder');
      const damaged = report.rows.some(({ outcome, code }) => outcome === 'partial' && code !== 'bundle.incomplete');
      const state = fingerprint(place);
      if (damaged && medium === 'folder' && state !== undefined) doubtful = { state, since: performance.now() };
    } catch (error) {
      if (signal.aborted) return;
      const quiet = isFault(error, 'courier.nothing', 'courier.no-folder', 'bundle.no-medium', 'lock.held');
      const { message } = error as Error;
      (quiet ? log.debug.bind(log) : log.error.bind(log))(
        { code: isFault(error) ? error.code : 'bug', message },
        'drop folder',
      );
      if (isFault(error, 'lock.held')) return; // looked at again at the next tick
    }
    if (medium === 'stick' && settings.returns !== 'nothing' && !signal.aborted) await answer(common);
    seen = fingerprint(place);
  }

  async function answer(common: Parameters<typeof exportReturn>[0]): Promise<void> {
    try {
      const { bundle, results, enrolments, request } = await exportReturn(common);
      log.info({ bundle, results, enrolments, missing: request?.payloads ?? 0 }, 'return written onto the stick');
    } catch (error) {
      if (isFault(error, 'bundle.no-medium', 'bundle.medium')) return;
      log.error({ code: isFault(error) ? error.code : 'bug', message: (error as Error).message }, 'return not written');
    }
  }

  return {
    look() {
      looking ??= once()
        .catch((error: Error) => log.error({ message: error.message }, 'drop folder'))
        .finally(() => {
          looking = undefined;
        });
      return looking;
    },
    idle: () => looking ?? Promise.resolve(),
  };
}

/** Names, sizes and times in the folder and in folders of parts; undefined when there is no folder. */
function fingerprint(place: string): string | undefined {
  try {
    const lines: string[] = [];
    const add = (folder: string, deep: boolean) => {
      for (const name of fs.readdirSync(folder).toSorted()) {
        const facts = fs.lstatSync(join(folder, name), { throwIfNoEntry: false });
        if (facts === undefined) continue;
        lines.push(`${name} ${facts.size} ${facts.mtimeMs}`);
        if (deep && facts.isDirectory() && name.endsWith('.pfb')) add(join(folder, name), false);
      }
    };
    add(place, true);
    return lines.join('\n');
  } catch {
    return undefined; // a stick pulled out this moment
  }
}
