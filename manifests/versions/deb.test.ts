// The judge of our Debian order is dpkg itself: every generated pair is given to the true `dpkg --compare-versions`, one
// process a pair, many at a time through xargs. Real changelogs are judged by dpkg's own Perl module, which is quicker.
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { run, runOrThrow } from '#manifests/platform/process';
import { compareDeb, DEB_LIMITS, parseDeb } from './deb.ts';

const GENERATED_PAIRS = 50_000;
const SEED = 20_261_121;

const has = (path: string) => existsSync(path);
const noDpkg = has('/usr/bin/dpkg') && has('/usr/bin/xargs') ? false : 'no dpkg here: our order is not judged against it';
const noPerl = has('/usr/share/perl5/Dpkg/Version.pm') ? false : 'libdpkg-perl is not installed: changelogs are not compared';

const fragment = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 120 }).map(String) },
  { weight: 2, arbitrary: fc.constantFrom('0', '00', '007', '010', '9999999999999999999', '18446744073709551616') },
  {
    weight: 4,
    arbitrary: fc.constantFrom('.', '+', '~', '~~', '+b1', '+deb12u1', '~deb12u2', '~rc1', '~bpo12+1', '+dfsg', '.ds1'),
  },
  { weight: 2, arbitrary: fc.constantFrom('a', 'b', 'Z', 'git', 'alpha', 'rc', 'pre', 'ubuntu') },
);
const upstream = fc
  .tuple(fc.nat({ max: 30 }), fc.array(fragment, { maxLength: 6 }))
  .map(([head, tail]) => `${head}${tail.join('')}`);
const version = fc
  .tuple(
    fc.option(fc.constantFrom('0', '1', '2', '00', '01', '20'), { nil: undefined, freq: 3 }),
    upstream,
    fc.option(fc.constantFrom('-'), { nil: undefined, freq: 8 }),
    upstream,
    fc.option(
      fc.array(fragment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('')),
      { nil: undefined },
    ),
  )
  .map(([epoch, first, dash, second, revision]) => {
    const middle = dash === undefined || revision === undefined ? first : `${first}-${second}`;
    return `${epoch === undefined ? '' : `${epoch}:`}${middle}${revision === undefined ? '' : `-${revision}`}`;
  });

/** Pairs that lie close together: one version and a small change of it; far ones teach little. */
const pair = fc.oneof(
  fc.tuple(version, version),
  fc.tuple(version, fragment).map(([text, tail]): [string, string] => [text, text + tail]),
  fc.tuple(version, fc.nat(), fragment).map(([text, at, put]): [string, string] => {
    const cut = at % text.length;
    return [text, text.slice(0, cut) + put + text.slice(cut + 1)];
  }),
  version.map((text): [string, string] => [text, text.replace(/(\d)/, '0$1')]),
  version.map((text): [string, string] => [text, `0:${text}-0`]),
);

test(`compareDeb equals dpkg --compare-versions on ${GENERATED_PAIRS} generated pairs`, { skip: noDpkg }, async () => {
  const pairs: [string, string][] = [];
  const seen = new Set<string>();
  for (let round = 0; pairs.length < GENERATED_PAIRS; round += 1) {
    for (const [a, b] of fc.sample(pair, { seed: SEED + round, numRuns: 20_000 })) {
      if (seen.has(`${a} ${b}`) || parseDeb(a) === null || parseDeb(b) === null) continue;
      seen.add(`${a} ${b}`);
      pairs.push([a, b]);
      if (pairs.length === GENERATED_PAIRS) break;
    }
  }
  const claims = pairs.map(([a, b]) => `${a} ${word(compareDeb(a, b))} ${b}`);
  const counts = Object.groupBy(claims, (claim) => claim.split(' ')[1] ?? '');
  for (const relation of ['lt', 'eq', 'gt'])
    assert.ok((counts[relation]?.length ?? 0) > 1_000, `enough pairs that are ${relation}`);
  assert.deepEqual(await refusedByDpkg(claims), []);
});

test('the judge does judge: a wrong claim among right ones is found', { skip: noDpkg }, async () => {
  assert.deepEqual(await refusedByDpkg(['1 lt 2', '1.0~rc1 gt 1.0', '1.0 lt 1.0-1']), ['1.0~rc1 gt 1.0']);
});

