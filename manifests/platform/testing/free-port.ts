// For tests: a port for a program that has to be told one beforehand.
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below what the kernel gives to connections of its own accord (from 32768), which could take it before the program does. */
const PORTS = { from: 20_000, to: 32_000 } as const;
const TRIES = 100;
const given = new Set<number>();

/** A port that is free on this address and was not given before. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const port = randomInt(PORTS.from, PORTS.to);
    if (given.has(port) || !(await isFree(port, host))) continue;
    given.add(port);
    return port;
  }
  throw new Error(`no free port among ${TRIES}`);
}

function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  return new Promise((done) => {
    server.once('error', () => done(false));
    server.listen(port, host, () => server.close(() => done(true)));
  });
}
