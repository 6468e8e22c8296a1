import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { sha256Of } from '#manifests/schema';
import { waysBack } from '../../snapshot/index.ts';
import type { HostContext, InstallItem } from '../system.ts';
import { currentVersion } from './components.ts';
import { archive } from './index.ts';
import { createTwinGuard, judgePath } from './unpack.ts';

interface Row {
  readonly name: string;
  readonly body?: string | Buffer;
  /** Type flag of POSIX ustar: 0 file, 1 hard link, 2 link, 3 and 4 devices, 5 folder, 6 pipe. */
  readonly type?: string;
  readonly link?: string;
  readonly mode?: number;
  /** Size that the header says, when it lies. */
  readonly size?: number;
  readonly prefix?: string;
}

/** A tar as an attacker would write it: headers by hand, no library in the way. */
function tarOf(rows: readonly Row[]): Buffer {
  const blocks: Buffer[] = [];
  for (const { name, body = '', type = '0', link = '', mode = 0o644, size, prefix = '' } of rows) {
    const content = Buffer.from(body);
    const head = Buffer.alloc(512);
    head.write(name, 0, 100, 'latin1');
    head.write(`${mode.toString(8).padStart(7, '0')}\0`, 100);
    head.write('0000000\0'.repeat(2), 108);
    head.write(`${(size ?? content.length).toString(8).padStart(11, '0')}\0`, 124);
    head.write(`${'0'.padStart(11, '0')}\0        ${type}`, 136);
    head.write(link, 157, 100, 'latin1');
    head.write('ustar\x0000', 257, 'latin1');
    head.write(prefix, 345, 155, 'latin1');
    const sum = head.reduce((total, byte) => total + byte, 0);
    head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(head, content, Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

interface Sandbox {
  readonly root: string;
  readonly context: HostContext;
  readonly item: (version: string, bytes: Buffer) => InstallItem;
}

async function withSandbox(work: (sandbox: Sandbox) => Promise<void>): Promise<void> {
  const root = fs.mkdtempSync(join(tmpdir(), 'archive-'));
  const payloads = join(root, 'payloads');
  fs.mkdirSync(payloads);
  const context: HostContext = {
    root: '/',
    workFolder: join(root, 'work'),
    payloadPath: (sha256) => join(payloads, sha256),
    catalogs: [],
    log: silentLog,
    clock: systemClock,
    signal: new AbortController().signal,
    archiveRoot: join(root, 'components'),
    wayBackFolder: join(root, 'way-back'),
  };
  const item = (version: string, bytes: Buffer): InstallItem => {
    const sha256 = sha256Of(bytes);
    fs.writeFileSync(join(payloads, sha256), bytes);
    const path = `tool/tool-${version}.tar.gz`;
    return {
      name: 'tool',
      arch: 'all',
      from: null,
      to: version,
      sha256,
      size: bytes.length,
      path,
      repository: 'own',
      patch: `tool@${version}`,
      format: 'archive',
    };
  };
  try {
    await work({ root, context, item });
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

const POLICY = { newDependencies: 'refuse', removals: 'refuse' } as const;
const good = (text: string) =>
  gzipSync(
    tarOf([
      { name: './', type: '5' },
      { name: './bin/', type: '5' },
      { name: './bin/run', body: text, mode: 0o755 },
      { name: 'share/readme', body: 'read me' },
    ]),
  );

test('installs, switches, keeps the old version, and goes back', async () => {
  await withSandbox(async ({ root, context, item }) => {
    const first = await archive.plan([item('1.0', good('one'))], POLICY, context);
    for (const check of await archive.precheck(first, { freeBytes: 0 }, context)) assert.ok(check.ok, check.says);
    assert.ok((await archive.install(first, context)).ok);
    const run = join(root, 'components/tool/current/bin/run');
    assert.equal(fs.readFileSync(run, 'utf8'), 'one');
    assert.equal(fs.statSync(run).mode & 0o777, 0o755);
    assert.equal(fs.statSync(join(root, 'components/tool/current/share/readme')).mode & 0o777, 0o644);

    const second = await archive.plan([item('1.1', good('two'))], POLICY, context);
    assert.deepEqual(second.changes, [{ name: 'tool', arch: 'all', from: '1.0', to: '1.1' }]);
    const way = waysBack.find(({ kind }) => kind === 'archive') ?? assert.fail();
    assert.ok((await way.assess([second], context)).possible);
    await way.take('run', [second], context);
    assert.ok((await archive.install(second, context)).ok);
    assert.equal(fs.readFileSync(run, 'utf8'), 'two');
    assert.deepEqual((await archive.plan([item('1.1', good('two'))], POLICY, context)).items, []);

    for (let time = 0; time < 2; time += 1) {
      const back = await way.restore('run', [second], context);
      assert.ok(back.ok, back.says);
      assert.equal(fs.readFileSync(run, 'utf8'), 'one');
      assert.ok(!fs.existsSync(join(root, 'components/tool/versions/1.1')));
    }
    assert.deepEqual(await archive.audit(context), []);
    await way.discard('run', context);
    assert.deepEqual(await way.list(context), []);
    assert.equal(currentVersion(context, 'tool'), '1.0');
  });
});

test('a first version taken back leaves no component; a committed one lets the old version go', async () => {
  await withSandbox(async ({ root, context, item }) => {
    const way = waysBack.find(({ kind }) => kind === 'archive') ?? assert.fail();
    const first = await archive.plan([item('1.0', good('one'))], POLICY, context);
    await way.take('a', [first], context);
    await archive.install(first, context);
    await way.restore('a', [first], context);
    assert.equal(currentVersion(context, 'tool'), null);
    await archive.install(first, context);
    const second = await archive.plan([item('2.0', good('two'))], POLICY, context);
    await way.take('b', [second], context);
    await archive.install(second, context);
    await way.discard('b', context);
    assert.deepEqual(fs.readdirSync(join(root, 'components/tool/versions')), ['2.0']);
  });
});

const file = { name: 'a', body: 'x' };
const HOSTILE: Readonly<Record<string, readonly Row[]>> = {
  'absolute path': [{ name: '/etc/passwd', body: 'x' }],
  'climbs out': [{ name: 'a/../../x', body: 'x' }],
  'climbs in the prefix': [{ name: 'x', prefix: '../..', body: 'x' }],
  'a link': [{ name: 'a', type: '2', link: '/etc/passwd' }],
  'a link, then a file through it': [
    { name: 'a', type: '2', link: '/tmp' },
    { name: 'a/x', body: 'x' },
  ],
  'a hard link': [file, { name: 'b', type: '1', link: 'a' }],
  'a character device': [{ name: 'a', type: '3' }],
  'a block device': [{ name: 'a', type: '4' }],
  'a pipe': [{ name: 'a', type: '6' }],
  'set-uid': [{ name: 'a', mode: 0o4755, body: 'x' }],
  'set-gid folder': [{ name: 'a/', type: '5', mode: 0o2755 }],
  'twice the same': [file, file],
  'case-fold twins': [
    { name: 'README', body: 'x' },
    { name: 'readme', body: 'y' },
  ],
  'case-fold twins of folders': [
    { name: 'Bin/a', body: 'x' },
    { name: 'bin/b', body: 'y' },
  ],
  'a file that becomes a folder': [file, { name: 'a/b', body: 'x' }],
  'a folder that becomes a file': [{ name: 'a/b', body: 'x' }, file],
  'reserved Windows name': [{ name: 'lib/NUL.txt', body: 'x' }],
  'stream of NTFS': [{ name: 'a:b', body: 'x' }],
  'trailing dot': [{ name: 'a.', body: 'x' }],
  'blank at the end': [{ name: 'a ', body: 'x' }],
  'control character': [{ name: 'a\u0007', body: 'x' }],
  backslash: [{ name: '..\\x', body: 'x' }],
  'letters outside ASCII': [{ name: 'ﬁle', body: 'x' }],
  'too deep': [{ name: `${'a/'.repeat(40)}b`, body: 'x' }],
  empty: [],
};

for (const [what, rows] of Object.entries(HOSTILE)) {
  test(`S31 hostile archive, ${what}: refused, nothing placed`, async () => {
    await withSandbox(async ({ root, context, item }) => {
      await archive.install(await archive.plan([item('1.0', good('one'))], POLICY, context), context);
      const plan = await archive.plan(
        [item('2.0', gzipSync(tarOf([{ name: 'first', body: 'fine' }, ...rows].slice(rows.length === 0 ? 1 : 0))))],
        POLICY,
        context,
      );
      const outcome = await archive.install(plan, context);
      assert.equal(outcome.ok, false, outcome.says);
      assert.equal(currentVersion(context, 'tool'), '1.0');
      assert.deepEqual(fs.readdirSync(join(root, 'components/tool')).toSorted(), ['current', 'versions']);
      assert.deepEqual(fs.readdirSync(join(root, 'components/tool/versions')), ['1.0']);
      assert.ok(!fs.existsSync(join(root, 'x')));
    });
  });
}

const NOT_A_TAR_GZ: Readonly<Record<string, Buffer>> = {
  'a plain tar': tarOf([file]),
  'a zip': Buffer.from('PK\u0003\u0004 and so on'),
  'a gzip in a gzip': gzipSync(gzipSync(tarOf([file]))),
  'a gzip of text': gzipSync('hello '.repeat(1000)),
  'cut off': good('one').subarray(0, 60),
  nothing: Buffer.alloc(0),
  'a header that lies about the size': gzipSync(tarOf([{ name: 'a', body: 'x', size: 100_000 }])),
};

for (const [what, bytes] of Object.entries(NOT_A_TAR_GZ)) {
  test(`S32 another format than its name, ${what}: refused`, async () => {
    await withSandbox(async ({ root, context, item }) => {
      const outcome = await archive.install(await archive.plan([item('1.0', bytes)], POLICY, context), context);
      assert.equal(outcome.ok, false);
      assert.equal(currentVersion(context, 'tool'), null);
      assert.deepEqual(fs.readdirSync(join(root, 'components/tool')), ['versions']);
    });
  });
}

test('S31 a bomb of 900:1 is stopped by its ratio, long before it is unpacked', async () => {
  await withSandbox(async ({ context, item }) => {
    const bomb = gzipSync(tarOf([{ name: 'zeros', body: Buffer.alloc(300 * 1024 * 1024) }]), { level: 9 });
    assert.ok(bomb.length < 1024 * 1024);
    const outcome = await archive.install(await archive.plan([item('1.0', bomb)], POLICY, context), context);
    assert.match(outcome.says, /times its size/);
  });
});

test('names that cannot be folders are kept back, not bent', async () => {
  await withSandbox(async ({ context, item }) => {
    for (const change of [{ name: '../x' }, { name: 'Tool' }, { to: '../1' }, { to: '1.' }, { to: '.' }]) {
      const plan = await archive.plan([{ ...item('1.0', good('one')), ...change }], POLICY, context);
      assert.deepEqual([plan.items, plan.refused?.code], [[], 'packages.kept-back']);
    }
  });
});

test('what a killed installation left is swept by the next one', async () => {
  await withSandbox(async ({ root, context, item }) => {
    const folder = join(root, 'components/tool');
    fs.mkdirSync(join(folder, '.quarantine-abc/deep'), { recursive: true });
    fs.mkdirSync(join(folder, 'versions/1.0/half'), { recursive: true });
    fs.symlinkSync('versions/1.0', join(folder, '.tmp-1234'));
    const outcome = await archive.install(await archive.plan([item('1.0', good('one'))], POLICY, context), context);
    assert.ok(outcome.ok, outcome.says);
    assert.deepEqual(fs.readdirSync(folder).toSorted(), ['current', 'versions']);
    assert.deepEqual(fs.readdirSync(join(folder, 'versions/1.0')).toSorted(), ['bin', 'share']);
  });
});

test('property: a path that is let through stays below its folder', () => {
  const part = fc.oneof(fc.constantFrom('..', '.', '', 'a', 'B', 'con', 'x.', '~', '-'), fc.string({ maxLength: 6 }));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const judged = judgePath(parts.join('/'));
      if ('refused' in judged) return;
      const inside = join('/quarantine', ...judged.parts);
      assert.ok(inside === '/quarantine' || inside.startsWith('/quarantine/'));
      assert.ok(judged.parts.every((each) => /^[\x21-\x7e]+$/.test(each) && each !== '..'));
    }),
  );
});

test('property: no two names that a file system without case would take for one are let through', () => {
  const name = fc.array(fc.constantFrom('a', 'A', 'b'), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.boolean()), { maxLength: 12 }), (entries) => {
      const guard = createTwinGuard();
      const taken = new Map<string, string>();
      for (const [parts, folder] of entries) {
        if (guard(parts, folder) !== undefined) return;
        for (let depth = 1; depth <= parts.length; depth += 1) {
          const path = parts.slice(0, depth).join('/');
          const known = taken.get(path.toLowerCase());
          assert.ok(known === undefined || known === path);
          taken.set(path.toLowerCase(), path);
        }
      }
    }),
  );
});
