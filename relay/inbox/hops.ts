// Where results go next: a relay by HTTP, or a folder that is another's inbox.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type HttpOptions, openOrigin } from '#manifests/transfer';
import { encodeBatch } from './batch.ts';
import { ALONE, FOR_GOOD, fault } from './limits.ts';
import { placeDurably } from './place.ts';
import type { SpoolItem } from './spool.ts';

/** What a hop said to one item. */
export type Delivery =
  /** It is durably there (also when it was before). */
  | { readonly kind: 'delivered' }
  /** Not now, but later: an agent that its roster does not know yet, say. Other agents' items may go on. */
  | { readonly kind: 'later'; readonly says: string }
  /** The same of this item alone: it was there before and was dropped. Those behind it go on. */
  | { readonly kind: 'later-alone'; readonly says: string }
  /** Never: these bytes will not be taken. */
  | { readonly kind: 'refused'; readonly says: string };

export interface Hop {
  readonly name: string;
  /** @throws transfer.*, inbox.no-folder, inbox.full when the hop itself cannot be used now */
  deliver(item: SpoolItem, bytes: Uint8Array, signal?: AbortSignal): Promise<Delivery>;
  /** Many at once, told in their order; undefined where the hop takes only one at a time. @throws as deliver */
  deliverMany?(items: readonly Loaded[], signal?: AbortSignal): Promise<Delivery[] | undefined>;
  close(): Promise<void>;
}

/** An item with its bytes. */
export interface Loaded {
  readonly item: SpoolItem;
  readonly bytes: Uint8Array;
}

const batchAnswer = z.object({
  state: z.literal('batch'),
  items: z.array(z.object({ status: z.int(), code: z.string().optional(), says: z.string().optional() })),
});

/** The status of a relay without room: for anything, or for this one alone. */
const NO_ROOM = 507;

/** @param urlOrFolder address of a relay, or an inbox folder */
export function openHop(urlOrFolder: string, options: HttpOptions = {}): Hop {
  return /^https?:/i.test(urlOrFolder) ? relayHop(urlOrFolder, options) : folderHop(resolve(urlOrFolder));
}

function relayHop(url: string, options: HttpOptions): Hop {
  const origin = openOrigin(url, options);
  /** A relay of an older version takes no batches; asked once. */
  let takesBatches = true;
  return {
    name: origin.name,
    async deliverMany(items, signal) {
      if (!takesBatches) return undefined;
      const packed = encodeBatch(items.flatMap(({ item: { kind }, bytes }) => (kind === 'records' ? [] : [{ kind, bytes }])));
      const { status, body } = await origin.post('inbox/batches', packed, { signal });
      if (status === 404 || status === 405 || status === 413) {
        takesBatches = false;
        return undefined;
      }
      const told = batchAnswer.safeParse(parsedJson(body));
      if (status !== 200 || !told.success || told.data.items.length !== items.length) {
        const says = `${origin.name} answers with status ${status} but not as a relay does`;
        return items.map(() => ({ kind: 'later', says }));
      }
      return told.data.items.map(({ status: each, code = '', says = '' }) => {
        if (each === 200 || each === 201) return { kind: 'delivered' };
        const words = each === 0 ? `${origin.name} waits for the one before it` : `${origin.name}: ${code}: ${says}`;
        return { kind: kindOf(code), says: words };
      });
    },
    async deliver(item, bytes, signal) {
      const { status, body } = await origin.post(`inbox/${item.kind}`, bytes, { signal, answers: [NO_ROOM] });
      if (status === 200 || status === 201) {
        // Only a relay of ours says so in its own words; a portal's page with status 200 is no receipt.
        if (/"state":"(?:kept|duplicate)"/.test(Buffer.from(body).toString('latin1'))) return { kind: 'delivered' };
        return { kind: 'later', says: `${origin.name} answers with status ${status} but not as a relay does` };
      }
      const told = Buffer.from(body).toString('utf8').slice(0, 500).trim();
      const says = `${origin.name} answers with status ${status}: ${told}`;
      const kind = kindOf([...FOR_GOOD, ALONE].find((code) => told.includes(`"code":"${code}"`)) ?? '');
      if (status === NO_ROOM && kind !== 'later-alone') throw fault('full', says, { where: origin.name });
      return { kind, says };
    },
    close: () => origin.close(),
  };
}

function kindOf(code: string): 'refused' | 'later' | 'later-alone' {
  return FOR_GOOD.includes(code) ? 'refused' : code === ALONE ? 'later-alone' : 'later';
}

function parsedJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    return undefined;
  }
}

function folderHop(folder: string): Hop {
  return {
    name: folder,
    async deliver(item, bytes) {
      if (!fs.existsSync(folder)) throw fault('no-folder', `there is no inbox folder ${folder}`, { where: folder });
      const file = join(folder, item.path);
      try {
        if (fs.existsSync(file) && fs.readFileSync(file).equals(bytes)) return { kind: 'delivered' };
        const incoming = join(folder, '.incoming');
        fs.mkdirSync(incoming, { recursive: true });
        await placeDurably(incoming, file, bytes, folder);
      } catch (cause) {
        throw fault('full', `cannot write into ${folder}: ${(cause as Error).message}`, { where: folder, cause });
      }
      return { kind: 'delivered' };
    },
    close: () => Promise.resolve(),
  };
}
