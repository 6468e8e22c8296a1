// One export or import in a process of its own, which kills itself at its n-th act: `act.ts JSON`.

import { generateSigningKey, memorySigner } from '#manifests/trust';
import { importBundle } from '../import.ts';
import { writeBundle } from '../write.ts';
import { faultyDisk } from './faulty.ts';
import { AT, CHUNK } from './stage.ts';

export interface Order {
  readonly act: 'export' | 'import';
  readonly at: number;
  readonly place: string;
  readonly work: string;
  readonly staging: string;
  readonly container: 'folder' | 'tar';
  readonly seed: string;
  readonly index: string;
  readonly files: ReadonlyArray<{ path: string; file: string; sha256: string }>;
}

/** The same key on both sides of the process border. */
export const pairOf = (seed: string) => generateSigningKey(() => Buffer.alloc(32, seed));
export const DAY = 86_400_000;

export async function carryOut(order: Order): Promise<string> {
  const disk = faultyDisk(order.at, 'kill');
  const pair = pairOf(order.seed);
  if (order.act === 'export') {
    const written = await writeBundle({
      work: order.work,
      place: order.place,
      entries: order.files,
      about: { kind: 'content', site: 'ward-7', sequence: 5, from: 'publisher', madeAt: AT, expires: AT + 30 * DAY },
      chunkBytes: CHUNK,
      partBytes: 9 * CHUNK,
      signer: memorySigner(pair),
      container: order.container,
      medium: 'none',
      disk,
    });
    return written.index ?? '';
  }
  const accept = { keys: [pair.publicKey], kind: 'content' as const, site: 'ward-7', lastSequence: 0, now: AT + DAY };
  const outcome = await importBundle({ index: order.index, staging: order.staging, accept, medium: 'none', disk });
  return outcome.kind === 'complete' ? outcome.tree : '';
}

if (import.meta.main) process.stdout.write(await carryOut(JSON.parse(process.argv[2] ?? '') as Order));
