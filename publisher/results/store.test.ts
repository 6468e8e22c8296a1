// The store: duplicates, order of arrival, append-only, versions, and that what is derived equals what the results say.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { isFault } from '#manifests/errors';
import { PATCH_STATES, sha256Of } from '#manifests/schema';
import { STATE_NUMBERS } from './derive.ts';
import { openFleet } from './fleet.ts';
import { agentNamed, alert, arrivalOf, chainOf, DAY_MS, finding, NOW, run, sampleInventory, scan, source } from './samples.ts';
import { type Arrival, openStore, readAcks } from './store.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-store-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));
let files = 0;
const freshFile = () => join(folder, `${(files += 1)}.sqlite`);
const RECEIVED = '2026-03-02T12:00:00Z';
const A = agentNamed('a');
const B = agentNamed('b');

function fill(file: string, batches: ReadonlyArray<readonly Arrival[]>) {
  const store = openStore(file);
  const counts = batches.map((batch) => store.transaction(() => store.addResults(batch, RECEIVED)));
  store.close();
  return counts;
}

/** Everything the store says, without the numbers of rows, which follow the order of arrival. */
function contentOf(file: string): unknown {
  const database = new DatabaseSync(file, { readOnly: true });
  const all = (sql: string) =>
    database
      .prepare(sql)
      .all()
      .map((row) => JSON.stringify(row, (_, value: unknown) => (value instanceof Uint8Array ? sha256Of(value) : value)));
  const content = {
    agents: all('SELECT agent, watermark_sequence, watermark_hash, max_sequence, gaps, forks, odd FROM agents ORDER BY agent'),
    results: all(
      'SELECT agent, sequence, hash, previous, content_sha256, kind, body, bytes FROM results JOIN agents ON agents.id = agent_id JOIN envelopes ON result_id = results.id ORDER BY agent, sequence, hash',
    ),
    inventories: all('SELECT agent, sha256 FROM inventories JOIN agents ON agents.id = agent_id ORDER BY agent, sha256'),
    hosts:
      all(`SELECT agent, l.hash, last_at, last_boot, s.hash, evidence_at, counts, non_compliant, findings_sha256, policy, next, facts, r.hash, run, kernels, a.hash, alert
                FROM hosts JOIN agents ON agents.id = hosts.agent_id LEFT JOIN results l ON l.id = last_result LEFT JOIN results s ON s.id = scan_result
                LEFT JOIN results r ON r.id = run_result LEFT JOIN results a ON a.id = alert_result ORDER BY agent`),
    states: all(
      'SELECT agent, product, patch, state, compliant, level, changes_at FROM host_patches JOIN agents ON agents.id = agent_id JOIN patches ON patches.id = patch_id ORDER BY agent, product, patch',
    ),
  };
  database.close();
  return content;
}

const MAKERS = [
  (from: ReturnType<typeof source>) => scan(from, [finding('openssl@3', 'MISSING'), finding('curl@2', 'INSTALLED')]),
  (from: ReturnType<typeof source>) => run(from, { run: '00000000-0000-4000-8000-000000000001' }),
  (from: ReturnType<typeof source>) =>
    scan(from, [finding('openssl@3', 'INSTALLED_PENDING_REBOOT'), finding('curl@2', 'INSTALLED')]),
  (from: ReturnType<typeof source>) =>
    scan(from, [finding('openssl@3', 'INSTALLED')], { inventory: null, inventorySha256: sha256Of('unseen') }),
  (from: ReturnType<typeof source>) => alert(from),
  (from: ReturnType<typeof source>) =>
    scan(from, [finding('openssl@3', 'INSTALLED')], { inventory: sampleInventory({ hostname: 'renamed' }) }),
];