test('compareDeb equals dpkg on the versions of every Debian changelog of this machine', { skip: noPerl }, async (t) => {
  const claims = new Set<string>();
  let versions = 0;
  for (const path of globSync('/usr/share/doc/*/changelog.{Debian,Debian.amd64,Debian.arm64}.gz').toSorted()) {
    const text = gunzipSync(readFileSync(path)).toString('utf8');
    const found = [...text.matchAll(/^[a-z0-9][a-z0-9.+-]* \(([^()\s]+)\)/gm)].map((match) => match[1] ?? '');
    versions += found.length;
    for (let index = 1; index < found.length; index += 1) {
      const newer = found[index - 1] ?? '';
      claims.add(`${newer} ${word(compareDeb(newer, found[index] ?? ''))} ${found[index]}`);
      const far = found[(index * 7_919) % found.length] ?? ''; // a sample of the pairs that are not neighbours
      claims.add(`${newer} ${word(compareDeb(newer, far))} ${far}`);
    }
  }
  if (versions === 0) return t.skip('no Debian changelogs here');
  t.diagnostic(`${versions} versions, ${claims.size} pairs`);
  const judge =
    'my %w = (-1 => "lt", 0 => "eq", 1 => "gt"); while (<STDIN>) { my ($a, $c, $b) = split; ' +
    'my $is = $w{Dpkg::Version->new($a) <=> Dpkg::Version->new($b)}; print "$a $c $b is $is\\n" if $is ne $c; }';
  const { stdout } = await runOrThrow('perl', ['-MDpkg::Version', '-e', judge], {
    timeoutMs: 300_000,
    input: `${[...claims].join('\n')}\n`,
  });
  assert.equal(stdout, '');
});

test('Debian order, cases of the policy manual', () => {
  const ascending = ['1.0~~', '1.0~~a', '1.0~', '1.0', '1.0a', '1.0+', '1.0.1', '1.0.9', '1.0.10', '1:0.1', '2:0'];
  for (const [i, a] of ascending.entries()) {
    for (const [j, b] of ascending.entries()) assert.equal(Math.sign(compareDeb(a, b)), Math.sign(i - j), `${a} ${b}`);
  }
  for (const [a, b] of [
    ['1.0', '1.0-0'],
    ['0:1.0', '1.0'],
    ['1.00', '1.0'],
    ['1.0-1', '1.0-01'],
  ] as const) {
    assert.equal(compareDeb(a, b), 0);
  }
});

test('parseDeb takes versions apart and refuses what is none', () => {
  assert.deepEqual(parseDeb('1:2.36.1-9+deb12u10'), { epoch: 1, upstream: '2.36.1', revision: '9+deb12u10' });
  assert.deepEqual(parseDeb('2.0-rc1-3'), { epoch: 0, upstream: '2.0-rc1', revision: '3' });
  assert.deepEqual(parseDeb('5'), { epoch: 0, upstream: '5', revision: '' });
  for (const bad of ['', ':1', 'a:1', '1:', '1.0-', '-1', 'v1', '1 0', '1_0', `${DEB_LIMITS.epoch + 1}:1`, '1.0-1:2', '1\n']) {
    assert.equal(parseDeb(bad), null, JSON.stringify(bad));
  }
});

const anyText = fc.oneof(
  version,
  fc.string({ maxLength: 12 }),
  fc.string({ unit: fc.constantFrom(...'01a~+-:.'.split('')), maxLength: 8 }),
);

test('compareDeb is an order over any text: antisymmetric, transitive, total', () => {
  fc.assert(
    fc.property(anyText, anyText, anyText, (a, b, c) => {
      const ab = compareDeb(a, b);
      assert.ok(Number.isInteger(ab));
      assert.equal(Math.sign(ab), -Math.sign(compareDeb(b, a)) + 0);
      assert.equal(compareDeb(a, a), 0);
      if (ab <= 0 && compareDeb(b, c) <= 0) assert.ok(compareDeb(a, c) <= 0);
    }),
    { numRuns: 20_000, seed: SEED },
  );
});

function word(order: number): 'lt' | 'eq' | 'gt' {
  if (order === 0) return 'eq';
  return order < 0 ? 'lt' : 'gt';
}

/** The claims `A lt|eq|gt B` that dpkg denies. xargs runs one dpkg a claim and ends with 0 when all of them did. */
async function refusedByDpkg(claims: readonly string[]): Promise<string[]> {
  const { code } = await run('xargs', ['-n', '3', '-P', '4', 'dpkg', '--compare-versions'], {
    timeoutMs: 600_000,
    input: `${claims.join('\n')}\n`,
  });
  if (code === 0) return [];
  assert.equal(code, 123, 'xargs says that some dpkg ended with 1');
  if (claims.length === 1) return [...claims];
  const middle = Math.ceil(claims.length / 2);
  return [...(await refusedByDpkg(claims.slice(0, middle))), ...(await refusedByDpkg(claims.slice(middle)))];
}
