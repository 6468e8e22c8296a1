// Changelogs: which entries count, what they say of CVEs and urgency, and that hostile text ends soon.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { CHANGELOG_LIMITS, fixesIn, readEntries } from './changelog.ts';

const entry = (version: string, distribution: string, urgency: string, ...lines: string[]) =>
  `demo (${version}) ${distribution}; urgency=${urgency}\n\n${lines.map((line) => `  * ${line}\n`).join('')}\n -- A. Person <a@example.org>  Wed, 21 Oct 2026 16:54:24 +0700\n\n`;

const LOG = [
  entry('1.0-1+deb12u3', 'bookworm-security', 'medium', 'CVE-2026-0003 and CVE-2026-0004'),
  entry('1.0-1+deb12u2', 'bookworm-security', 'HIGH', 'Fix (CVE-2026-0002),', 'CVE-2026-0004 was not fixed; see CVE-2026-12'),
  entry('1.0-1+deb12u1', 'bookworm', 'emergency', 'CVE-2025-1000'),
  entry('1.0-1', 'unstable', 'low', 'New upstream release: CVE-2020-0001'),
].join('');

describe('changelog', () => {
  it('counts down to the version known before', () => {
    assert.deepEqual(fixesIn(LOG, 'demo', '1.0-1+deb12u3', '1.0-1+deb12u2'), {
      cves: ['CVE-2026-0003', 'CVE-2026-0004'],
      severity: 'medium',
      date: Date.UTC(2026, 9, 21, 9, 54, 24),
      entries: 1,
    });
    assert.deepEqual(fixesIn(LOG, 'demo', '1.0-1+deb12u3', '1.0-1+deb12u1')?.severity, 'high');
    assert.equal(fixesIn(LOG, 'demo', '1.0-1+deb12u3', '0.9')?.entries, 4);
  });

  it('without one: all that came for the same release, security or not', () => {
    const fixes = fixesIn(LOG, 'demo', '1.0-1+deb12u3', undefined);
    assert.deepEqual(fixes?.cves, ['CVE-2025-1000', 'CVE-2026-0002', 'CVE-2026-0003', 'CVE-2026-0004']);
    assert.equal(fixes?.severity, 'critical');
    assert.equal(fixesIn(LOG, 'demo', '1.0-1', undefined)?.entries, 1);
  });

  it('starts at the patch’s own entry, and says nothing of another source', () => {
    assert.deepEqual(fixesIn(LOG, 'demo', '1.0-1+deb12u2', '1.0-1+deb12u1')?.cves, ['CVE-2026-0002', 'CVE-2026-0004']);
    assert.equal(fixesIn(LOG, 'other', '1.0-1', undefined), undefined);
    assert.equal(fixesIn('Changes in upstream 1.0:\n * none\n', 'demo', '1.0', undefined), undefined);
    assert.equal(fixesIn('', 'demo', '1.0', undefined), undefined);
  });

  it('an unknown urgency is unspecified, whatever its name', () => {
    for (const urgency of ['constructor', '__proto__', 'none', '']) {
      assert.equal(fixesIn(entry('1', 'sid', urgency, 'x'), 'demo', '1', undefined)?.severity, 'unspecified');
    }
  });

  it('S17 hostile text: bounded entries and time', () => {
    const started = performance.now();
    const bombs = [
      entry('1', 'sid', 'low', 'x').repeat(20_000),
      `demo (1) ${'a '.repeat(500_000)}`,
      `${'('.repeat(1_000_000)}\n`,
      `demo (1) sid; urgency=low\n ${'CVE-'.repeat(500_000)}\n`,
      `demo (1) sid; urgency=low\n${Array.from({ length: 50_000 }, (_, n) => `  CVE-2026-${10_000 + n}\n`).join('')}`,
      ` -- ${'>  '.repeat(300_000)}\n`,
    ];
    for (const bomb of bombs) {
      const fixes = fixesIn(bomb, 'demo', '1', undefined);
      assert.ok((fixes?.cves.length ?? 0) <= CHANGELOG_LIMITS.cves);
      assert.ok(readEntries(bomb).length <= CHANGELOG_LIMITS.entries);
    }
    assert.ok(performance.now() - started < 5_000, `${performance.now() - started} ms`);
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => void fixesIn(text, 'demo', '1', undefined)));
  });
});
