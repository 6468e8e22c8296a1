// How fast clients are served: bytes a second of all and of one, requests a second of one. Who is one: an IPv4 address, or the
// /64 an IPv6 address lies in.
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { openRate, type Rate } from '#manifests/transfer';

export interface ServeRates {
  /** Bytes a second to all clients together; undefined is no limit. */
  readonly total?: number | undefined;
  /** Bytes a second to one client. */
  readonly ofOne?: number | undefined;
  /** Requests a second of one client; more are told to come again. */
  readonly requestsOfOne?: number | undefined;
}

export interface Rates {
  /** Whether nothing is limited. */
  readonly free: boolean;
  /** Notes bytes sent to a client; gives milliseconds to wait before more are sent. */
  sent(address: string, bytes: number): number;
  /** Notes a request; false when the client asks too often. */
  allowed(address: string): boolean;
  /** Bytes that are sent at a time at most, so that a slow rate flows and does not jump. */
  readonly pieceBytes: number;
}

interface Client {
  readonly bytes: Rate;
  requests: number;
  at: number;
}

/** @param now monotonic milliseconds @param clients how many are kept apart */
export function openRates(rates: ServeRates, now: () => number, clients: number): Rates {
  const { total, ofOne, requestsOfOne } = rates;
  const all = openRate(() => total, now);
  const known = new Map<string, Client>();

  function clientAt(address: string): Client {
    const name = clientOf(address);
    let client = known.get(name);
    if (client === undefined) {
      client = { bytes: openRate(() => ofOne, now), requests: requestsOfOne ?? 0, at: now() };
      if (known.size >= clients) known.delete(known.keys().next().value ?? '');
    } else known.delete(name);
    known.set(name, client); // the newest last
    return client;
  }

  return {
    free: total === undefined && ofOne === undefined && requestsOfOne === undefined,
    sent(address, bytes) {
      const forAll = all.take(bytes);
      return ofOne === undefined ? forAll : Math.max(forAll, clientAt(address).bytes.take(bytes));
    },
    allowed(address) {
      if (requestsOfOne === undefined) return true;
      const client = clientAt(address);
      const then = client.at;
      client.at = now();
      client.requests = Math.min(requestsOfOne, client.requests + (requestsOfOne * (client.at - then)) / 1_000);
      if (client.requests < 1) return false;
      client.requests -= 1;
      return true;
    },
    pieceBytes: Math.max(4_096, Math.trunc(Math.min(total ?? Number.MAX_SAFE_INTEGER, ofOne ?? Number.MAX_SAFE_INTEGER) / 8)),
  };
}

/**
 * The address that a request came from. A web server in front of the relay says it in X-Real-IP, and is believed on this very
 * machine only: whoever is here already can at most spend another client's rate.
 */
export function addressOf({
  socket,
  headers,
}: Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string | undefined } }): string {
  const address = socket.remoteAddress ?? '';
  const told = headers['x-real-ip'];
  return typeof told === 'string' && isIP(told) !== 0 && /^(?:127\.|::1$|::ffff:127\.)/i.test(address) ? told : address;
}

/** Which client an address belongs to. Pure. */
export function clientOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1] !== undefined) return mapped[1];
  if (!address.includes(':')) return address;
  const [head = ''] = address.split('%');
  const [left = '', right] = head.split('::');
  const groups = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const full =
    right === undefined
      ? groups
      : [...groups, ...Array<string>(Math.max(0, 8 - groups.length - tail.length)).fill('0'), ...tail];
  return `${full
    .slice(0, 4)
    .map((group) => group.toLowerCase().replace(/^0+(?=.)/, ''))
    .join(':')}::/64`;
}
