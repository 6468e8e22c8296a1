// A signed repository of a real (small) RPM distribution, read and installed from by a real dnf 4 and a real dnf 5 on hosts whose
// package database is rpm's. dnf and rpm are Debian's builds of the same programs. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run, runOrThrow } from '#manifests/platform/process';
import {
  FerryLab,
  ferryCatalog,
  ferryItems,
  ferryVersions,
  INSTALLED,
  inRoot,
  MODULES,
  OARS,
  type PackageSpec,
  RpmVendor,
  UPDATED,
} from '../../../scripts/hosts/rpm/index.ts';
import { isDebianRoot } from '../../../scripts/setup/debian.ts';
import { readEnabledModules } from '../../inventory/index.ts';
import { packageSystems } from '../index.ts';
import { killAllIn } from '../real-updates.ts';
import type { HostContext, PlanPolicy } from '../system.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const STRICT: PlanPolicy = { newDependencies: 'refuse', removals: 'refuse' };
const OPEN: PlanPolicy = { newDependencies: 'allow', removals: 'allow' };
const { rpm } = packageSystems;

/** What only the one or the other generation says or keeps. */
const OWN = {
  4: {
    lock: { path: 'etc/dnf/plugins/versionlock.list', text: 'harbor-0:1.1-1.fl9.*\n' },
    moments: [/^Upgrading : libferry/, /^Running scriptlet: harbor/, /^Cleanup : ferry-tool/],
    unknownKey: /Public key for libferry.* is not installed|GPG check FAILED/,
    wrongSum: /incorrect checksum/,
    reason: /keel-data dependency/,
    filtered: /filtered out by modular filtering|No match|excluded/,
  },
  5: {
    lock: {
      path: 'etc/dnf/versionlock.toml',
      text: 'version = "1.0"\n[[packages]]\nname = "harbor"\n[[packages.conditions]]\nkey = "evr"\ncomparator = "="\nvalue = "1.1-1.fl9"\n',
    },
    moments: [/Upgrading harbor/, /Removing ferry-tool/],
    unknownKey: /OpenPGP check for package "libferry/,
    wrongSum: /checksum/i,
    reason: /keel-data Dependency/,
    filtered: /matches only excluded packages/,
  },
} as const;

