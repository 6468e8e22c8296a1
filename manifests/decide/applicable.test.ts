// Which packages of a host a patch concerns, and which patch counts where several would: tables, and a slow reference.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Patch } from '#manifests/schema';
import { compareDeb } from '#manifests/versions';
import { missing } from './applicable.ts';
import { evaluate } from './evaluate.ts';
import {
  sampleCatalog,
  sampleFleetCase,
  sampleInput,
  sampleInstalled,
  sampleInventory,
  samplePackage,
  samplePatch,
} from './sample.ts';

const stateOf = (input: ReturnType<typeof sampleInput>, id: string) =>
  evaluate(input).findings.find(({ patch }) => patch === id)?.state;
const wanted = (input: ReturnType<typeof sampleInput>) =>
  evaluate(input).packages.map(({ name, arch, from, to, patch }) => `${name}:${arch} ${from} -> ${to} (${patch})`);

test('a source patch concerns only the binary packages that are installed', () => {
  const patch = samplePatch('openssl@3.0.1-2', {
    packages: ['openssl', 'libssl3', 'libssl-dev'].map((name) => samplePackage(name, '3.0.1-2')),
  });
  const input = sampleInput([patch], ['libssl3=3.0.1-1', 'bash=5.2']);
  assert.deepEqual(wanted(input), ['libssl3:amd64 3.0.1-1 -> 3.0.1-2 (openssl@3.0.1-2)']);
  assert.deepEqual(evaluate(sampleInput([patch], ['bash=5.2'])).findings, []);
  assert.equal(evaluate(sampleInput([patch], ['bash=5.2'])).counts.NOT_APPLICABLE, 1);
});

test('a binary version that differs from the source version is compared as the binary it is', () => {
  const patch = samplePatch('linux-signed-amd64@6.1.140+1', { packages: [samplePackage('linux-image-amd64', '6.1.140-1')] });
  assert.equal(stateOf(sampleInput([patch], ['linux-image-amd64=6.1.139-1']), patch.id), 'MISSING');
  assert.equal(stateOf(sampleInput([patch], ['linux-image-amd64=6.1.140-1']), patch.id), 'INSTALLED');
  assert.equal(stateOf(sampleInput([patch], ['linux-image-amd64=1:1']), patch.id), 'INSTALLED');
});

test('architectures: the same one; all stands for the host’s own; a foreign one is its own package', () => {
  for (const [installedArch, patchArch, hostArch, fits] of [
    ['amd64', 'amd64', 'amd64', true],
    ['all', 'all', 'amd64', true],
    ['amd64', 'all', 'amd64', true],
    ['all', 'amd64', 'amd64', true],
    ['i386', 'amd64', 'amd64', false],
    ['i386', 'i386', 'amd64', true],
    ['i386', 'all', 'amd64', false],
    ['amd64', 'arm64', 'amd64', false],
    ['amd64', 'amd64', 'x86_64', true],
    ['arm64', 'all', 'aarch64', true],
  ] as const) {
    const patch = samplePatch('a@2', { packages: [samplePackage('a', '2', { arch: patchArch })] });
    const input = sampleInput([patch], [`a:${installedArch}=1`], { host: { arch: hostArch } });
    assert.equal(stateOf(input, 'a@2') === 'MISSING', fits, `${installedArch} ${patchArch} on ${hostArch}`);
  }
});

test('both architectures of one package are patched', () => {
  const packages = ['amd64', 'i386'].map((arch) => samplePackage('libc6', '2', { arch }));
  const input = sampleInput([samplePatch('glibc@2', { packages })], ['libc6:amd64=1', 'libc6:i386=1']);
  assert.deepEqual(wanted(input), ['libc6:amd64 1 -> 2 (glibc@2)', 'libc6:i386 1 -> 2 (glibc@2)']);
});

test('a distribution’s catalog is for hosts of that product alone', () => {
  const catalog = sampleCatalog([samplePatch('a@2')], 'debian-13');
  const evaluation = evaluate(sampleInput([], ['a=1'], { catalogs: [catalog], baselines: [] }));
  assert.deepEqual(evaluation.findings, []);
  assert.equal(evaluation.counts.NOT_APPLICABLE, 1);
  assert.deepEqual(evaluation.notes.slice(-1), ['the catalog of debian-13 is not for this host, which is debian-12']);
});

