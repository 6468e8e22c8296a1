// Where results go next: a relay by HTTP, or a folder that is another's inbox.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { type HttpOptions, openOrigin } from '#manifests/transfer';
import { fault } from './limits.ts';
import { placeDurably, type SpoolItem } from './spool.ts';

/** What a hop said to one item. */
export type Delivery =
  /** It is durably there (also when it was before). */
  | { readonly kind: 'delivered' }
  /** Not now, but later: an agent that its roster does not know yet, say. Other agents' items may go on. */
  | { readonly kind: 'later'; readonly says: string }
  /** Never: these bytes will not be taken. */
  | { readonly kind: 'refused'; readonly says: string };

/** What a relay says to bytes that it will never take; anything else may change (a roster that lags, a full disk). */
const FOR_GOOD = ['inbox.malformed', 'inbox.kind', 'inbox.signature', 'inbox.revoked-agent', 'serve.too-large'];

export interface Hop {
  readonly name: string;
  /** @throws transfer.*, inbox.no-folder, inbox.full when the hop itself cannot be used now */
  deliver(item: SpoolItem, bytes: Uint8Array, signal?: AbortSignal): Promise<Delivery>;
  close(): Promise<void>;
}

/** @param urlOrFolder address of a relay, or an inbox folder */
export function openHop(urlOrFolder: string, options: HttpOptions = {}): Hop {
  return /^https?:/i.test(urlOrFolder) ? relayHop(urlOrFolder, options) : folderHop(resolve(urlOrFolder));
}

function relayHop(url: string, options: HttpOptions): Hop {
  const origin = openOrigin(url, options);
  return {
    name: origin.name,
    async deliver(item, bytes, signal) {
      const { status, body } = await origin.post(`inbox/${item.kind}`, bytes, { signal });
      if (status === 200 || status === 201) {
        // Only a relay of ours says so in its own words; a portal's page with status 200 is no receipt.
        if (/"state":"(?:kept|duplicate)"/.test(Buffer.from(body).toString('latin1'))) return { kind: 'delivered' };
        return { kind: 'later', says: `${origin.name} answers with status ${status} but not as a relay does` };
      }
      const told = Buffer.from(body).toString('utf8').slice(0, 500).trim();
      const says = `${origin.name} answers with status ${status}: ${told}`;
      return FOR_GOOD.some((code) => told.includes(`"code":"${code}"`)) ? { kind: 'refused', says } : { kind: 'later', says };
    },
    close: () => origin.close(),
  };
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
