// Standalone binaries for tests and demo: built once for what is in them, kept, and safe to ask for from several processes at once.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { inTurn } from '../setup/turns.ts';
import { buildBinaries, bundle, type Component } from './binaries.ts';

const KEPT = resolve(import.meta.dirname, '../../.cache/builds');
const HOUR_MS = 3_600_000;
/** Builds that nobody asked for in this time are removed. */
const KEEP_MS = 24 * HOUR_MS;
/** A build takes about ten seconds; several may wait for each other on a busy machine. */
const WAIT_MS = 600_000;

/**
 * The standalone binary of a component as its sources are now, built unless there is one already. What is in it names its folder:
 * the bundled program, the Node that carries it, and how they are put together.
 */
export async function keptBinary(component: Component): Promise<string> {
  fs.mkdirSync(KEPT, { recursive: true });
  const work = fs.mkdtempSync(join(KEPT, '.making-'));
  try {
    const hash = createHash('sha256').update(`${process.version} ${process.platform} ${process.arch}\n`);
    for (const file of [
      await bundle(component, work),
      ...['binaries.ts', 'start.cjs', '../../package-lock.json'].map((name) => join(import.meta.dirname, name)),
    ])
      hash.update(fs.readFileSync(file));
    const folder = join(KEPT, `${component}-${hash.digest('hex').slice(0, 32)}`);
    await inTurn(join(KEPT, `.${component}.lock`), `building ${component}`, WAIT_MS, async () => {
      if (fs.existsSync(folder)) return;
      await buildBinaries([component], work, () => undefined);
      fs.renameSync(work, folder);
    });
    const now = new Date();
    fs.utimesSync(folder, now, now);
    removeOld(now.getTime());
    const [binary] = fs.readdirSync(folder).filter((name) => name.startsWith('patchferry-'));
    return join(folder, binary ?? '');
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

function removeOld(now: number): void {
  for (const name of fs.readdirSync(KEPT)) {
    const path = join(KEPT, name);
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() === true && now - stat.mtimeMs > KEEP_MS) fs.rmSync(path, { recursive: true, force: true });
  }
}
