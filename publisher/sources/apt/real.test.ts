// The real archive, from the mirror that this machine itself uses, with the machine's own apt as the judge. Skipped elsewhere.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { run } from '#manifests/platform/process';
import { openPayloadStore, type PayloadStore } from '#manifests/repository';
import { openCatalogStore } from '../../catalog/index.ts';
import { fetchPayloads, type SourceSettings, type SourceSync, syncSource } from '../index.ts';

const CONFIGURED = '/etc/apt';

/** The security suite in the machine's apt sources (deb822 or one-line), or why there is none. */
function securitySource(): Pick<SourceSettings, 'url' | 'suite' | 'keyring'> | string {
  const files = [
    'sources.list',
    ...(fs.existsSync(`${CONFIGURED}/sources.list.d`) ? fs.readdirSync(`${CONFIGURED}/sources.list.d`) : []),
  ];
  const texts = files.flatMap((name) =>
    [join(CONFIGURED, name), join(CONFIGURED, 'sources.list.d', name)].filter(
      (path) => fs.existsSync(path) && fs.statSync(path).isFile(),
    ),
  );
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  if (!fs.existsSync(keyring)) return 'this machine has no Debian archive keyring';
  for (const text of texts.map((path) => fs.readFileSync(path, 'utf8'))) {
    const line = /^deb (?:\[[^\]]*\] )?(https?:\/\/\S+?)\/? (\S+-security) .*\bmain\b/m.exec(text);
    if (line?.[1] !== undefined) return { url: line[1], suite: line[2], keyring };
    for (const stanza of text.split(/\n\s*\n/)) {
      const suite = /^Suites:.*?(\S+-security)\b/m.exec(stanza)?.[1];
      const url = /^URIs: *(https?:\/\/\S+?)\/?\s*$/m.exec(stanza)?.[1];
      if (suite !== undefined && url !== undefined) return { url, suite, keyring };
    }
  }
  return 'this machine’s apt sources name no security suite';
}

describe('the real Debian security archive', () => {
  let work: string;
  let skip: string | undefined;
  let settings: SourceSettings;
  let payloads: PayloadStore;
  let first: SourceSync;
  let cpuMs = 0;
  const signal = new AbortController().signal;

  before(async () => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-real-'));
    payloads = openPayloadStore(join(work, 'payloads'));
    const found = securitySource();
    if (typeof found === 'string') {
      skip = found;
      return;
    }
    settings = { name: 'security', kind: 'apt', product: 'debian', ...found };
    const used = process.cpuUsage();
    try {
      first = await syncSource(settings, { folder: join(work, 'state'), payloads, clock: systemClock, signal });
    } catch (error) {
      if (!/^transfer\.(?:unreachable|timeout|slow|cut)$/.test((error as { code?: string }).code ?? '')) throw error;
      skip = `the machine’s mirror cannot be reached: ${(error as Error).message}`;
      return;
    }
    const { user, system } = process.cpuUsage(used);
    cpuMs = (user + system) / 1000;
  });
  after(() => fs.rmSync(work, { recursive: true, force: true }));

  it('is verified, read and grouped in well under two seconds of CPU', (test) => {
    if (skip !== undefined) return test.skip(skip);
    assert.ok(first.patches.length > 50);
    assert.ok(first.patches.every(({ classification }) => classification === 'security'));
    assert.ok(cpuMs < 2_000, `${cpuMs} ms`);
    test.diagnostic(`${first.says}; ${Math.round(cpuMs)} ms CPU`);
  });

  it('apt believes the kept files with its own check of the signature, and reads the same packages from them', async (test) => {
    if (skip !== undefined) return test.skip(skip);
    const root = join(work, 'laid-out');
    for (const { path, sha256 } of first.repository.indexes) {
      fs.mkdirSync(dirname(join(root, path)), { recursive: true });
      fs.copyFileSync(payloads.pathOf(sha256), join(root, path));
    }
    for (const name of ['lists/partial', 'cache/archives/partial']) fs.mkdirSync(join(work, name), { recursive: true });
    fs.writeFileSync(
      join(work, 'sources.list'),
      `deb [arch=amd64 signed-by=${settings.keyring}] file:${root} ${settings.suite} main\n`,
    );
    const options = {
      'Dir::Etc::SourceList': join(work, 'sources.list'),
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::State::Lists': join(work, 'lists'),
      'Dir::Cache': join(work, 'cache'),
      'Acquire::Languages': 'none',
      'APT::Architecture': 'amd64',
      'APT::Sandbox::User': '',
      'APT::Update::Post-Invoke-Success': '',
    };
    const args = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    const apt = (...more: string[]) => run('apt-get', [...args, ...more], { timeoutMs: 60_000 });
    const update = await apt('update', '--error-on=any');
    assert.equal(update.code, 0, update.stderr);
    const target = await apt('indextargets', '--format', '$(FILENAME)', 'Created-By: Packages');
    assert.equal(target.code, 0, target.stderr);
    const file = target.stdout.trim().split('\n')[0] ?? '';
    const text = await run('/usr/lib/apt/apt-helper', ['cat-file', file], {
      timeoutMs: 60_000,
      outputBytes: 256 * 1024 * 1024,
    });
    assert.equal(text.code, 0, text.stderr);
    const field = (stanza: string, name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1] ?? '';
    const theirs = text.stdout
      .split(/\n\n+/)
      .filter((stanza) => stanza.includes('Package:'))
      .map((stanza) =>
        ['Package', 'Version', 'Architecture', 'SHA256', 'Size', 'Filename'].map((name) => field(stanza, name)).join(' '),
      );
    const ours = first.patches.flatMap(({ packages }) =>
      packages.map(({ name, version, arch, sha256, size, path }) => [name, version, arch, sha256, size, path].join(' ')),
    );
    assert.deepEqual(ours.toSorted(), theirs.toSorted());
    test.diagnostic(`${ours.length} binary packages, as apt has them`);
  });

  it('a second sync finds nothing new', async (test) => {
    if (skip !== undefined) return test.skip(skip);
    const again = await syncSource(settings, { folder: join(work, 'state'), payloads, clock: systemClock, signal });
    assert.equal(again.changed, false);
    assert.deepEqual(again.patches, first.patches);
  });

  it('a real package tells its CVEs and urgency, once', async (test) => {
    if (skip !== undefined) return test.skip(skip);
    const source = first.patches.find((patch) => patch.source === 'openssl') ?? first.patches[0];
    const small = source?.packages.toSorted((a, b) => a.size - b.size).slice(0, 1) ?? [];
    if (source === undefined) return test.skip('the suite is empty');
    const { failed } = await fetchPayloads(settings, [{ ...source, packages: small }], { payloads, signal });
    assert.deepEqual(failed, []);
    using store = openCatalogStore(join(work, 'catalog'));
    store.merge('debian', first, Date.now());
    assert.equal((await store.enrich('debian', payloads)).enriched, 1);
    assert.equal((await store.enrich('debian', payloads)).enriched, 0);
    const patch = store.catalogOf('debian', Date.now()).patches.find(({ id }) => id === source.id);
    assert.ok((patch?.cves.length ?? 0) > 0);
    assert.notEqual(patch?.severity, 'unspecified');
    test.diagnostic(`${patch?.id}: ${patch?.severity}, ${patch?.cves.length} CVEs`);
  });
});
