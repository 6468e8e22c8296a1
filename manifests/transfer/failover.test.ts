// Several origins in order: rests, restarts of whole operations, exact reasons, own faults.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '#manifests/platform/clock';
import { FAILOVER_LIMITS, failover } from './failover.ts';
import { fault, type Origin, type Received } from './origin.ts';

interface Scripted extends Origin {
  asked: number;
  answer: () => Received;
}

function scripted(name: string, answer: () => Received): Scripted {
  const origin: Scripted = {
    name,
    asked: 0,
    answer,
    fetchSmall: async () => {
      origin.asked += 1;
      return origin.answer();
    },
    download: () => Promise.reject(fault('missing', 'not scripted')),
    post: () => Promise.reject(fault('no-post', `${name} takes none`)),
    close: () => Promise.resolve(),
  };
  return origin;
}

const found = (): Received => ({ kind: 'found', bytes: new Uint8Array(), etag: undefined });
const broken = (): Received => {
  throw fault('cut', 'cut off', { where: 'x' });
};
const refused = (): Received => {
  throw fault('hash', 'other bytes');
};

function handClock(): Clock & { at: number } {
  const clock = { at: 1_000_000, now: () => clock.at, monotonic: () => clock.at };
  return clock;
}
const ask = { limitBytes: 1 };

test('an origin that failed rests, longer each time up to a bound, and is asked again afterwards', async () => {
  const clock = handClock();
  const first = scripted('first', broken);
  const second = scripted('second', found);
  const both = failover([first, second], { clock, random: () => 0 });
  let rest: number = FAILOVER_LIMITS.firstRestMs;
  for (let failures = 1; failures <= 10; failures += 1) {
    await both.fetchSmall('x', ask);
    assert.equal(first.asked, failures);
    clock.at += rest - 1;
    await both.fetchSmall('x', ask);
    assert.equal(first.asked, failures, 'it rests');
    clock.at += 1;
    rest = Math.min(rest * 2, FAILOVER_LIMITS.longestRestMs);
  }
  first.answer = found;
  await both.fetchSmall('x', ask);
  const [good] = both.report();
  assert.deepEqual([good?.failuresInARow, good?.restsUntil, good?.lastFailure?.code], [0, null, 'transfer.cut']);
  const before = second.asked;
  await both.fetchSmall('x', ask);
  assert.equal(second.asked, before, 'the first is preferred again');
});

test('S18 a clock that is set a year back or ahead prolongs no rest and ends none', async () => {
  for (const jump of [-365, 365]) {
    const clock = handClock();
    let wall = 0;
    const first = scripted('first', broken);
    const both = failover([first, scripted('second', found)], {
      clock: { now: () => clock.at + wall, monotonic: () => clock.at },
      random: () => 0,
    });
    await both.fetchSmall('x', ask);
    wall = jump * 86_400_000;
    await both.fetchSmall('x', ask);
    assert.equal(first.asked, 1, 'it rests');
    clock.at += FAILOVER_LIMITS.firstRestMs;
    await both.fetchSmall('x', ask);
    assert.equal(first.asked, 2, 'it is asked again');
  }
});

test('when all rest, all are tried, the one that rests least first', async () => {
  const clock = handClock();
  const order: string[] = [];
  const failing = (name: string) => scripted(name, () => (order.push(name), broken()));
  const all = failover([failing('a'), failing('b')], { clock, random: () => 0 });
  await assert.rejects(all.fetchSmall('x', ask), { code: 'transfer.all-failed' });
  clock.at += 1;
  await assert.rejects(all.fetchSmall('x', ask), { code: 'transfer.all-failed', message: /cut off.*\n.*cut off/ });
  assert.deepEqual(order, ['a', 'b', 'a', 'b']);
});

test('a whole operation starts over at the next origin', async () => {
  const steps: string[] = [];
  const both = failover([scripted('a', found), scripted('b', found)]);
  const value = await both.attempt(async (origin) => {
    steps.push(`${origin.name} 1`);
    if (origin.name === 'a') throw fault('hash', 'in the middle');
    steps.push(`${origin.name} 2`);
    return origin.name;
  });
  assert.equal(value, 'b');
  assert.deepEqual(steps, ['a 1', 'b 1', 'b 2']);
});

test('the reason: the only origin speaks for itself; refusals all round are a refusal; bugs and own faults are thrown at once', async () => {
  await assert.rejects(failover([scripted('a', refused)]).fetchSmall('x', ask), { code: 'transfer.hash', exit: 5 });
  await assert.rejects(failover([scripted('a', refused), scripted('b', refused)]).fetchSmall('x', ask), {
    code: 'transfer.all-refused',
    exit: 5,
  });
  await assert.rejects(failover([scripted('a', refused), scripted('b', broken)]).fetchSmall('x', ask), {
    code: 'transfer.all-failed',
    exit: 8,
  });
  await assert.rejects(failover([]).fetchSmall('x', ask), { code: 'transfer.all-failed' });
  const second = scripted('b', found);
  const bug = () => {
    throw new TypeError('a bug');
  };
  await assert.rejects(failover([scripted('a', bug), second]).fetchSmall('x', ask), TypeError);
  const diskFull = () => {
    throw fault('unwritable', 'disk full');
  };
  await assert.rejects(failover([scripted('a', diskFull), second]).fetchSmall('x', ask), { code: 'transfer.unwritable' });
  assert.equal(second.asked, 0);
});

test('an origin that takes no posts is passed over without blame', async () => {
  const relay = scripted('relay', found);
  relay.post = () => Promise.resolve({ status: 201, body: new Uint8Array() });
  const folder = scripted('folder', found);
  const both = failover([folder, relay]);
  assert.equal((await both.post('inbox/results', new Uint8Array())).status, 201);
  assert.equal(both.report()[0]?.failuresInARow, 0);
});
