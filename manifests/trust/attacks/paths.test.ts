// S14, S15, and the search through delegations: a valid signature over the wrong thing, or by somebody with no say over it.
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { openTrust } from '../client.ts';
import { type DelegatedOfTest, signerOf, T0, TestRepository, temporaryFolder } from '../testing/repository.ts';
import { matchesPattern } from '../verify/paths.ts';

type Context = { after(fn: () => void): void };
async function read(t: Context, repository: TestRepository, limits = {}) {
  if (repository.versions['timestamp'] === 0) await repository.publish();
  const client = openTrust({
    folder: temporaryFolder(t),
    pinnedRoot: repository.files.get('metadata/1.root.json'),
    now: () => T0,
    limits,
  });
  await client.refresh(repository.fetcher);
  return client;
}
const role = (name: string, more: Partial<DelegatedOfTest> = {}): DelegatedOfTest => ({
  name,
  signers: [signerOf(name)],
  threshold: 1,
  paths: ['*'],
  ...more,
});

test('S14 wrong software: a valid target of another path, product or site', async (t) => {
  const repository = new TestRepository().add('catalogs/debian-12.json', 'for 12').add('catalogs/debian-13.json', 'for 13');
  const client = await read(t, repository);
  const other = new TestRepository().add('catalogs/debian-12.json', 'of another site');
  await other.publish();
  // The bytes of another path, and the honest file of another repository, served under the right name.
  for (const content of ['for 13', 'of another site', 'for 12 ', 'FOR 12', '']) {
    repository.files.set(repository.targetPath('catalogs/debian-12.json', 'for 12'), Buffer.from(content));
    await assert.rejects(client.readTarget('catalogs/debian-12.json', repository.fetcher), { code: 'trust.target-hash' });
  }
  await assert.rejects(client.readTarget('catalogs/debian-14.json', repository.fetcher), { code: 'trust.target-missing' });
  // Another repository's metadata is signed by strangers here.
  other.roles.timestamp = { signers: [signerOf('stranger')], threshold: 1 };
  await other.publish();
  await assert.rejects(client.refresh(other.fetcher), { code: 'trust.threshold' });
  assert.throws(() => openTrust({ folder: temporaryFolder(t), now: () => T0 }), { code: 'trust.no-root' });
});

test('S14 a root of another repository is not taken for this one', async (t) => {
  const repository = new TestRepository();
  await repository.publish();
  const folder = temporaryFolder(t);
  openTrust({ folder, pinnedRoot: repository.get('root'), now: () => T0 });
  const other = new TestRepository();
  other.roles.targets = { signers: [signerOf('elsewhere')], threshold: 1 };
  assert.throws(() => openTrust({ folder, pinnedRoot: other.get('root'), now: () => T0 }), { code: 'trust.malformed' });
  const foreign = await other.publishRoot();
  assert.throws(() => openTrust({ folder, pinnedRoot: foreign, now: () => T0 }), { code: 'trust.other-root' });
});

test('S15 a delegated signer outside its paths', async (t) => {
  const repository = new TestRepository()
    .delegate(role('catalog', { paths: ['catalogs/*'] }))
    .delegate(role('policy', { paths: ['policy/*/*'] }));
  for (const path of ['policy/baselines/x', 'catalogs/deep/er', 'catalogs', 'root', 'Catalogs/x', '/catalogs/x'])
    repository.add(path, 'mine', 'catalog');
  repository.add('catalogs/ok', 'mine', 'catalog');
  const client = await read(t, repository);
  assert.deepEqual(
    client.targets().map(({ path }) => path),
    ['catalogs/ok'],
  );
  assert.equal(client.target('policy/baselines/x'), undefined);
  await assert.rejects(client.readTarget('policy/baselines/x', repository.fetcher), { code: 'trust.target-missing' });
});

test('S15 one role under two delegators with different keys', async (t) => {
  const honest = role('shared', { paths: ['s/*'] });
  const make = (second: DelegatedOfTest) =>
    new TestRepository()
      .delegate(role('a', { paths: ['s/*'] }))
      .delegate(honest)
      .delegate({ ...second, by: 'a' })
      .add('s/x', 'x', 'shared');
  const client = await read(t, make(honest));
  assert.equal(client.target('s/x')?.role, 'shared');
  await assert.rejects(read(t, make({ ...honest, signers: [signerOf('another')] })), { code: 'trust.threshold' });
  await assert.rejects(read(t, make({ ...honest, signers: [signerOf('shared'), signerOf('another')], threshold: 2 })), {
    code: 'trust.threshold',
  });
});

