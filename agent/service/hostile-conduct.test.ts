// A relay that behaves badly over time: it freezes its documents, swallows results, drips, lies where another one is honest.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { drip, endless, hostileRelay } from './testing/hostile.ts';
import { cycle, flip, MOST_BYTES, MOST_MEMORY, MOST_TIME, on, PAYLOAD, readyHost, TIMESTAMP } from './testing/hostile-scene.ts';
import { openAll } from './testing/publisher.ts';

const DAY = 86_400_000;

test('S20 tampered payload at the first relay: fetched from the second in the same cycle, and the first one is told by name', async () => {
  const { host, next } = await readyHost();
  const liar = await hostileRelay(
    host.publisher.repository,
    on(PAYLOAD, ({ bytes, serve }) => serve(flip(bytes))),
  );
  try {
    const news = await next();
    const ran = await cycle(host, [liar.url, host.relay.url]);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.ok(host.tool() === news.content);
    assert.match(ran.out, /transfer\.hash/);
    const waiting = await host.agent(['status']);
    assert.match(waiting.out, new RegExp(`${liar.url}: .*rests until .*transfer\\.hash`));
    await cycle(host, [host.relay.url], 7 * 3_600_000); // what the liar took is sent again
    const alerts = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'alert' ? [result.body] : [],
    );
    assert.ok(alerts.some(({ code, message }) => code === 'transfer.hash' && message.includes(liar.url)));
  } finally {
    await liar.close();
    await host.remove();
  }
});

test('S7 freeze: "unchanged" to every question: noticed by expiry, said since when, and results still leave the host', async () => {
  const { host, next } = await readyHost();
  const liar = await hostileRelay(
    host.publisher.repository,
    on(TIMESTAMP, ({ request, response, bytes, serve }) => {
      if (request.headers['if-none-match'] === undefined) return serve(bytes);
      return void response.writeHead(304).end();
    }),
  );
  try {
    await cycle(host, [liar.url]);
    const tool = host.tool();
    await next();
    const frozen = await cycle(host, [liar.url]);
    assert.ok(host.tool() === tool, 'what is installed is as before');
    assert.ok(frozen.code === 0 || frozen.code === 3, frozen.out + frozen.err);
    liar.results.length = 0;
    const late = await cycle(host, [liar.url], 401 * DAY);
    assert.equal(late.code, 5, late.out + late.err);
    assert.match(late.out, /expired since/);
    assert.ok(host.tool() === tool, 'what is installed is as before');
    const told = openAll(liar.results, host.publisher);
    assert.ok(told.length > 0, 'a host that installs nothing goes on reporting');
    assert.match((await host.agent(['status'])).out, /EXPIRED|until/);
  } finally {
    await liar.close();
    await host.remove();
  }
});

test('S26 a relay that takes results and drops them: kept until acked, then given to the other relay', async () => {
  const { host } = await readyHost();
  const hole = await hostileRelay(host.publisher.repository, () => false);
  try {
    host.relay.results.length = 0;
    await host.publish({ releases: [{ version: '7.0.0', content: 'seven' }] });
    await cycle(host, [hole.url, host.relay.url]);
    const swallowed = openAll(hole.results, host.publisher);
    assert.ok(swallowed.length > 0 && host.relay.results.length === 0);
    await cycle(host, [hole.url, host.relay.url], 7 * 3_600_000);
    const arrived = new Set(openAll(host.relay.results, host.publisher).map(({ hash }) => hash));
    for (const { hash } of swallowed) assert.ok(arrived.has(hash));
  } finally {
    await hole.close();
    await host.remove();
  }
});

test('S12 an endless answer to a result: let go, and the result counts as not taken', async () => {
  const { host } = await readyHost();
  const liar = await hostileRelay(host.publisher.repository, ({ request, response }) => {
    if (request.method !== 'POST') return false;
    endless(response);
    return true;
  });
  try {
    host.relay.results.length = 0;
    await host.publish({ releases: [{ version: '8.0.0', content: 'eight' }] });
    const ran = await cycle(host, [liar.url, host.relay.url]);
    assert.ok(liar.sent() < MOST_BYTES && ran.peakKiB < MOST_MEMORY);
    assert.ok(
      openAll(host.relay.results, host.publisher).some(({ result }) => result.kind === 'run'),
      ran.out,
    );
  } finally {
    await liar.close();
    await host.remove();
  }
});

describe('S13 slow retrieval: given up by the minimum rate, another relay is used in the same cycle', {
  concurrency: true,
}, () => {
  const slow: [string, RegExp][] = [
    ['the timestamp', TIMESTAMP],
    ['a payload', PAYLOAD],
  ];
  for (const [what, pattern] of slow) {
    test(`S13 ${what} drips`, async () => {
      const { host, next } = await readyHost();
      const liar = await hostileRelay(
        host.publisher.repository,
        on(pattern, ({ response, bytes = Buffer.alloc(0) }) => {
          response.writeHead(200, { 'content-length': bytes.length });
          drip(response, bytes, 500);
        }),
      );
      try {
        const news = await next();
        const ran = await cycle(host, [liar.url, host.relay.url]);
        assert.equal(ran.code, 0, ran.out + ran.err);
        assert.ok(host.tool() === news.content);
        assert.match((await host.agent(['status'])).out, /transfer\.slow/);
        assert.ok(ran.took < MOST_TIME, `${ran.took} ms`);
      } finally {
        await liar.close();
        await host.remove();
      }
    });
  }
});
