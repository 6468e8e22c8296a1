import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConffiles, parseUcf } from './conffiles.ts';
import { belongsToKernel, kernelReleaseOf, oldKernels } from './removals.ts';

// recorded from a Debian 12 host
const STATUS = `Package: adduser
Status: install ok installed
Architecture: all
Multi-Arch: foreign
Version: 3.134
Conffiles:
 /etc/adduser.conf 0a67bd6ed2e8ab5e3a3a4a3f9d5f5ec3
 /etc/deluser.conf f7dfc0a2a8d2ee4c2fdf9ba4d0ea0c9d
Description: add and remove users and groups

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Conffiles:
 /etc/gone.conf 0a67bd6ed2e8ab5e3a3a4a3f9d5f5ec3
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Conffiles:
 /etc/bash.bashrc 89269e1298235f1b12b4c16e4065ad0d
 /etc/old name 89269e1298235f1b12b4c16e4065ad0d
 /etc/obsolete 7b7d2a6a4d1c2a2c9a3b7e8d9f0a1b2c obsolete
Description: GNU Bourne Again SHell
`;

test('conffiles of installed packages as dpkg keeps them; obsolete ones and those of removed packages are not shipped', () => {
  const found = parseConffiles(STATUS);
  assert.deepEqual([...found.keys()], ['adduser:all', 'bash:amd64']);
  assert.deepEqual(
    [...(found.get('bash:amd64') ?? [])],
    [
      ['/etc/bash.bashrc', '89269e1298235f1b12b4c16e4065ad0d'],
      ['/etc/old name', '89269e1298235f1b12b4c16e4065ad0d'],
    ],
  );
  assert.equal(parseConffiles('').size, 0);
});

test('files of ucf by the package that registered them', () => {
  const registry = 'libc-bin \t /etc/gai.conf\nopenssh-server   /etc/ssh/sshd_config\nbroken\n';
  const hashes = '7a4a8a5b0a4e3b6a2e7e1c0d9f8b7a6c  /etc/ssh/sshd_config\n';
  assert.deepEqual(
    [...parseUcf(registry, hashes)],
    [['openssh-server', new Map([['/etc/ssh/sshd_config', '7a4a8a5b0a4e3b6a2e7e1c0d9f8b7a6c']])]],
  );
});

test('trap 23: what belongs to the running kernel is known by name, and is never old', () => {
  assert.equal(kernelReleaseOf('linux-image-6.1.0-18-amd64'), '6.1.0-18-amd64');
  assert.equal(kernelReleaseOf('linux-image-6.1.0-18-amd64-unsigned'), '6.1.0-18-amd64');
  assert.equal(kernelReleaseOf('linux-headers-6.1.0-18-common'), '6.1.0-18-common');
  for (const name of ['linux-image-amd64', 'linux-base', 'linux-libc-dev', 'linux-compiler-gcc-12-x86'])
    assert.equal(kernelReleaseOf(name), undefined, name);
  assert.ok(belongsToKernel('linux-modules-6.1.0-18-amd64', '6.1.0-18-amd64'));
  assert.ok(!belongsToKernel('linux-image-6.1.0-18-amd64', '6.1.0-1-amd64'));
  const kernels = ['1', '2', '9', '10', '11'].map((n) => ({
    name: `linux-image-6.1.0-${n}-amd64`,
    arch: 'amd64',
    version: '1',
  }));
  const old = (running: string) => oldKernels(kernels, running).map(({ name }) => name.slice(18, -6));
  assert.deepEqual(old('6.1.0-1-amd64'), ['2', '9']);
  assert.deepEqual(old('6.1.0-11-amd64'), ['1', '2', '9']);
  assert.deepEqual(old('5.10.0-1-of-the-machine'), [], 'a container does not know which kernel is needed');
});
