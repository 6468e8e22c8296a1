// Media of real size and kind: more than 4 GiB in volumes that FAT32 can hold, and a real FAT32 file system mounted through FUSE.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run, runOrThrow } from '#manifests/platform/process';
import { generateSigningKey, memorySigner } from '#manifests/trust';
import { importBundle, readBundleIndex } from './import.ts';
import { prepareMedium } from './medium.ts';
import { findBundles } from './place.ts';
import { AT, CHUNK, makeStage } from './testing/stage.ts';
import { writeBundle } from './write.ts';

const GIB = 1024 ** 3;
const FAT_LIMIT = 4 * GIB - 1;
const LIMIT = { timeoutMs: 300_000 };

function freeBytes(path: string): number {
  if (!fs.existsSync(path)) return 0;
  const { bavail, bsize } = fs.statfsSync(path);
  return bavail * bsize;
}

test('a bundle of over 4 GiB: parts and volumes stay below 4 GiB, and every byte arrives', {
  skip: freeBytes(tmpdir()) < 24 * GIB ? 'needs 24 GiB of free disk' : false,
  timeout: 600_000,
}, async () => {
  const home = fs.mkdtempSync(join(tmpdir(), 'patchferry-large-'));
  try {
    // Files with holes: gigabytes that cost no disk to make. The middle and the end hold bytes, so that order matters.
    const sizes = [FAT_LIMIT - 10_000_000, 40_000_000];
    const entries = sizes.map((size, at) => {
      const file = join(home, `large-${at}`);
      const handle = fs.openSync(file, 'wx');
      fs.ftruncateSync(handle, size);
      fs.writeSync(handle, Buffer.from(`middle ${at}`), 0, 8, Math.floor(size / 2));
      fs.writeSync(handle, Buffer.from(`end ${at}`), 0, 5, size - 5);
      fs.closeSync(handle);
      return { path: `payloads/large-${at}`, file };
    });
    const pair = generateSigningKey();
    const about = { kind: 'content' as const, site: 'ward-7', sequence: 1, from: 'p', madeAt: AT, expires: AT + 1e9 };
    const place = join(home, 'stick');
    fs.mkdirSync(place);
    const common = { work: join(home, 'work'), place, entries, about, signer: memorySigner(pair), medium: 'none' as const };
    const written = await writeBundle({ ...common, container: 'tar' });
    const { index } = readBundleIndex(written.index ?? '', [pair.publicKey]);
    assert.deepEqual(
      index.container?.files.map(({ name }) => name),
      ['ward-7-000001-content.tar.001', 'ward-7-000001-content.tar.002'],
    );
    for (const name of fs.readdirSync(place)) assert.ok(fs.statSync(join(place, name)).size <= FAT_LIMIT, name);
    assert.equal(fs.statSync(join(place, 'ward-7-000001-content.tar.001')).size, FAT_LIMIT);
    const accept = { keys: [pair.publicKey], kind: 'content' as const, site: 'ward-7', lastSequence: 0, now: AT };
    const outcome = await importBundle({ index: written.index ?? '', staging: join(home, 'staging'), accept, medium: 'none' });
    assert.equal(outcome.kind, 'complete');
    if (outcome.kind !== 'complete') return;
    for (const { path, file } of entries) {
      assert.equal(fs.statSync(join(outcome.tree, path)).size, fs.statSync(file).size);
      const same = await run('cmp', [file, join(outcome.tree, path)], LIMIT);
      assert.equal(same.code, 0, same.stdout + same.stderr);
    }
  } finally {
    fs.rmSync(home, { recursive: true, force: true });
  }
});

/** Why there is no FAT32 here, or undefined. */
async function lacksFat(): Promise<string | undefined> {
  if (process.platform !== 'linux' || !fs.existsSync('/dev/fuse')) return 'there is no FUSE here';
  for (const [program, ...args] of [
    ['mkfs.vfat', '--help'],
    ['fusefat', '--help'],
    ['mcopy', '-V'],
    ['umount', '--version'],
  ] as const) {
    const found = await run(program, args, LIMIT).catch(() => undefined);
    if (found === undefined) return `${program} is not installed (Debian: dosfstools, fusefat, mtools)`;
  }
  return undefined;
}

test('a FAT32 stick: written here, mounted there, read; and its files are the same for another FAT driver', async (t) => {
  const lacking = await lacksFat();
  if (lacking !== undefined) return t.skip(lacking);
  const stage = makeStage();
  const image = join(stage.folder, 'stick.img');
  const mounted = join(stage.folder, 'mounted here');
  try {
    fs.mkdirSync(mounted);
    fs.writeFileSync(image, '');
    fs.truncateSync(image, GIB); // with holes; clusters of 4 KiB, as sticks have them
    await runOrThrow('mkfs.vfat', ['-F', '32', image], LIMIT);
    const mount = await run('fusefat', ['-o', 'rw+', image, mounted], LIMIT);
    if (mount.code !== 0) return t.skip(`fusefat does not mount here: ${mount.stderr.trim().slice(-200)}`);
    let isMounted = true;
    const unmount = async () => {
      if (isMounted) await runOrThrow('umount', [mounted], LIMIT);
      isMounted = false;
    };
    try {
      const keys = [stage.key];
      const about = { kind: 'content' as const, site: 'ward-7', sequence: 5, from: 'p', madeAt: AT, expires: AT + 1e9 };
      const common = {
        work: stage.work,
        place: mounted,
        entries: stage.entries,
        about,
        signer: stage.signer,
        chunkBytes: CHUNK,
      };
      await prepareMedium({ place: mounted, label: 'STICK', direction: 'both', signer: stage.signer, madeAt: AT });
      for (const container of ['folder', 'tar'] as const) {
        const sequence = container === 'folder' ? 5 : 6;
        await writeBundle({ ...common, about: { ...about, sequence }, container, partBytes: 40_000, medium: keys });
      }
      await unmount();
      // Without the stick the mount point is an empty folder: refused, not "nothing to import".
      const index = join(mounted, 'ward-7-000005-content.pfb.json');
      await assert.rejects(stage.take(index, { medium: keys }), { code: 'bundle.no-medium' });

      const elsewhere = join(stage.folder, 'elsewhere');
      fs.mkdirSync(elsewhere);
      await runOrThrow('mcopy', ['-s', '-n', '-i', image, '::', elsewhere], LIMIT);
      await runOrThrow('fusefat', ['-o', 'ro', image, mounted], LIMIT);
      isMounted = true;
      for (const place of [mounted, elsewhere]) {
        const bundles = findBundles(place);
        assert.equal(bundles.length, 2);
        for (const bundle of bundles) {
          const staging = join(stage.folder, `staging ${fs.readdirSync(stage.folder).length}`);
          const outcome = await stage.take(bundle.index, { medium: keys, staging });
          assert.equal(outcome.kind, 'complete');
          if (outcome.kind !== 'complete') continue;
          const found = stage.read(outcome.tree);
          for (const [path, bytes] of stage.contents) assert.ok(found.get(path)?.equals(bytes), path);
        }
      }
    } finally {
      await unmount();
    }
  } finally {
    stage.end();
  }
});
