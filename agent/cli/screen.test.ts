// Prose on a terminal of 80 columns, in a pipe, and without colours.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { facts, hanging, moment, paint, screenOf } from './screen.ts';

const TERMINAL = { isTTY: true, columns: 80 };
const DAY = 86_400_000;

test('a pipe gets whole lines without colours; NO_COLOR and TERM=dumb take colours off a terminal', () => {
  assert.deepEqual(screenOf({}, {}), { columns: Number.POSITIVE_INFINITY, color: false });
  assert.deepEqual(screenOf(TERMINAL, {}), { columns: 80, color: true });
  assert.equal(screenOf(TERMINAL, { NO_COLOR: '1' }).color, false);
  assert.equal(screenOf(TERMINAL, { NO_COLOR: '' }).color, true, 'empty is as absent (no-color.org)');
  assert.equal(screenOf(TERMINAL, { TERM: 'dumb' }).color, false);
  assert.equal(paint({ columns: 80, color: true }, 'bad', 'x'), '\u001b[31mx\u001b[0m');
  assert.equal(paint({ columns: 80, color: false }, 'bad', 'x'), 'x');
});

test('no line is longer than the screen, no word is lost, and what follows is set in below', () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(words, fc.integer({ min: 40, max: 120 }), (some, columns) => {
      const lines = hanging({ columns, color: false }, '  -> ', some.join(' ')).split('\n');
      assert.ok(lines.every((line) => line.length <= columns));
      assert.deepEqual(lines.join(' ').replace('->', '').split(/ +/).filter(Boolean), some);
      assert.ok(lines.slice(1).every((line) => /^ {5}\S/.test(line)));
    }),
  );
});

test('names stand on the left, texts beside them', () => {
  const text = facts({ columns: 40, color: false }, [
    ['relay', 'http://relay.site.lan:8080: the only one in the list'],
    ['', 'more'],
  ]);
  assert.equal(text, 'relay  http://relay.site.lan:8080: the\n       only one in the list\n       more');
});

test('a moment says how far away it is', () => {
  assert.equal(moment(2 * DAY, 0), '1970-01-03T00:00:00Z (in 2 days)');
  assert.equal(moment(DAY + 3_600_000, 0), '1970-01-02T01:00:00Z (in 1 day 1 h)');
  assert.equal(moment(0, 90_000), '1970-01-01T00:00:00Z (1 min 30 s ago)');
});