test('only the newest approved patch of a package is missing; older ones are superseded, with the reason', () => {
  const patches = ['1.1', '1.2', '1.3'].map((version) => samplePatch(`a@${version}`));
  const input = sampleInput(patches, ['a=1.0']);
  assert.deepEqual(
    evaluate(input).findings.map(({ patch, state, reasons }) => [patch, state, reasons[0]]),
    [
      ['a@1.1', 'NOT_APPLICABLE', 'superseded by a@1.3'],
      ['a@1.2', 'NOT_APPLICABLE', 'superseded by a@1.3'],
      ['a@1.3', 'MISSING', 'approved and not installed: a'],
    ],
  );
  const later = sampleInput(patches, ['a=1.2']);
  assert.deepEqual(
    evaluate(later).findings.map(({ state }) => state),
    ['INSTALLED', 'INSTALLED', 'MISSING'],
  );
});

test('what is not approved does not hide what is: an approved patch is missing although a newer one waits or is rejected', () => {
  const old = samplePatch('a@1.1');
  const soon = samplePatch('a@1.2', { firstSeen: '2026-02-28T00:00:00Z' });
  const rules = [{ name: 'week', filters: {}, approve: { afterDays: 7 } }];
  const waiting = sampleInput([old, soon], ['a=1.0'], { spec: { rules } });
  assert.deepEqual(wanted(waiting), ['a:amd64 1.0 -> 1.1 (a@1.1)']);
  assert.equal(stateOf(waiting, 'a@1.2'), 'PENDING_APPROVAL');
  const rejected = sampleInput([old, soon], ['a=1.0'], { spec: { rejected: ['a@1.2'] } });
  assert.deepEqual(wanted(rejected), ['a:amd64 1.0 -> 1.1 (a@1.1)']);
});

test('of patches that wait, one is superseded only by a newer one that is approved no later', () => {
  const seen = { firstSeen: '2026-02-28T00:00:00Z' };
  const patches = [
    samplePatch('a@1.1', { ...seen, severity: 'high' }),
    samplePatch('a@1.2', { ...seen, severity: 'critical' }),
    samplePatch('a@1.3', { ...seen, severity: 'medium' }),
  ];
  const rules = (
    [
      ['critical', 7],
      ['high', 14],
      ['medium', 30],
    ] as const
  ).map(([severity, afterDays]) => ({
    name: severity,
    filters: { severity: [severity] },
    approve: { afterDays },
  }));
  const { findings } = evaluate(sampleInput(patches, ['a=1.0'], { spec: { rules } }));
  assert.deepEqual(
    findings.map(({ patch, state, reasons }) => [patch, state, state === 'NOT_APPLICABLE' ? reasons[0] : '']),
    [
      ['a@1.1', 'NOT_APPLICABLE', 'superseded by a@1.2'],
      ['a@1.2', 'PENDING_APPROVAL', ''],
      ['a@1.3', 'PENDING_APPROVAL', ''],
    ],
  );
});

test('a source that no longer builds one of its packages: each package takes its own newest patch', () => {
  const old = samplePatch('s@1.1', { packages: [samplePackage('a', '1.1'), samplePackage('b', '1.1')] });
  const renewed = samplePatch('s@1.2', { packages: [samplePackage('a', '1.2')] });
  const input = sampleInput([old, renewed], ['a=1.0', 'b=1.0']);
  assert.deepEqual(wanted(input), ['a:amd64 1.0 -> 1.2 (s@1.2)', 'b:amd64 1.0 -> 1.1 (s@1.1)']);
  assert.match(evaluate(input).findings[0]?.reasons.join() ?? '', /1 of its packages come newer with s@1\.2/);
});

test('two patches with the same version of a package bring it once', () => {
  const packages = [samplePackage('a', '1.1')];
  const input = sampleInput([samplePatch('y@1', { packages }), samplePatch('x@1', { packages })], ['a=1.0']);
  assert.deepEqual(wanted(input), ['a:amd64 1.0 -> 1.1 (x@1)']);
  assert.equal(stateOf(input, 'y@1'), 'NOT_APPLICABLE');
});

test('an open security patch is not hidden by a newer one that is none', () => {
  const patches = [samplePatch('a@1.1'), samplePatch('a@1.2', { classification: 'bugfix' })];
  const input = sampleInput(patches, ['a=1.0'], { spec: { rules: [] } });
  assert.equal(stateOf(input, 'a@1.1'), 'AVAILABLE_SECURITY_UPDATE');
  assert.equal(stateOf(input, 'a@1.2'), 'NOT_APPLICABLE');
});

