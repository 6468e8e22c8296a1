// A disk that is really full, at many fillings: the state folder and the place where software goes are small file systems of their
// own, filled to the last bytes. Whatever could not be written, the host stays one of two and nothing is told twice. Needs root.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runOrThrow } from '#manifests/platform/process';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll } from './testing/publisher.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const KIB = 1024;
/** Bytes left when the agent starts: nothing, less than a page of the journal, some pages, a few files, all but enough. */
const SPARE = { state: [0, 40 * KIB, 120 * KIB, 400 * KIB], components: [8 * KIB, 512 * KIB] } as const;
/** Packs to almost nothing, so that the check of room before an installation does not see it coming. */
const CONTENT_BYTES = 2 * 1024 * KIB;

/** Fills the file system of `file`, but for `spare` bytes. */
function fill(file: string, spare: number): void {
  const handle = fs.openSync(file, 'w');
  const block = Buffer.alloc(16 * KIB, 1);
  let size = 0;
  try {
    for (;;) size += fs.writeSync(handle, block);
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    fs.ftruncateSync(handle, Math.max(0, size - spare));
  } finally {
    fs.closeSync(handle);
  }
}

describe('a full disk', { skip }, () => {
  let host: TestHost;
  let version = 0;
  const places: string[] = [];
  before(async () => {
    host = await makeHost();
    for (const place of [host.stateDir, host.archiveRoot]) {
      fs.mkdirSync(place, { recursive: true });
      await runOrThrow('mount', ['-t', 'tmpfs', '-o', 'size=48M,mode=0700', 'tmpfs', place], { timeoutMs: 10_000 });
      places.push(place);
    }
    await host.enrol();
    await host.agent(['once']);
  });
  after(async () => {
    for (const place of places) await runOrThrow('umount', [place], { timeoutMs: 10_000 });
    await host?.remove();
  });

  for (const [where, spares] of Object.entries(SPARE)) {
    for (const spare of spares) {
      test(`${where === 'state' ? 'the state folder' : 'where software goes'} with ${spare / KIB} KiB left`, async (t) => {
        version += 1;
        const old = host.tool();
        const content = `version ${version} `.padEnd(CONTENT_BYTES, 'x');
        await host.publish({ releases: [{ version: `${version}.0.0`, content }] });
        const filler = join(where === 'state' ? host.stateDir : host.archiveRoot, '.filler');
        fill(filler, spare);
        const ran = await host.agent(['once']);
        const now = host.tool();
        assert.ok(now === old || now === content, 'one of two, also while the disk is full');
        t.diagnostic(`exit ${ran.code}, ${now === old ? 'as before' : 'patched'}: ${ran.err.trim().split('\n').at(-1)}`);
        assert.notEqual(ran.code, 70, `a full disk is no bug of ours: ${ran.out}${ran.err}`);
        assert.equal(ran.signal, null);
        fs.rmSync(filler);
        const settled = await host.agent(['once', '--retry']);
        assert.ok([0, 3].includes(settled.code ?? -1), settled.out + settled.err);
        assert.equal(host.tool(), content);
        const results = openAll(host.relay.results, host.publisher);
        assert.deepEqual(
          results.map(({ result }) => result.sequence),
          results.map((_, index) => index + 1),
          'numbers without a gap or a double',
        );
        const runs = results.flatMap(({ result }) => (result.kind === 'run' ? [result.body] : []));
        const committed = runs.filter(
          ({ patches, outcome }) => outcome === 'committed' && patches.includes(`tool@${version}.0.0`),
        );
        assert.equal(committed.length, 1);
        assert.equal(new Set(runs.map(({ run }) => run)).size, runs.length, 'every run is told once');
      });
    }
  }
});
