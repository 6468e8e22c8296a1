import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disorder, parseDeb822, parsePins, parseSourcesList, releaseOf } from './repositories.ts';

const LIST = `# a comment
deb http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.example/debian-security bookworm-security main
# deb http://mirror.example/debian sid main
deb-src http://mirror.example/debian trixie main
deb http://mirror.example/debian trixie main contrib
deb https://packages.example/tool stable main
`;
const DEB822 = `Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
 bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian
Suites: sid
Enabled: no
`;

test('sources in both notations, without comments, sources of sources and disabled ones', () => {
  assert.deepEqual(
    parseSourcesList(LIST, 'f').map(({ suite, where }) => `${suite} ${where}`),
    ['bookworm f:2', 'bookworm-security f:3', 'trixie f:6', 'stable f:7'],
  );
  assert.deepEqual(
    parseDeb822(DEB822, 'g').map(({ suite }) => suite),
    ['bookworm', 'bookworm-updates', 'bookworm-backports'],
  );
});

test('a release is its suites; vendors of single programs have their own names and are none of it', () => {
  for (const suite of ['bookworm', 'bookworm-security', 'bookworm-updates', 'bookworm-backports-sloppy', 'bookworm/updates'])
    assert.equal(releaseOf(suite), 'bookworm', suite);
  assert.deepEqual(disorder(parseSourcesList(LIST, 'f'), [], 'bookworm'), ['f:6 names trixie, this host is bookworm']);
  assert.deepEqual(disorder(parseDeb822(DEB822, 'g'), [], 'bookworm'), []);
  assert.equal(disorder(parseSourcesList('deb http://m/debian stable main', 'f'), [], 'bookworm').length, 1, 'a moving name');
});

test('only pins for everything that overrule versions are out of order', () => {
  const pins = `Package: *
Pin: release n=trixie
Pin-Priority: 1001

Package: nginx
Pin: version 1.*
Pin-Priority: 1001

Package: *
Pin: release a=stable
Pin-Priority: 900

Package: *
Pin: origin bad.example
Pin-Priority: -1
`;
  assert.deepEqual(parsePins(pins), [
    { pin: 'release n=trixie', priority: 1001 },
    { pin: 'origin bad.example', priority: -1 },
  ]);
});
