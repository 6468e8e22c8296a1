// Which dnf a host is asked through: what it calls `dnf`, whatever else is there.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dnfProgram } from './program.ts';

for (const [what, files, links, expected] of [
  ['RHEL 9', ['dnf-3'], { dnf: 'dnf-3' }, ['dnf', 4]],
  ['Fedora 41', ['dnf5', 'dnf-3'], { dnf: 'dnf5' }, ['dnf', 5]],
  ['a link with a whole path', ['dnf5'], { dnf: '/usr/bin/dnf5' }, ['dnf', 5]],
  ['dnf 5 tried beside dnf 4', ['dnf5', 'dnf-3'], { dnf: 'dnf-3' }, ['dnf', 4]],
  ['a dnf that is no link', ['dnf'], {}, ['dnf', 4]],
  ['dnf 5 by its own name alone', ['dnf5'], {}, ['dnf5', 5]],
  ['dnf 4 by its own name alone', ['dnf4'], {}, ['dnf4', 4]],
  ['none', ['yum'], {}, undefined],
] as const) {
  test(`${what}: ${expected?.join(', ') ?? 'no dnf'}`, () => {
    const root = fs.mkdtempSync(join(tmpdir(), 'dnf-program-'));
    try {
      fs.mkdirSync(join(root, 'usr/bin'), { recursive: true });
      for (const name of files) fs.writeFileSync(join(root, 'usr/bin', name), '');
      for (const [name, target] of Object.entries(links)) fs.symlinkSync(target, join(root, 'usr/bin', name));
      const found = dnfProgram({ root });
      assert.deepEqual(found && [found.name, found.generation], expected);
    } finally {
      fs.rmSync(root, { recursive: true });
    }
  });
}
