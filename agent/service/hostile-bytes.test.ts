// A relay that lies about bytes: payloads changed, too long or too short, headers without end, redirects, ranges of something else.
import { describe } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sha256Of } from '#manifests/schema';
import { type Attack, endless } from './testing/hostile.ts';
import { CATALOG, flip, type Lie, on, PAYLOAD, TIMESTAMP, testLies } from './testing/hostile-scene.ts';

/** Serves half of a payload, then lies about the rest. */
const cutThen = (rest: (asked: Parameters<Attack>[0], start: number, bytes: Buffer) => void): (() => Attack) => {
  return () => {
    let cut = false;
    return on(PAYLOAD, (asked) => {
      const { request, response, bytes = Buffer.alloc(0) } = asked;
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      if (cut) return rest(asked, start, bytes);
      cut = true;
      response.writeHead(200, { etag: `"${sha256Of(bytes)}"`, 'content-length': bytes.length });
      return void response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
    });
  };
};

const lies: readonly Lie[] = [
  {
    name: 'S12 an endless payload behind its true beginning',
    code: /transfer\.too-large/,
    exit: 5,
    attack: () => on(PAYLOAD, ({ response, bytes }) => endless(response, {}, bytes)),
    genuineDocuments: true,
  },
  {
    name: 'S12 headers without end',
    code: /transfer\.(?:too-large|cut)/,
    exit: 5,
    attack: () =>
      on(TIMESTAMP, ({ response }) => {
        const socket = response.socket;
        socket?.write('HTTP/1.1 200 OK\r\n');
        const more = () => {
          for (let room = true; room; ) room = socket?.write(`x-${'y'.repeat(60)}: ${'z'.repeat(4_000)}\r\n`) ?? false;
        };
        socket?.on('drain', more);
        more();
      }),
  },
  {
    name: 'S12 a bomb: a content coding that unpacks to a gigabyte',
    code: /transfer\.encoding/,
    exit: 5,
    attack: () => {
      const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
      return on(CATALOG, ({ response }) => {
        response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': bomb.length }).end(bomb);
      });
    },
  },
  {
    name: 'S20 a captive portal’s page with status 200',
    code: /transfer\.portal/,
    exit: 5,
    attack: () => on(/./, ({ serve }) => serve(Buffer.from('<!DOCTYPE html><title>Welcome to the hotel</title>'))),
  },
  {
    name: 'S20 a tampered payload',
    code: /transfer\.hash/,
    exit: 5,
    attack: () => on(PAYLOAD, ({ bytes, serve }) => serve(flip(bytes))),
    genuineDocuments: true,
  },
  {
    name: 'S20 a payload of another stated length',
    code: /transfer\.size/,
    exit: 5,
    attack: () => on(PAYLOAD, ({ bytes, serve }) => serve(Buffer.concat([bytes ?? Buffer.alloc(0), Buffer.alloc(77)]))),
    genuineDocuments: true,
  },
  {
    name: 'S20 a payload that ends early although its length was stated',
    code: /transfer\.cut/,
    exit: 8,
    attack: () =>
      on(PAYLOAD, ({ response, bytes = Buffer.alloc(0) }) => {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 1_000), () => response.destroy());
      }),
    genuineDocuments: true,
  },
  {
    name: 'S20 status 500 for everything',
    code: /transfer\.status/,
    exit: 8,
    attack: () => on(/./, ({ response }) => void response.writeHead(500).end('no')),
  },
  {
    name: 'S22 a redirect to another host',
    code: /transfer\.redirect/,
    exit: 5,
    attack: ({ elsewhere }) =>
      on(/./, ({ path, response }) => void response.writeHead(302, { location: `${elsewhere}/${path}` }).end()),
  },
  {
    name: 'S22 a redirect that goes round in circles',
    code: /transfer\.redirect/,
    exit: 5,
    attack: () =>
      on(/./, ({ path, response }) => {
        const location = path.startsWith('a/') ? `/b/${path.slice(2)}` : `/a/${path.replace(/^b\//, '')}`;
        response.writeHead(307, { location }).end();
      }),
  },
  {
    name: 'S23 cut, then a range of something else, and a part in place of the whole',
    code: /transfer\.range/,
    exit: 5,
    attack: cutThen(({ response }, start, bytes) => {
      response.writeHead(206, { 'content-range': `bytes 5-${bytes.length - 1}/${bytes.length}` }).end(bytes.subarray(start));
    }),
    genuineDocuments: true,
    afterACut: true,
  },
  {
    name: 'S23 cut, then 200 with other bytes where 206 was asked for',
    code: /transfer\.hash/,
    exit: 5,
    attack: cutThen(({ response }, _start, bytes) => {
      response.writeHead(200, { 'content-length': bytes.length }).end(Buffer.alloc(bytes.length, 1));
    }),
    genuineDocuments: true,
    afterACut: true,
  },
  {
    name: 'S23 an ETag that lies: the rest of another file under the same name',
    code: /transfer\.hash/,
    exit: 5,
    attack: cutThen(({ response }, start, bytes) => {
      const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
      const headers = start === 0 ? {} : { etag: `"${sha256Of(bytes)}"`, 'content-range': range };
      response.writeHead(start === 0 ? 200 : 206, headers).end(Buffer.alloc(bytes.length - start, 1));
    }),
    genuineDocuments: true,
    afterACut: true,
  },
];

describe('a relay that lies about bytes', () => {
  testLies(lies);
});