for (const generation of [4, 5] as const)
  describe(`dnf ${generation} on a real RPM host`, { skip }, () => {
    const own = OWN[generation];
    const last = own.moments.at(-1) ?? assert.fail();
    let host: FerryLab;
    before(async () => {
      host = await FerryLab.open(generation);
    });
    after(() => host?.close());

    const tree = (change: Partial<HostContext> = {}) => host.tree(change);
    const chroot = inRoot;
    const versions = ferryVersions;
    const itemsOf = (specs: readonly PackageSpec[], patch?: string, from = host.catalog) => ferryItems(from, specs, patch);
    const ferry = () => itemsOf([UPDATED.libferry, UPDATED.tool], 'ferry@1.0-2.fl9');

    test('planned, installed, audited: what dnf itself says is left afterwards is nothing; a second run changes nothing', async () => {
      const { root, context } = await tree();
      const before = await versions(root);
      const items = [...ferry(), ...itemsOf([UPDATED.harbor, UPDATED.kernel])];
      const plan = await rpm.plan(items, STRICT, context);
      assert.deepEqual([plan.refused, plan.keptBack, plan.removals, plan.newPackages], [null, [], [], []]);
      assert.deepEqual(
        plan.changes.map(({ name, from, to }) => `${name} ${from} ${to}`).toSorted(),
        items.map(({ name, from, to }) => `${name} ${from} ${to}`).toSorted(),
      );
      assert.deepEqual(await versions(root), before, 'a plan changes nothing');
      for (const check of await rpm.precheck(plan, { freeBytes: 1 << 20 }, context))
        assert.ok(check.ok, `${check.name}: ${check.says}`);

      fs.writeFileSync(join(root, 'etc/harbor.conf'), 'of the administrator\n');
      const outcome = await rpm.install(plan, context);
      assert.ok(outcome.ok, `${outcome.says}\n${outcome.output}`);
      assert.deepEqual(await rpm.audit(context), []);
      assert.deepEqual(
        (await versions(root)).filter((row) => row.startsWith('kernel-core')),
        ['kernel-core 6.1.0-1.fl9', 'kernel-core 6.1.0-2.fl9'],
        'kernels stand side by side',
      );
      assert.equal(fs.readFileSync(join(root, 'etc/harbor.conf'), 'utf8'), 'of the administrator\n');
      assert.ok(fs.existsSync(join(root, 'etc/harbor.conf.rpmnew')));
      assert.match((await chroot(root, 'getcap', '/usr/bin/ferry-raw')).stdout, /cap_net_raw=ep/);
      assert.match(
        (await chroot(root, generation === 4 ? 'dnf' : 'dnf5', 'history', 'info', 'last')).stdout,
        /Comment\s*: patchferry/,
      );
      const database = fs.readFileSync(join(root, 'var/lib/rpm/rpmdb.sqlite'));
      assert.match((await rpm.install(plan, context)).says, /installed already/);
      assert.deepEqual(fs.readFileSync(join(root, 'var/lib/rpm/rpmdb.sqlite')), database);
      assert.deepEqual((await rpm.plan(items, STRICT, context)).changes, []);
    });

    test('new dependencies and removals only where policy allows; weak ones never; the rest goes on', async () => {
      const { root, context } = await tree();
      const items = itemsOf([UPDATED.keel, UPDATED.mast, UPDATED.harbor]);
      const strict = await rpm.plan(items, STRICT, context);
      assert.deepEqual(
        strict.items.map(({ name }) => name),
        ['harbor'],
      );
      const says = new Map(strict.keptBack.map((kept) => [kept.name, kept.says]));
      assert.match(says.get('keel') ?? '', /needs keel-data, which is not approved/);
      assert.match(says.get('mast') ?? '', /would remove old-mast, which policy refuses/);

      const plan = await rpm.plan(items, OPEN, context);
      assert.deepEqual(
        plan.newPackages.map(({ name, version }) => `${name} ${version}`),
        ['keel-data 2.0-2.fl9'],
      );
      assert.deepEqual(plan.removals, [{ name: 'old-mast', arch: 'noarch', version: '1.0-1.fl9' }]);
      assert.equal(plan.payloads.length, 4);
      const outcome = await rpm.install(plan, context);
      assert.ok(outcome.ok, `${outcome.says}\n${outcome.output}`);
      const now = await versions(root);
      assert.ok(now.includes('keel 1:2.0-2.fl9') && now.includes('keel-data 2.0-2.fl9'));
      assert.ok(!now.some((row) => row.startsWith('keel-doc') || row.startsWith('old-mast')));
      const reasons = await chroot(
        root,
        generation === 4 ? 'dnf' : 'dnf5',
        'repoquery',
        '--installed',
        '--qf',
        '%{name} %{reason}',
        'keel-data',
      );
      assert.match(reasons.stdout, own.reason);
    });

    test('a protected package is never taken away, whatever policy allows', async () => {
      const { context } = await tree();
      const plan = await rpm.plan(itemsOf([UPDATED.storm, UPDATED.harbor]), OPEN, context);
      assert.deepEqual(
        plan.items.map(({ name }) => name),
        ['harbor'],
      );
      assert.match(plan.keptBack[0]?.says ?? '', /ferry-release/);
    });

    test('trap 22: locked and excluded packages stay, each with its reason; the rest is planned', async () => {
      const { root, context } = await tree();
      fs.writeFileSync(join(root, own.lock.path), own.lock.text);
      fs.appendFileSync(join(root, 'etc/dnf/dnf.conf'), 'exclude=kernel*\n');
      const plan = await rpm.plan([...ferry(), ...itemsOf([UPDATED.harbor, UPDATED.kernel])], STRICT, context);
      assert.deepEqual(plan.keptBack.map(({ name }) => name).toSorted(), ['harbor', 'kernel-core']);
      for (const { says } of plan.keptBack) assert.match(says, /held by the administrator/);
      assert.deepEqual(plan.items.map(({ name }) => name).toSorted(), ['ferry-tool', 'libferry']);
      assert.ok((await rpm.install(plan, context)).ok);
    });

    test("metadata that the host's keys do not vouch for is refused by dnf, and nothing is planned", async () => {
      const { root, context } = await tree();
      const before = await versions(root);
      for (const name of ['repomd.xml', 'primary.xml.gz'] as const) {
        const index = host.catalog.repositories[0]?.indexes.find(({ path }) => path.endsWith(name)) ?? assert.fail(name);
        const bytes = fs.readFileSync(join(host.payloads, index.sha256));
        const place = name === 'repomd.xml' ? bytes.indexOf('<revision>') + 10 : bytes.length >> 1;
        bytes[place] = (bytes[place] ?? 0) ^ 1;
        const tampered = join(root, `tmp/${name}`);
        fs.writeFileSync(tampered, bytes);
        const payloadPath = (sha256: string) => (sha256 === index.sha256 ? tampered : context.payloadPath(sha256));
        await assert.rejects(
          rpm.plan(ferry(), STRICT, { ...context, payloadPath }),
          { code: 'packages.vendor-signature' },
          name,
        );
      }
      await chroot(root, 'rpm', '-e', '--allmatches', 'gpg-pubkey');
      await assert.rejects(rpm.plan(ferry(), STRICT, context), { code: 'packages.vendor-signature', message: /trusts no key/ });
      assert.deepEqual(await versions(root), before);
    });

    test('S: a package that a stranger signed is refused by dnf itself, although metadata and catalog name its bytes', async () => {
      const { root, context } = await tree();
      await using stranger = await RpmVendor.open(join(root, 'tmp/stranger'), 'Stranger <s@stranger.example>');
      const repository = join(root, 'tmp/repository');
      const specs = [...INSTALLED, UPDATED.libferry, UPDATED.tool];
      await host.vendor.publish(repository, specs);
      const [foreign = ''] = await stranger.build([UPDATED.libferry]);
      fs.copyFileSync(foreign, join(repository, 'Packages', foreign.split('/').at(-1) ?? ''));
      for (const sign of [true, false]) {
        await host.vendor.index(repository, { sign }); // the metadata is in order, and signed or not: the package's own signature decides
        if (!sign) fs.rmSync(join(repository, 'repodata/repomd.xml.asc'), { force: true });
        const other = ferryCatalog(repository, specs, host.payloads);
        const items = itemsOf([UPDATED.libferry, UPDATED.tool], 'ferry@2', other);
        const plan = await rpm.plan(items, STRICT, { ...context, catalogs: [other] });
        assert.equal(plan.refused, null);
        const keys = (await chroot(root, 'rpm', '-qa', 'gpg-pubkey')).stdout;
        const outcome = await rpm.install(plan, { ...context, catalogs: [other] });
        assert.equal(outcome.ok, false);
        assert.match(outcome.output, own.unknownKey);
        assert.equal((await chroot(root, 'rpm', '-qa', 'gpg-pubkey')).stdout, keys, 'no key was taken in');
        assert.ok((await versions(root)).includes('libferry 1.0-1.fl9'));
        assert.deepEqual(await rpm.audit(context), []);
      }
    });

    test('a package that is not what the metadata names is refused by dnf; the host is unchanged', async () => {
      const { root, context } = await tree();
      const plan = await rpm.plan(ferry(), STRICT, context);
      const older = host.catalog.patches.find(({ id }) => id === 'libferry@1.0-1.fl9')?.packages[0] ?? assert.fail();
      const victim = plan.payloads.find(({ path }) => path.includes('/libferry-')) ?? assert.fail();
      const payloadPath = (sha256: string) => join(host.payloads, sha256 === victim.sha256 ? older.sha256 : sha256);
      const before = await versions(root);
      const outcome = await rpm.install(plan, { ...context, payloadPath });
      assert.equal(outcome.ok, false);
      assert.match(outcome.output, own.wrongSum);
      assert.deepEqual(await versions(root), before);
      assert.deepEqual(await rpm.audit(context), []);
    });

    test('no other repository counts, configured or not', async () => {
      const { root, context } = await tree();
      fs.mkdirSync(join(root, 'etc/yum.repos.d'), { recursive: true });
      const other = '[other]\nname=other\nbaseurl=http://192.0.2.1/other\nenabled=1\nskip_if_unavailable=0\n';
      fs.writeFileSync(join(root, 'etc/yum.repos.d/other.repo'), other);
      fs.appendFileSync(join(root, 'etc/dnf/dnf.conf'), `gpgcheck=0\n\n${other.replaceAll('other', 'third')}`);
      const plan = await rpm.plan(ferry(), STRICT, context);
      assert.equal(plan.items.length, 2);
      assert.ok((await rpm.install(plan, context)).ok);
    });

    test('a patch whose script gives up fails alone, is named, and leaves the database healthy', async () => {
      const { root, context } = await tree();
      const plan = await rpm.plan([...ferry(), ...itemsOf([UPDATED.reef])], STRICT, context);
      const outcome = await rpm.install(plan, context);
      assert.equal(outcome.ok, false);
      assert.deepEqual(outcome.broken, ['reef']);
      assert.deepEqual(await rpm.audit(context), []);
      const now = await versions(root);
      assert.ok(now.includes('reef 1.0-1.fl9') && now.includes('libferry 1.0-2.fl9'));
      const without = await rpm.install(plan, context, new Set(['ferry@1.0-2.fl9']));
      assert.ok(without.ok, without.says);
    });

    test('locks: a transaction of another is waited for, its holder named, its lock left', async () => {
      const { root, context } = await tree();
      const plan = await rpm.plan(ferry(), STRICT, context);
      const holding = new AbortController();
      const script =
        'import fcntl,sys,signal\nf=open(sys.argv[1],"w")\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint("locked",flush=True)\nsignal.pause()';
      let locked = () => undefined as void;
      const isLocked = new Promise<void>((resolve) => {
        locked = resolve;
      });
      const lock = join(root, 'var/lib/rpm/.rpm.lock');
      const holder = run('python3', ['-c', script, lock], {
        timeoutMs: 60_000,
        signal: holding.signal,
        onOutput: () => locked(),
      });
      await isLocked;
      try {
        const check = (await rpm.precheck(plan, { freeBytes: 0 }, { ...context, lockWaitMs: 0 })).find(({ ok }) => !ok);
        assert.match(check?.says ?? '', /python3 \(process \d+\) holds \/var\/lib\/rpm\/\.rpm\.lock/);
        await assert.rejects(rpm.install(plan, { ...context, lockWaitMs: 0 }), { code: 'packages.locked' });
        assert.ok(fs.existsSync(lock));
      } finally {
        holding.abort(new Error('end'));
        await holder;
      }
      assert.ok((await rpm.install(plan, context)).ok);
    });

    test('modules: what is not of the enabled stream is kept back, by the same rule and record as decisions have them', async () => {
      const { root, context } = await tree();
      const specs = [...INSTALLED, ...Object.values(OARS)];
      const repository = join(root, 'tmp/modular');
      await host.vendor.publish(repository, specs, { modules: MODULES });
      fs.mkdirSync(join(root, 'etc/yum.repos.d'), { recursive: true });
      const row = '[modular]\nname=modular\nbaseurl=file:///tmp/modular\ngpgcheck=0\n';
      fs.writeFileSync(join(root, 'etc/yum.repos.d/modular.repo'), row);
      const dnf = generation === 4 ? 'dnf' : 'dnf5';
      assert.deepEqual(readEnabledModules(root), []);
      await chroot(root, dnf, '-y', 'module', 'enable', 'oar:1');
      assert.deepEqual(readEnabledModules(root), ['oar:1']);
      await chroot(root, dnf, '-y', 'install', 'oar-1.0-1.module_fl9+1+abc');
      const catalogs = [ferryCatalog(repository, specs, host.payloads)];
      const planned = async (spec: PackageSpec) =>
        rpm.plan(ferryItems(catalogs[0] ?? assert.fail(), [spec]), STRICT, { ...context, catalogs });
      for (const spec of [OARS.other, OARS.plain]) {
        const { items, keptBack } = await planned(spec);
        assert.deepEqual(items, []);
        assert.match(keptBack[0]?.says ?? '', own.filtered);
      }
      const plan = await planned(OARS.second);
      assert.deepEqual([plan.refused, plan.keptBack], [null, []]);
      const outcome = await rpm.install(plan, { ...context, catalogs });
      assert.ok(outcome.ok, `${outcome.says}\n${outcome.output}`);
      assert.ok((await versions(root)).includes('oar 1.0-2.module_fl9+1+abc'));
    });

    /** A host whose installation was killed at that moment; on a busy machine dnf may be done before we see it: then another host. */
    const cutAt = async (moment: RegExp) => {
      for (let attempt = 0; attempt < 5; attempt += 1) {
        let killed = 0;
        const { root, context } = await tree();
        const plan = await rpm.plan([...ferry(), ...itemsOf([UPDATED.harbor])], STRICT, context);
        const onProgress = (says: string) => {
          if (killed === 0 && moment.test(says)) killed = killAllIn(root);
        };
        const cut = await rpm.install(plan, { ...context, onProgress });
        if (killed > 0 && !cut.ok) return { root, context, plan };
      }
      return assert.fail('the moment never came in time');
    };

    for (const moment of own.moments) {
      test(`killed at "${moment.source}": audit tells, and the same installation finishes`, async () => {
        const { root, context, plan } = await cutAt(moment);
        assert.match((await rpm.audit(context)).join('\n'), /was interrupted/);
        const finished = await rpm.install(plan, context);
        assert.ok(finished.ok, `${finished.says}\n${finished.output}`);
        assert.deepEqual(await rpm.audit(context), []);
        const now = await versions(root);
        for (const item of plan.items)
          assert.deepEqual(
            now.filter((row) => row.startsWith(`${item.name} `)),
            [`${item.name} ${item.to}`],
          );
        assert.ok(!fs.existsSync(join(root, 'usr/share/libferry/only-in-1')), 'files of the old version are gone');
        assert.ok(fs.existsSync(join(root, 'var/lib/harbor-post-2')), 'its scripts ran');
        await chroot(root, 'rpm', '-V', 'libferry', 'ferry-tool', 'harbor');
      });
    }

    test('killed in the middle, repair alone puts the database right without a network', async () => {
      const { root, context } = await cutAt(last);
      assert.notDeepEqual(await rpm.audit(context), []);
      const repaired = await rpm.repair(context);
      assert.ok(repaired.ok, repaired.says);
      assert.deepEqual(await rpm.audit(context), []);
      await chroot(root, 'rpm', '-V', 'libferry', 'ferry-tool', 'harbor');
    });

    test('trap 23: a kernel is refused by the precheck when /boot has no room for it and its initial RAM disk', async () => {
      const { root, context } = await tree();
      await runOrThrow('mount', ['-t', 'tmpfs', '-o', 'size=40M', 'tmpfs', join(root, 'boot')], { timeoutMs: 10_000 });
      try {
        fs.writeFileSync(join(root, 'boot/initramfs-6.1.0-1.fl9.x86_64.img'), Buffer.alloc(20 << 20));
        const plan = await rpm.plan(itemsOf([UPDATED.kernel]), STRICT, context);
        const failed = (await rpm.precheck(plan, { freeBytes: 0 }, context)).filter(({ ok }) => !ok);
        assert.deepEqual(
          failed.map(({ name }) => name),
          ['room /boot'],
        );
      } finally {
        await runOrThrow('umount', [join(root, 'boot')], { timeoutMs: 10_000 });
      }
    });
  });
