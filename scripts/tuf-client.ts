// The trust of patchferry under the TUF community's conformance command line: the same code that agents use, over HTTP.
//   --metadata-dir D init ROOT
//   --metadata-dir D --metadata-url U refresh
//   --metadata-dir D --metadata-url U --target-name T [--target-name T2 …] --target-base-url B --target-dir TD download
// Exit 0 or 1. Trusted files lie unversioned in D, beside the folder `trust` with the state itself. The clock is the host's.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { type Fetcher, openTrust, TRUST_LIMITS, type TrustClient } from '#manifests/trust';

const HTTP = { timeoutMs: 60_000 } as const;

/** Reads at most `limit` bytes (and one more, so that the caller sees the excess). */
async function readBody(response: Response, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk as Uint8Array);
    size += (chunk as Uint8Array).length;
    if (size > limit) break;
  }
  return Buffer.concat(chunks);
}

function httpFetcher(metadataUrl: string, targetUrl: string): Fetcher {
  return {
    fetchSmall: async (path, { limitBytes }) => {
      const [base, name] = path.startsWith('metadata/')
        ? [metadataUrl, path.slice('metadata/'.length)]
        : [targetUrl, path.slice('targets/'.length).split('/').map(encodeURIComponent).join('/')];
      const response = await fetch(`${base.replace(/\/$/, '')}/${name}`, { signal: AbortSignal.timeout(HTTP.timeoutMs) });
      if (response.status === 404 || response.status === 403) return { kind: 'missing' };
      if (!response.ok) throw new Error(`${response.url} answered ${response.status}`);
      return { kind: 'found', bytes: await readBody(response, limitBytes), etag: undefined };
    },
  };
}

/** Puts the newest verified files where the suite looks for them. */
function showTrusted(folder: string, client: TrustClient): void {
  const newest = client.newest();
  for (const [role, bytes] of newest) writeFileAtomic(join(folder, `${encodeURIComponent(role)}.json`), bytes);
  for (const role of ['timestamp', 'snapshot']) if (!newest.has(role)) fs.rmSync(join(folder, `${role}.json`), { force: true });
}

async function download(client: TrustClient, fetcher: Fetcher, names: readonly string[], folder: string): Promise<void> {
  for (const name of names) {
    const target = client.target(name);
    const path = join(folder, encodeURIComponent(name));
    const there = target === undefined ? undefined : readFileBounded(path, TRUST_LIMITS.targetBytes);
    if (there !== undefined && createHash('sha256').update(there).digest('hex') === target?.sha256) continue;
    writeFileAtomic(path, await client.readTarget(name, fetcher));
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'metadata-dir': { type: 'string' },
      'metadata-url': { type: 'string' },
      'target-name': { type: 'string', multiple: true },
      'target-base-url': { type: 'string' },
      'target-dir': { type: 'string' },
    },
  });
  const [command, rootFile] = positionals;
  const folder = values['metadata-dir'];
  if (folder === undefined) throw new Error('--metadata-dir is needed');
  const state = join(folder, 'trust');
  const now = () => systemClock.now();
  if (command === 'init') {
    if (rootFile === undefined) throw new Error('init needs the file of the trusted root');
    fs.rmSync(state, { recursive: true, force: true });
    showTrusted(folder, openTrust({ folder: state, pinnedRoot: readFileBounded(rootFile, TRUST_LIMITS.rootBytes), now }));
    return;
  }
  if (command !== 'refresh' && command !== 'download') throw new Error('the commands are init, refresh and download');
  const fetcher = httpFetcher(values['metadata-url'] ?? '', values['target-base-url'] ?? '');
  const client = openTrust({ folder: state, now });
  const names = command === 'download' ? (values['target-name'] ?? []) : [];
  try {
    // The specification's own order, and only the roles on the way, as the suite counts requests.
    await client.refresh(fetcher, undefined, { alwaysAskForRoot: true, onlyFor: names });
  } finally {
    showTrusted(folder, client);
  }
  if (command === 'download') await download(client, fetcher, names, values['target-dir'] ?? '.');
}

try {
  await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
