// tuf-js as a judge: the same repository, served over HTTP, and what it makes of it.
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Updater } from 'tuf-js';
import { type TestRepository, temporaryFolder } from './repository.ts';

type Context = { after(fn: () => void): void };

/** Serves the files of a repository as they are at each request; gives the address. */
export async function serve(t: Context, repository: Pick<TestRepository, 'files'>): Promise<string> {
  const server = createServer((request, response) => {
    // Role names are encoded once in file names; the server sees that encoding as it is.
    const bytes = repository.files.get((request.url ?? '').slice(1));
    response.writeHead(bytes === undefined ? 404 : 200);
    response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export type Verdict = { verdict: 'accepted'; content: string | undefined } | { verdict: 'refused'; says: string };

/** What tuf-js says of a path after a fresh start from `root`; `folder` keeps its state between calls. */
export async function judge(
  t: Context,
  server: string,
  root: Uint8Array,
  path: string | undefined,
  folder = temporaryFolder(t),
): Promise<Verdict> {
  const targetDir = join(folder, 'downloads');
  fs.mkdirSync(targetDir, { recursive: true });
  if (!fs.existsSync(join(folder, 'root.json'))) fs.writeFileSync(join(folder, 'root.json'), root);
  const updater = new Updater({
    metadataDir: folder,
    metadataBaseUrl: `${server}/metadata`,
    targetDir,
    targetBaseUrl: `${server}/targets`,
    config: { fetchRetries: 0, fetchTimeout: 10_000 },
  });
  try {
    await updater.refresh();
    if (path === undefined) return { verdict: 'accepted', content: undefined };
    const target = await updater.getTargetInfo(path);
    if (target === undefined) return { verdict: 'accepted', content: undefined };
    return { verdict: 'accepted', content: fs.readFileSync(await updater.downloadTarget(target), 'utf8') };
  } catch (error) {
    return { verdict: 'refused', says: (error as Error).message };
  }
}