describe('store', () => {
  test('every state has its number, and no two share one', () => {
    assert.deepEqual(Object.keys(STATE_NUMBERS).toSorted(), [...PATCH_STATES].toSorted());
    assert.equal(new Set(Object.values(STATE_NUMBERS)).size, PATCH_STATES.length);
  });

  test('S25 the same results again are recognised: nothing is stored twice', () => {
    const file = freshFile();
    const chain = chainOf(A, MAKERS);
    assert.deepEqual(fill(file, [chain]), [{ stored: 6, duplicates: 0 }]);
    const before = contentOf(file);
    assert.deepEqual(fill(file, [chain, chain.slice(2, 4)]), [
      { stored: 0, duplicates: 6 },
      { stored: 0, duplicates: 2 },
    ]);
    assert.deepEqual(contentOf(file), before);
    assert.deepEqual(readAcks(file), [{ agent: A, sequence: 6, hash: chain[5]?.hash }]);
  });

  test('trap 1: a new scan never overwrites an old one; the latest is what the host shows', () => {
    const file = freshFile();
    fill(file, [chainOf(A, MAKERS)]);
    const database = new DatabaseSync(file);
    assert.equal(database.prepare("SELECT count(*) AS n FROM results WHERE kind = 'scan'").get()?.['n'], 4);
    assert.throws(() => database.exec("UPDATE results SET kind = 'alert'"), /append-only/);
    assert.throws(() => database.exec('DELETE FROM envelopes'), /append-only/);
    database.close();
    const fleet = openFleet(file);
    const [host] = fleet.hosts();
    assert.equal(host?.facts?.hostname, 'renamed');
    assert.equal(host?.counts?.INSTALLED, 1);
    assert.equal(host?.nonCompliant, 0);
    assert.equal(host?.run?.outcome, 'committed');
    assert.equal(host?.alert?.code, 'agent.reverted');
    assert.equal(fleet.detail(A).run?.sequence, 2);
    fleet.close();
  });

  test('a scan without inventory takes the facts of the one it names', () => {
    const file = freshFile();
    const inventory = sampleInventory({ hostname: 'named-by-digest' });
    const first = scan(source(A, 1, null, NOW - DAY_MS), [], { inventory });
    const a1 = arrivalOf(first);
    const digest = first.kind === 'scan' ? first.body.evidence.inventorySha256 : '';
    const a2 = arrivalOf(scan(source(A, 2, a1.hash, NOW), [], { inventory: null, inventorySha256: digest }));
    fill(file, [[a2], [a1]]);
    const fleet = openFleet(file);
    assert.equal(fleet.hosts()[0]?.facts?.hostname, 'named-by-digest');
    assert.equal(fleet.hosts()[0]?.evidenceAt, '2026-03-02T12:00:00Z');
    fleet.close();
  });

  test('evidence is never younger than its arrival, however wrong the clock of the host', () => {
    const file = freshFile();
    fill(file, [[arrivalOf(scan(source(A, 1, null, NOW + 900 * DAY_MS), []))]]);
    const fleet = openFleet(file);
    assert.equal(fleet.hosts()[0]?.evidenceAt, RECEIVED);
    fleet.close();
  });

  test('a hostile list that names one patch twice counts it once', () => {
    const file = freshFile();
    fill(file, [[arrivalOf(scan(source(A, 1, null, NOW), [finding('x@1', 'INSTALLED'), finding('x@1', 'MISSING')]))]]);
    const fleet = openFleet(file);
    assert.equal(fleet.hosts()[0]?.counts?.INSTALLED, 0);
    assert.equal(fleet.hosts()[0]?.nonCompliant, 1);
    fleet.close();
  });

  test('any order, any batching and any duplication of arrival gives the same content, and so does a rebuild', () => {
    const fork = chainOf(A, MAKERS.slice(2, 5), {
      sequence: 4,
      previous: chainOf(A, MAKERS)[2]?.hash ?? null,
      at: NOW - DAY_MS / 2,
    });
    const clone = chainOf(A, MAKERS.slice(1, 3), {
      sequence: 3,
      previous: chainOf(A, MAKERS)[1]?.hash ?? null,
      at: NOW - DAY_MS,
    });
    const chains = { a: chainOf(A, MAKERS), b: chainOf(B, MAKERS), fork, clone };
    const scenario = fc.record({
      parts: fc.subarray(['a', 'b', 'fork', 'clone'] as const, { minLength: 1 }),
      lost: fc.uniqueArray(fc.nat(14), { maxLength: 3 }),
      repeated: fc.array(fc.nat(14), { maxLength: 8 }),
      keys: fc.infiniteStream(fc.double({ noNaN: true })),
      batch: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(scenario, ({ parts, lost, repeated, keys, batch }) => {
        const arrived = parts.flatMap((part) => chains[part]).filter((_, index) => !lost.includes(index));
        const twice = [...arrived, ...repeated.flatMap((index) => arrived[index] ?? [])];
        const keyed = twice.map((item) => ({ item, key: keys.next().value }));
        const shuffled = keyed.toSorted((x, y) => x.key - y.key).map(({ item }) => item);
        const batches = Array.from({ length: Math.ceil(shuffled.length / batch) }, (_, i) =>
          shuffled.slice(i * batch, (i + 1) * batch),
        );
        const [ordered, mixed] = [freshFile(), freshFile()];
        fill(ordered, [arrived]);
        fill(mixed, batches);
        assert.deepEqual(contentOf(mixed), contentOf(ordered));
        const store = openStore(mixed);
        store.rebuild();
        store.close();
        assert.deepEqual(contentOf(mixed), contentOf(ordered));
        for (const file of [ordered, mixed]) fs.rmSync(file, { force: true });
      }),
      { numRuns: 60 },
    );
  });

  test('a transaction that fails leaves nothing, and the next one works', () => {
    const file = freshFile();
    const store = openStore(file);
    const chain = chainOf(A, MAKERS);
    assert.throws(
      () =>
        store.transaction(() => {
          store.addResults(chain, RECEIVED);
          throw new Error('cut');
        }),
      /cut/,
    );
    assert.deepEqual(
      store.transaction(() => store.addResults(chain, RECEIVED)),
      { stored: 6, duplicates: 0 },
    );
    store.close();
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  });

  test('a file of another program, of a newer version, or none is refused and left as it is', () => {
    const foreign = freshFile();
    const other = new DatabaseSync(foreign);
    other.exec('CREATE TABLE t (x)');
    other.close();
    const text = freshFile();
    fs.writeFileSync(text, 'not a database, but long enough to look like one'.repeat(100));
    const newer = freshFile();
    openStore(newer).close();
    const bump = new DatabaseSync(newer);
    bump.exec('PRAGMA user_version=99');
    bump.close();
    for (const [file, code] of [
      [foreign, 'results.store-foreign'],
      [text, 'results.store-foreign'],
      [newer, 'results.store-newer'],
    ] as const) {
      const before = sha256Of(fs.readFileSync(file));
      assert.throws(
        () => openStore(file),
        (error) => isFault(error, code),
      );
      assert.throws(
        () => openFleet(file),
        (error) => isFault(error, code),
      );
      assert.equal(sha256Of(fs.readFileSync(file)), before);
    }
    assert.throws(
      () => readAcks(join(folder, 'none.sqlite')),
      (error) => isFault(error, 'results.store-missing'),
    );
    assert.equal(fs.existsSync(join(folder, 'none.sqlite')), false);
  });
});
