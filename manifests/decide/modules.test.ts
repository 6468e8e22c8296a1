// Modules of RPM distributions: a patch of a stream is for hosts that have it enabled, as their own dnf filters (the very rule is
// shown with real dnf 4 and 5 in agent/packages/dnf).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from './applicable.ts';
import { evaluate } from './evaluate.ts';
import { explain } from './explain.ts';
import { sampleInput, samplePackage, samplePatch } from './sample.ts';

const rpm = (version: string, modules?: readonly string[], name = 'nodejs') =>
  samplePatch(`${name}@${version}`, {
    format: 'rpm',
    packages: [samplePackage(name, version, { arch: 'x86_64', ...(modules === undefined ? {} : { modules: [...modules] }) })],
  });
const PATCHES = [
  rpm('16.20-1.el9', ['nodejs:16']),
  rpm('18.19-1.el9', ['nodejs:18']),
  rpm('18.20-1.el9', ['nodejs:18']),
  rpm('20.11-1.el9', ['nodejs:20', 'nodejs:20-lts']),
  rpm('22.0-1.el9'),
  rpm('3.0-2.el9', undefined, 'openssl'),
];

const on = (modules: string[] | undefined, installed = 'nodejs:x86_64=18.19-1.el9') =>
  sampleInput(PATCHES, [installed, 'openssl:x86_64=3.0-1.el9'], {
    host: { arch: 'x86_64', ...(modules === undefined ? {} : { modules }) },
  });
const wanted = (modules: string[] | undefined, installed?: string) =>
  evaluate(on(modules, installed)).packages.map(({ name, to }) => `${name} ${to}`);

test('a newer stream is no update: the newest of the enabled one counts, and what is of no module goes on as ever', () => {
  assert.deepEqual(wanted(['nodejs:18']), ['nodejs 18.20-1.el9', 'openssl 3.0-2.el9']);
  assert.deepEqual(wanted(['nodejs:16'], 'nodejs:x86_64=16.1-1.el9'), ['nodejs 16.20-1.el9', 'openssl 3.0-2.el9']);
  assert.deepEqual(wanted(['nodejs:20-lts', 'perl:5.32']), ['nodejs 20.11-1.el9', 'openssl 3.0-2.el9'], 'in several streams');
  assert.equal(evaluate(on(['nodejs:18'], 'nodejs:x86_64=18.20-1.el9')).counts.MISSING, 1, 'only openssl');
});

test('without an enabled stream the package of no module counts; with one it is hidden', () => {
  assert.deepEqual(wanted([]), ['nodejs 22.0-1.el9', 'openssl 3.0-2.el9']);
  assert.deepEqual(wanted(['perl:5.32']), ['nodejs 22.0-1.el9', 'openssl 3.0-2.el9']);
});

test('a host that says nothing of modules, and a catalog without any, are as before', () => {
  assert.deepEqual(wanted(undefined), ['nodejs 22.0-1.el9', 'openssl 3.0-2.el9']);
  const plain = sampleInput([rpm('22.0-1.el9')], ['nodejs:x86_64=18-1'], { host: { arch: 'x86_64', modules: ['nodejs:18'] } });
  assert.deepEqual(
    missing(plain.catalogs, plain.inventory).map(({ to }) => to),
    ['22.0-1.el9'],
  );
});

test('explain names the stream and what is enabled', () => {
  const input = on(['nodejs:18']);
  const says = (query: string) => explain(evaluate(input), input, query).text;
  assert.match(
    says('nodejs@20.11-1.el9'),
    /of module nodejs:20, nodejs:20-lts, which is not enabled on this host \(enabled: nodejs:18\)/,
  );
  assert.match(says('nodejs@22.0-1.el9'), /of no module, and an enabled module of this host has packages of its names/);
});
