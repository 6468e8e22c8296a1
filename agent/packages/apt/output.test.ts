import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parsePolicy, parseShow, parseSimulation } from './output.ts';

const recorded = (name: string) => fs.readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8');

test('a simulated upgrade: each package once, with old and new version', () => {
  const { installs, removals } = parseSimulation(recorded('simulated-upgrade.txt'));
  assert.deepEqual(installs.slice(0, 3), [
    { name: 'libperl5.36', arch: 'amd64', from: '5.36.0-7+deb12u3', to: '5.36.0-7+deb12u4' },
    { name: 'perl', arch: 'amd64', from: '5.36.0-7+deb12u3', to: '5.36.0-7+deb12u4' },
    { name: 'perl-base', arch: 'amd64', from: '5.36.0-7+deb12u3', to: '5.36.0-7+deb12u4' },
  ]);
  assert.deepEqual(installs.find(({ name }) => name === 'nginx-common')?.arch, 'all');
  assert.deepEqual(removals, []);
});

test('a simulated installation: new packages, a foreign architecture, removals', () => {
  const { installs, removals } = parseSimulation(recorded('simulated-install.txt'));
  assert.equal(installs.length, 14);
  assert.ok(installs.every(({ from }) => from === null));
  assert.deepEqual(
    installs.find(({ name }) => name === 'libssl3'),
    { name: 'libssl3', arch: 'i386', from: null, to: '3.0.20-1~deb12u2' },
  );
  assert.deepEqual(installs.find(({ name }) => name === 'libgcc-s1')?.to, '12.2.0-14+deb12u1');
  assert.deepEqual(removals, [
    { name: 'systemd-sysv', arch: undefined, version: '252.39-1~deb12u2' },
    { name: 'nginx-light', arch: undefined, version: '1.22.1-9+deb12u9' },
  ]);
});

test('policy: candidates and priorities, pins included', () => {
  const policies = parsePolicy(recorded('policy.txt'));
  assert.deepEqual([...policies.keys()], ['openssl', 'libssl3', 'tzdata']);
  assert.equal(policies.get('openssl')?.candidate, '3.0.22-1~deb12u2');
  assert.equal(policies.get('libssl3')?.candidate, '3.0.20-1~deb12u2');
  assert.equal(policies.get('libssl3')?.priorities.get('3.0.20-1~deb12u2'), 1001);
  assert.equal(policies.get('tzdata')?.priorities.get('2026f-0+deb12u1'), -1);
});

test('show: hash, size and place of what a signed index lists; nothing of what is only installed', () => {
  const listed = parseShow(recorded('show.txt')).filter(({ sha256 }) => sha256 !== undefined);
  assert.deepEqual(listed[0], {
    name: 'openssl',
    arch: 'amd64',
    version: '3.0.22-1~deb12u2',
    sha256: '5cdf0b735b1c8a96ae0bf83ed328c83c2170f8320dedb035e98705b60b2d0cfe',
    size: 1_441_784,
    path: 'pool/updates/main/o/openssl/openssl_3.0.22-1~deb12u2_amd64.deb',
    installedBytes: 2315 * 1024,
  });
  assert.deepEqual(
    listed.map(({ name }) => name),
    ['openssl', 'tzdata'],
  );
});
