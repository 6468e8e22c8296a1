// Services, owner and modes of components: over a service manager that does as it is told; the switch and the files are real.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import * as tar from 'tar';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { type Catalog, type Placement, sha256Of } from '#manifests/schema';
import { waysBack } from '../../snapshot/index.ts';
import { packageSystems } from '../index.ts';
import type { HostContext, InstallItem, InstallPlan } from '../system.ts';
import { currentVersion } from './components.ts';
import { ownerOf, pathFits } from './ownership.ts';

const { archive } = packageSystems;
const POLICY = { newDependencies: 'refuse', removals: 'refuse' } as const;

describe('how own software is put in place', () => {
  let root: string;
  let context: HostContext;
  let acts: string[];
  let active: Set<string>;
  /** Whether a service may start, by what is in use at that moment. */
  let starts: (unit: string, version: string | null) => boolean;

  const current = () => currentVersion(context, 'tool');
  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'placement-'));
    acts = [];
    active = new Set(['tool.service', 'other.service']);
    starts = () => true;
    context = {
      root: '/',
      workFolder: join(root, 'work'),
      payloadPath: (sha256) => join(root, 'payloads', sha256),
      catalogs: [],
      log: silentLog,
      clock: systemClock,
      signal: new AbortController().signal,
      archiveRoot: join(root, 'components'),
      wayBackFolder: join(root, 'way-back'),
      services: {
        isActive: async (unit) => active.has(unit),
        async stop(unit) {
          acts.push(`stop ${unit} at ${current()}`);
          active.delete(unit);
          return undefined;
        },
        async start(unit) {
          acts.push(`start ${unit} at ${current()}`);
          if (!starts(unit, current())) return 'exit 1';
          active.add(unit);
          return undefined;
        },
      },
    };
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  async function plan(version: string, placement: Placement): Promise<InstallPlan> {
    const source = join(root, `source-${version}`);
    fs.mkdirSync(join(source, 'etc'), { recursive: true });
    fs.writeFileSync(join(source, 'run.sh'), `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
    fs.writeFileSync(join(source, 'etc/secret.conf'), version);
    const file = join(root, 'made.tar.gz');
    await tar.create({ gzip: true, file, cwd: source, portable: true }, ['run.sh', 'etc']);
    const bytes = fs.readFileSync(file);
    const sha256 = sha256Of(bytes);
    fs.mkdirSync(join(root, 'payloads'), { recursive: true });
    fs.writeFileSync(join(root, 'payloads', sha256), bytes);
    const [patch, path] = [`tool@${version}`, `tool-${version}.tar.gz`];
    const item: InstallItem = {
      name: 'tool',
      arch: 'all',
      from: current(),
      to: version,
      sha256,
      size: bytes.length,
      path,
      repository: 'own',
      patch,
      format: 'archive',
    };
    const described = { id: patch, format: 'archive', placement } as unknown as Catalog['patches'][number];
    context = { ...context, catalogs: [{ patches: [described] } as unknown as Catalog] };
    return archive.plan([item], POLICY, context);
  }
  const install = async (version: string, placement: Placement) => archive.install(await plan(version, placement), context);
  const SERVICES = { services: ['tool.service', 'helper.service'] };

  test('services that ran are stopped before the switch and started after it; those that did not are left', async () => {
    assert.ok((await install('1.0.0', SERVICES)).ok);
    assert.deepEqual(acts, ['stop tool.service at null', 'start tool.service at 1.0.0']);
    assert.deepEqual([...active].toSorted(), ['other.service', 'tool.service']);
    assert.deepEqual(await archive.audit(context), []);
  });

  test('a service that does not run with the new version is tried twice, then the old one is back in use and runs', async () => {
    await install('1.0.0', SERVICES);
    acts.length = 0;
    starts = (_unit, version) => version !== '2.0.0';
    const outcome = await install('2.0.0', SERVICES);
    assert.equal(outcome.ok, false);
    assert.match(outcome.says, /tool\.service does not start: exit 1; version 1\.0\.0 is back in use/);
    assert.deepEqual(acts, [
      'stop tool.service at 1.0.0',
      'start tool.service at 2.0.0',
      'start tool.service at 2.0.0',
      'start tool.service at 1.0.0',
    ]);
    assert.deepEqual([current(), active.has('tool.service')], ['1.0.0', true]);
    assert.equal(fs.existsSync(join(context.archiveRoot, 'tool/versions/2.0.0')), false);
    assert.deepEqual(await archive.audit(context), []);
  });

  for (const moment of ['stop', 'start']) {
    test(`killed at the ${moment}: told by the audit, and the same installation ends the same`, async () => {
      await install('1.0.0', SERVICES);
      const made = await plan('2.0.0', SERVICES);
      const services = context.services ?? assert.fail();
      const dying = { ...services, [moment]: async () => Promise.reject(new TypeError('killed')) };
      await assert.rejects(archive.install(made, { ...context, services: dying }), /killed/);
      assert.match((await archive.audit(context)).join(), /services were stopped/);
      if (moment === 'start') active.delete('tool.service');
      assert.ok((await archive.install(made, context)).ok);
      assert.deepEqual([current(), active.has('tool.service')], ['2.0.0', true]);
      assert.deepEqual(await archive.audit(context), []);
    });
  }

  test('a rollback switches back with the services, also when the new version has killed them', async () => {
    await install('1.0.0', SERVICES);
    const made = await plan('2.0.0', SERVICES);
    const way = waysBack.find(({ kind }) => kind === 'archive') ?? assert.fail();
    await way.take('11111111-1111-1111-1111-111111111111', [made], context);
    assert.ok((await archive.install(made, context)).ok);
    active.delete('tool.service');
    acts.length = 0;
    const restored = await way.restore('11111111-1111-1111-1111-111111111111', [made], context);
    assert.ok(restored.ok, restored.says);
    assert.deepEqual([current(), active.has('tool.service')], ['1.0.0', true]);
    assert.deepEqual(acts, ['start tool.service at 1.0.0']);
  });

  test('modes and owner are as described, without ever a set-uid bit', {
    skip: process.getuid?.() !== 0 && 'needs root',
  }, async () => {
    const placement: Placement = {
      owner: 'daemon:bin',
      modes: [
        { path: 'etc/*.conf', mode: '0600' },
        { path: 'etc', mode: '0750' },
        { path: '*', mode: '0755' },
      ],
    };
    assert.ok((await install('1.0.0', placement)).ok);
    const folder = join(context.archiveRoot, 'tool/current');
    const facts = (path: string) => {
      const { mode, uid, gid } = fs.statSync(join(folder, path));
      return [(mode & 0o7777).toString(8), uid, gid];
    };
    const ids = ownerOf(context, 'daemon:bin');
    assert.ok('uid' in ids);
    assert.deepEqual(facts('etc/secret.conf'), ['600', ids.uid, ids.gid]);
    assert.deepEqual(facts('run.sh'), ['755', ids.uid, ids.gid]);
    assert.deepEqual(facts('etc').slice(1), [ids.uid, ids.gid]);
  });

  test('an owner that the host does not have keeps the component back, with the reason', async () => {
    const made = await plan('1.0.0', { owner: 'no-such-user-here' });
    assert.deepEqual(made.items, []);
    assert.match(made.keptBack[0]?.says ?? '', /there is no user no-such-user-here/);
    assert.equal(made.refused?.code, 'packages.kept-back');
  });

  test('a pattern means part of one name, and dots are dots', () => {
    assert.ok(pathFits('etc/*.conf', 'etc/a.conf'));
    assert.ok(!pathFits('etc/*.conf', 'etc/a/b.conf'));
    assert.ok(!pathFits('a.b', 'axb'));
    assert.ok(pathFits('bin/c++', 'bin/c++'));
  });
});
