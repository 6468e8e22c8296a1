// Which address of a name is tried first: by default as the system says, and after each renewal the next one of them.
import * as dns from 'node:dns';
import type { LookupFunction } from 'node:net';

/** Finds all addresses of a name, in the system's order; structurally `dns.lookup` with `all`. */
export type Addresses = (
  host: string,
  options: dns.LookupAllOptions,
  told: (error: NodeJS.ErrnoException | null, addresses: dns.LookupAddress[]) => void,
) => void;

/** A lookup that begins with another address. @param turn how far the list is turned, asked at each lookup */
export function turnedLookup(turn: () => number, addresses: Addresses = dns.lookup): LookupFunction {
  return (host, options, told) => {
    addresses(host, { ...options, all: true }, (error, found) => {
      if (error !== null) return told(error, '');
      const at = found.length === 0 ? 0 : turn() % found.length;
      const turned = [...found.slice(at), ...found.slice(0, at)];
      if (options.all === true) return told(null, turned);
      const [first] = turned;
      if (first === undefined) told(Object.assign(new Error(`${host} has no address`), { code: 'ENOTFOUND' }), '');
      else told(null, first.address, first.family);
    });
  };
}
