// The journal on its own: versions, damage, one open run, transactions; pauses; the numbers of results.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, test } from 'node:test';
import * as fc from 'fast-check';
import { type Journal, openJournal } from './journal.ts';
import { RUN_LIMITS } from './limits.ts';

const STAMP = { boot: 'b', trustedTime: '2026-03-02T10:00:00Z', wallTime: '2026-03-02T10:00:00Z' };
let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-journal-'));
  file = join(folder, 'journal.sqlite');
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));
const open = () => openJournal(file, { now: 1 });

test('what was written is there after it was opened again', () => {
  {
    using journal = open();
    journal.setMeta('a', 'b');
    journal.backOff.fail('x', 'because', 1_000, 60, 1_000);
  }
  using journal = open();
  assert.equal(journal.meta('a'), 'b');
  assert.deepEqual({ ...journal.backOff.get('x') }, { until: 1_060, failures: 1, says: 'because' });
});

test('trap 14: a pause that was made while the clock was ahead ends with that; a longest one of the right clock stays', () => {
  using journal = open();
  const now = Date.parse('2026-03-02T10:00:00Z');
  journal.backOff.fail('ahead', 'because', Date.parse('2027-01-01T00:00:00Z'), 60_000, 60_000);
  journal.backOff.fail('longest', 'because', now, RUN_LIMITS.retryMostMs, RUN_LIMITS.retryMostMs);
  journal.backOff.endFar(now);
  assert.equal(journal.backOff.get('ahead')?.until, 0);
  assert.equal(journal.backOff.get('longest')?.until, now + RUN_LIMITS.retryMostMs);
});

test('S36 a torn, zeroed or foreign file is put aside, not deleted, and a new one begun', () => {
  for (const content of [Buffer.alloc(8192), Buffer.from('not a database at all'.repeat(400))]) {
    for (const name of fs.readdirSync(folder)) fs.rmSync(join(folder, name));
    fs.writeFileSync(file, content);
    using journal = open();
    if (journal.putAside !== undefined) assert.deepEqual(fs.readFileSync(journal.putAside), content);
    journal.setMeta('works', 'yes');
    assert.equal(journal.meta('works'), 'yes');
  }
  {
    using journal = open();
    for (let n = 0; n < 200; n += 1) journal.setMeta(`key ${n}`, 'x'.repeat(500));
  }
  const bytes = fs.readFileSync(file);
  bytes.fill(0, 4096, 12_288);
  fs.writeFileSync(file, bytes);
  using journal = open();
  assert.ok(journal.putAside !== undefined && fs.existsSync(journal.putAside));
});

test('a journal of a newer version is left alone and named', () => {
  open().close();
  const database = new DatabaseSync(file);
  database.exec('PRAGMA user_version = 99');
  database.close();
  assert.throws(open, { code: 'run.newer-journal' });
});

test('a journal of the version before keeps its one way back', () => {
  open().close();
  const database = new DatabaseSync(file);
  database.exec(`DROP TABLE ways; PRAGMA user_version = 1;
    INSERT INTO runs (id, started, state, data, finished, outcome) VALUES
      ('old', '2026-03-01T10:00:00Z', 'Commit', '{"version":1,"patches":["a@1"]}', '2026-03-01T10:05:00Z', 'committed'),
      ('new', '2026-03-02T10:00:00Z', 'Commit', '{"version":1,"patches":["b@1"]}', '2026-03-02T10:05:00Z', 'committed');
    INSERT INTO meta VALUES ('last-committed', 'new')`);
  database.close();
  using journal = open();
  const takenAt = Date.parse('2026-03-02T10:05:00Z');
  assert.deepEqual(journal.ways.kept(), [{ run: 'new', takenAt, bytes: null, patches: ['b@1'] }]);
  journal.ways.giveUp('new', 'older than 30 days');
  assert.equal(journal.ways.gone('new'), 'older than 30 days');
  assert.equal(journal.meta('last-committed'), undefined);
});

test('nothing of a transaction stays when it throws', () => {
  using journal = open();
  assert.throws(() =>
    journal.atomically(() => {
      journal.setMeta('half', 'done');
      journal.results.append('alert', { code: 'x', message: 'y', where: null }, STAMP);
      throw new Error('no');
    }),
  );
  assert.equal(journal.meta('half'), undefined);
  assert.equal(journal.results.pending().length, 0);
});

/** Seals everything that is not sealed, with made-up hashes. */
function sealAll({ results }: Journal, mark: string): void {
  for (const row of results.pending()) {
    if (row.hash === null)
      results.sealed(row.sequence, { hash: `${mark}${row.sequence}`, file: `${row.sequence}.pfe`, size: 1 });
  }
}

test('numbers have no gap and no twin, whatever happens to the chain', () => {
  const step = fc.oneof(
    fc.constant({ kind: 'append' as const }),
    fc.constant({ kind: 'seal' as const }),
    fc.record({ kind: fc.constant('ack' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.record({ kind: fc.constant('revert' as const), ahead: fc.integer({ min: 1, max: 50 }) }),
    fc.record({ kind: fc.constant('lost' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      for (const name of fs.readdirSync(folder)) fs.rmSync(join(folder, name));
      using journal = open();
      const { results } = journal;
      let appended = 0;
      let gone = 0;
      for (const one of steps) {
        const rows = results.pending();
        if (one.kind === 'append') {
          results.append('alert', { code: 'n', message: String((appended += 1)), where: null }, STAMP);
        } else if (one.kind === 'seal') sealAll(journal, 'h');
        else if (one.kind === 'ack') {
          const sealed = rows.filter(({ hash }) => hash !== null);
          const upTo = sealed[Math.floor(one.share * (sealed.length - 1))];
          if (upTo?.hash) {
            gone += rows.filter(({ sequence }) => sequence <= upTo.sequence).length;
            results.acknowledge(upTo.sequence, upTo.hash);
          }
        } else if (one.kind === 'revert') results.continueAfter(results.head().sequence + one.ahead, 'ack');
        else {
          const from = rows[Math.floor(one.share * (rows.length - 1))];
          if (from?.hash) results.unsealFrom(from.sequence);
        }
        const now = results.pending();
        assert.equal(now.length, appended - gone, 'nothing that was not acked is lost');
        for (const [index, row] of now.entries()) assert.equal(row.sequence, (now[0]?.sequence ?? 0) + index);
        if (now.length > 0) assert.equal(results.head().sequence, now.at(-1)?.sequence);
        const bodies = now.map(({ body }) => Number((JSON.parse(body) as { message: string }).message));
        assert.deepEqual(
          bodies,
          bodies.toSorted((a, b) => a - b),
          'order is kept',
        );
        const firstOpen = now.findIndex(({ hash }) => hash === null);
        assert.ok(firstOpen < 0 || now.slice(firstOpen).every(({ hash }) => hash === null), 'sealed in order');
        if (firstOpen > 0) assert.equal(results.head().previous, now[firstOpen - 1]?.hash);
      }
    }),
    { numRuns: 60 },
  );
});
