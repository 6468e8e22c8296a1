// The whole way of an RPM patch with nothing fake in it but the vendor's size: repository, source, catalog, baseline, decision, plan and
// installation by dnf on a host whose package database is rpm's. Needs root on Debian.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { evaluate, resolveBaseline } from '#manifests/decide';
import { systemClock } from '#manifests/platform/clock';
import { openPayloadStore } from '#manifests/repository';
import { takeInventory } from '../../agent/inventory/index.ts';
import { packageSystems } from '../../agent/packages/index.ts';
import { NO_MEMORY, sampleBaseline, sampleGroup } from '../../manifests/decide/sample.ts';
import { openCatalogStore } from '../../publisher/catalog/index.ts';
import { fetchPayloads, type SourceSettings, syncSource } from '../../publisher/sources/index.ts';
import { ADVISORIES, FerryLab, ferryVersions } from '../hosts/rpm/index.ts';
import { isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const PRODUCT = 'ferrylinux-9';

test("RPM: from the vendor's repository by catalog, baseline and decision to what dnf installs", { skip }, async () => {
  const host = await FerryLab.open();
  try {
    const repository = join(host.lab.folder, 'repository');
    await host.vendor.index(repository, { advisories: ADVISORIES });
    const settings: SourceSettings = {
      name: 'ferry-9',
      kind: 'rpm',
      product: PRODUCT,
      url: repository,
      keyring: host.vendor.publicKey,
    };
    const payloads = openPayloadStore(join(host.lab.disk, 'payloads'));
    const signal = new AbortController().signal;
    const sync = await syncSource(settings, { folder: join(host.lab.folder, 'source'), payloads, clock: systemClock, signal });
    const at = systemClock.now();
    using store = openCatalogStore(join(host.lab.folder, 'catalog'));
    store.merge(PRODUCT, sync, at);
    const catalog = store.catalogOf(PRODUCT, at);
    const baseline = sampleBaseline({ product: PRODUCT, rejected: ['reef'] });
    const resolved = resolveBaseline(baseline, catalog, at);

    const { root, context } = await host.tree({ catalogs: [catalog], payloadPath: (sha256) => payloads.pathOf(sha256) });
    const decide = async () =>
      evaluate({
        catalogs: [catalog],
        baselines: [resolved],
        group: sampleGroup({ baselines: [{ product: PRODUCT, baseline: 'base' }] }),
        inventory: await takeInventory({ root, clock: systemClock, labels: {} }),
        memory: NO_MEMORY,
        at,
        freshness: { softExpired: false, hardExpired: false },
      });
    const stateOf = (evaluation: Awaited<ReturnType<typeof decide>>, patch: string) =>
      evaluation.findings.find((finding) => finding.patch === patch)?.state;

    const before = await decide();
    assert.deepEqual(
      before.packages.map(({ name, from, to }) => `${name} ${from} ${to}`),
      [
        'ferry-tool 1.0-1.fl9 1.0-2.fl9',
        'harbor 1.1-1.fl9 1.2-1.fl9',
        'kernel-core 6.1.0-1.fl9 6.1.0-2.fl9',
        'libferry 1.0-1.fl9 1.0-2.fl9',
        'storm 1.0-1.fl9 1.0-2.fl9',
      ],
      'what has a security advisory and is not rejected',
    );
    assert.equal(stateOf(before, 'libferry@1.0-2.fl9'), 'MISSING');
    const items = before.packages.map((item) => ({ ...item }));
    const wanted = catalog.patches.filter(({ id }) => before.install.includes(id));
    assert.deepEqual((await fetchPayloads(settings, wanted, { payloads, signal })).failed, []);

    const { rpm } = packageSystems;
    const policy = { newDependencies: 'allow', removals: 'refuse' } as const;
    const plan = await rpm.plan(items, policy, context);
    assert.equal(plan.refused, null);
    assert.deepEqual(
      plan.keptBack.map(({ name }) => name),
      ['storm'],
      'it conflicts with the package that names the system',
    );
    const outcome = await rpm.install(plan, context);
    assert.ok(outcome.ok, `${outcome.says}\n${outcome.output}`);
    assert.ok((await ferryVersions(root)).includes('libferry 1.0-2.fl9'));

    const after = await decide();
    assert.deepEqual(
      after.packages.map(({ name }) => name),
      ['storm'],
    );
    assert.equal(stateOf(after, 'libferry@1.0-2.fl9'), 'INSTALLED');
    assert.equal(stateOf(after, 'kernel-core@6.1.0-2.fl9'), 'INSTALLED', 'of several kernels the newest counts');
  } finally {
    await host.close();
  }
});
