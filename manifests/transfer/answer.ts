// An answer over HTTP: read within its bounds, told apart from web pages and from a far end that does not know this side.
import { pause } from '#manifests/platform/clock';
import { named } from './causes.ts';
import type { Guard } from './guard.ts';
import { fault, looksLikePage } from './origin.ts';
import type { Rate } from './rate.ts';

export interface Answer {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** Lets go of the connection without reading what is left. */
  drop(): void;
}

/** How relays (403) and web servers (400, 495, 496 of nginx) say over TLS that they do not accept this side's certificate. */
const STRANGER = {
  statuses: [400, 403, 495, 496] as readonly number[],
  says: /serve\.client-certificate|SSL certificate/i,
  bytes: 64 * 1024,
} as const;

/** Tells such an answer from others with these statuses, whose bodies stay as they are. @throws transfer.tls-client */
export async function withoutStranger(answer: Answer, target: URL): Promise<Answer> {
  if (target.protocol !== 'https:' || !STRANGER.statuses.includes(answer.status)) return answer;
  const where = target.href;
  const text = Buffer.from(await collect(answer, STRANGER.bytes, where)).toString('utf8');
  if (!STRANGER.says.test(text)) return { ...answer, body: onlyOnce(Buffer.from(text, 'utf8')), drop: () => undefined };
  const said = /"message":"([^"\\]{1,300})"/.exec(text)?.[1] ?? `status ${answer.status}`;
  throw fault('tls-client', `${where}: it does not accept the certificate of this side: ${said}`, { where });
}

async function* onlyOnce(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** @throws transfer.portal, transfer.size */
export async function refuseOtherLength(answer: Answer, expected: number, where: string): Promise<void> {
  const stated = answer.header('content-length');
  if (stated === undefined || Number(stated) === expected) return;
  const start = await firstBytes(answer);
  if (looksLikePage(start)) throw fault('portal', `${where} answers with a web page instead of the file`, { where });
  throw fault('size', `${where} offers ${stated.slice(0, 20)} bytes, signed are ${expected}`, { where });
}

async function firstBytes(answer: Answer): Promise<Uint8Array> {
  for await (const chunk of answer.body) return chunk;
  return new Uint8Array();
}

/** The whole body. @throws transfer.too-large */
export async function collect(answer: Answer, limitBytes: number, where: string): Promise<Uint8Array> {
  const tooLarge = () => fault('too-large', `${where} offers more than the limit of ${limitBytes} bytes`, { where });
  const stated = answer.header('content-length');
  if (stated !== undefined && Number(stated) > limitBytes) {
    answer.drop();
    throw tooLarge();
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body) {
    length += chunk.length;
    if (length > limitBytes) throw tooLarge(); // ends the loop, which closes the connection
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length);
}

/** A body under watch and at the rate of the line; whoever stops reading it closes the connection. */
export async function* guarded(
  body: AsyncIterable<Uint8Array>,
  where: string,
  watch: Guard,
  rate: Rate | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) {
      watch.gotBytes(chunk.length);
      yield chunk;
      const wait = rate?.take(chunk.length) ?? 0;
      if (wait === 0) continue;
      watch.hold(true); // waiting of our own making is not the other side's slowness
      await pause(wait, watch.signal);
      watch.hold(false);
    }
  } catch (cause) {
    throw named(cause, where, watch.signal);
  } finally {
    watch.end();
  }
}