test('a package that is unpacked and not configured counts as not installed', () => {
  const input = sampleInput([samplePatch('a@1.1')], [sampleInstalled('a=1.1', { state: 'broken' })]);
  assert.deepEqual(wanted(input), ['a:amd64 1.1 -> 1.1 (a@1.1)']);
  assert.match(evaluate(input).findings[0]?.reasons.join() ?? '', /not wholly installed on this host: a/);
});

test('own software: an approved component that is not there is missing, one that nothing approves does not concern the host', () => {
  const patch = samplePatch('tool@1.2.0', {
    format: 'archive',
    classification: 'enhancement',
    packages: [samplePackage('tool', '1.2.0', { arch: 'all' })],
  });
  const rules = [{ name: 'all', filters: {}, approve: { afterDays: 0 }, nonSecurity: true }];
  assert.deepEqual(wanted(sampleInput([patch], [], { spec: { rules } })), ['tool:all null -> 1.2.0 (tool@1.2.0)']);
  for (const [components, spec, state] of [
    [{ tool: '1.1.9' }, { rules }, 'MISSING'],
    [{ tool: '1.2.0-rc.1' }, { rules }, 'MISSING'],
    [{ tool: '1.2.0' }, { rules }, 'INSTALLED'],
    [{ tool: '1.10.0' }, { rules }, 'INSTALLED'],
    [{}, { rules: [] }, 'NOT_APPLICABLE'],
    [{ tool: '1.0.0' }, { rules: [] }, 'NOT_APPLICABLE'],
  ] as const) {
    assert.equal(
      stateOf(sampleInput([patch], [], { spec, host: { components } }), patch.id),
      state,
      JSON.stringify(components),
    );
  }
  const other = samplePatch('tool@1.2.0', { ...patch, packages: [samplePackage('tool', '1.2.0', { arch: 'arm64' })] });
  assert.deepEqual(evaluate(sampleInput([other], [], { spec: { rules } })).findings, []);
});

test('missing(): the newest of every package, whatever policy says, against a reference that tries every pair', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 40 }),
      (seed, patches, packages) => {
        const { catalog, inventory } = sampleFleetCase(patches, 3, packages, seed);
        const expected = inventory.packages.flatMap(({ name, version }) => {
          const newer = catalog.patches
            .flatMap((patch) => patch.packages.filter((item) => item.name === name && compareDeb(version, item.version) < 0))
            .toSorted((a, b) => compareDeb(b.version, a.version))[0];
          return newer === undefined ? [] : [`${name} ${version} ${newer.version}`];
        });
        const found = missing([catalog], inventory).map(({ name, from, to }) => `${name} ${from} ${to}`);
        assert.deepEqual(found, expected.toSorted());
      },
    ),
    { seed: 9, numRuns: 100 },
  );
});

test('property: a package is installed at most once, only upwards, only from an approved patch, and its newest', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), (seed) => {
      const { catalog, inventory } = sampleFleetCase(60, 3, 40, seed);
      const rules = [{ name: 'week', filters: { severity: ['critical'] }, approve: { afterDays: 30 } }];
      const input = sampleInput(catalog.patches, inventory.packages, {
        spec: { rules, rejected: ['source-1'] },
        at: Date.parse('2026-05-01T00:00:00Z'),
      });
      const approved = new Set(input.baselines[0]?.approved.map(({ patch }) => patch));
      const { packages, install } = evaluate(input);
      assert.equal(new Set(packages.map(({ name, arch }) => `${name}:${arch}`)).size, packages.length);
      for (const { name, from, to, patch } of packages) {
        assert.ok(approved.has(patch) && install.includes(patch));
        assert.ok(from !== null && compareDeb(from, to) < 0);
        const better = catalog.patches.filter(
          (one: Patch) =>
            approved.has(one.id) && one.packages.some((item) => item.name === name && compareDeb(to, item.version) < 0),
        );
        assert.deepEqual(better, []);
      }
      assert.deepEqual([...new Set(packages.map(({ patch }) => patch))].toSorted(), install);
    }),
    { seed: 13, numRuns: 200 },
  );
});

test('an inventory without a product has no distribution patches, and says so', () => {
  const input = sampleInput([samplePatch('a@2')], ['a=1'], { inventory: sampleInventory(['a=1'], { product: null }) });
  assert.match(evaluate(input).notes.join(), /of an unknown product/);
  assert.deepEqual(evaluate(input).install, []);
});
