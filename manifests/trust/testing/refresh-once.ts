// A process of its own that opens a trust folder and refreshes it once from a repository folder; for tests that kill it.
// Arguments: state folder, repository folder, time in ms. Exit 0 when refreshed, else the exit code of the error.
import { isFault } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';
import { openTrust } from '../client.ts';
import type { Fetcher } from '../refresh.ts';

const [folder = '', repository = '', time = '0'] = process.argv.slice(2);
const fetcher: Fetcher = {
  fetchSmall: (path, { limitBytes }) => {
    const bytes = readFileBounded(`${repository}/${path}`, limitBytes);
    return Promise.resolve(bytes === undefined ? { kind: 'missing' } : { kind: 'found', bytes, etag: undefined });
  },
};
try {
  const pinnedRoot = readFileBounded(`${repository}/metadata/1.root.json`, 1_000_000);
  const client = openTrust({ folder, pinnedRoot, now: () => Number(time) });
  client.noteTime(Number(time) + 120_000);
  await client.refresh(fetcher);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = isFault(error) ? error.exit : 70;
}