test('delegations: order, terminating, hash prefixes, cycles, depth, a role that is not there', async (t) => {
  const first = new TestRepository()
    .delegate(role('one'))
    .delegate(role('two'))
    .add('x', '1', 'one')
    .add('x', '2', 'two')
    .add('y', '2', 'two');
  const client = await read(t, first);
  assert.equal(client.target('x')?.role, 'one');
  assert.equal(client.target('y')?.role, 'two');
  const terminating = new TestRepository()
    .delegate(role('one', { terminating: true }))
    .delegate(role('two'))
    .add('y', '2', 'two');
  assert.equal((await read(t, terminating)).target('y'), undefined);

  const digest = hash('sha256', 'p/file');
  const byHash = new TestRepository()
    .delegate(role('h', { pathHashPrefixes: [digest.slice(0, 3)], paths: undefined as never }))
    .add('p/file', 'f', 'h');
  assert.equal((await read(t, byHash)).target('p/file')?.role, 'h');
  const elsewhere = new TestRepository()
    .delegate(role('h', { pathHashPrefixes: [digest.startsWith('0') ? '1' : '0'], paths: undefined as never }))
    .add('p/file', 'f', 'h');
  assert.equal((await read(t, elsewhere)).target('p/file'), undefined);

  const cycle = new TestRepository()
    .delegate(role('a'))
    .delegate(role('b', { by: 'a' }))
    .delegate(role('a', { by: 'b' }))
    .add('z', 'z', 'b');
  assert.equal((await read(t, cycle)).target('z')?.role, 'b');
  assert.equal((await read(t, cycle)).target('nowhere'), undefined);

  const deep = new TestRepository();
  for (let level = 0; level < 6; level++) deep.delegate({ ...role(`d${level}`), ...(level > 0 && { by: `d${level - 1}` }) });
  deep.add('deep', 'd', 'd5');
  assert.equal((await read(t, deep)).target('deep')?.role, 'd5');
  assert.equal((await read(t, deep, { searchRoles: 5 })).target('deep'), undefined);
  await assert.rejects(read(t, deep, { delegationDepth: 5 }), { code: 'trust.delegation' });
  await assert.rejects(read(t, deep, { loadedRoles: 4 }), { code: 'trust.delegation' });

  // A delegated role that the snapshot does not list: nobody less trusted may answer for its paths.
  const unlisted = new TestRepository().delegate(role('one')).delegate(role('two')).add('x', '2', 'two');
  unlisted.contents.delete('one');
  assert.equal((await read(t, unlisted)).target('x'), undefined);
});

test('succinct hash bins: every path lies in its own bin, and a bin speaks for no other', async (t) => {
  const repository = new TestRepository();
  repository.bins = { signers: [signerOf('bins')], threshold: 1, bits: 3, prefix: 'bin' };
  for (let at = 0; at < 8; at++) repository.contents.set(`bin-${at}`, new Map());
  for (let at = 0; at < 40; at++)
    repository.add(`f/${at}`, `c${at}`, `bin-${Number.parseInt(hash('sha256', `f/${at}`).slice(0, 1), 16) >>> 1}`);
  const wrong = (Number.parseInt(hash('sha256', 'stray').slice(0, 1), 16) >>> 1) ^ 1;
  repository.add('stray', 's', `bin-${wrong}`);
  const client = await read(t, repository);
  assert.equal(client.targets().length, 40);
  assert.equal(client.target('stray'), undefined);
});

test('path patterns are literal but for * and ?, which do not cross a slash', () => {
  const yes = [
    ['a/*', 'a/b'],
    ['*', 'a'],
    ['a/*/c', 'a/b/c'],
    ['*.json', 'x.json'],
    ['a?c', 'abc'],
    ['**', 'ab'],
    ['a*b*c', 'aXbXbc'],
    ['[a]', '[a]'],
    ['{a,b}', '{a,b}'],
    ['', ''],
  ];
  const no = [
    ['a/*', 'a/b/c'],
    ['*', 'a/b'],
    ['a/*', 'a'],
    ['?', '/'],
    ['a?c', 'a/c'],
    ['*.json', 'd/x.json'],
    ['[a]', 'a'],
    ['{a,b}', 'a'],
    ['a.c', 'abc'],
    ['**', 'a/b'],
    ['', 'a'],
    ['\\*', '*'],
  ];
  for (const [pattern, path] of yes)
    assert.equal(matchesPattern(pattern as string, path as string), true, `${pattern} ${path}`);
  for (const [pattern, path] of no)
    assert.equal(matchesPattern(pattern as string, path as string), false, `${pattern} ${path}`);
});
