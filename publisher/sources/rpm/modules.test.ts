// Documents of modules.yaml, and what of them is refused. A real repository is in sync.test.ts.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { type ModuleArtifacts, readModules } from './modules.ts';

const stream = (more = '', name = 'nodejs', of = '18') => `document: modulemd
version: 2
data:
  name: ${name}
  stream: ${of}
  version: 9020230916
  context: rhel9
  summary: >-
    JavaScript
    --- at the front of a line only, it ends a document
  dependencies:
  - requires:
      platform: [el9]
  artifacts:
    rpms:
    - nodejs-1:18.19.0-1.module+el9.3.0+20753+d0f9da8e.x86_64
    - npm-1:10.2.3-1.18.19.0.1.module+el9.3.0+20753+d0f9da8e.noarch
${more}`;

async function read(text: string, cuts: readonly number[] = []): Promise<ModuleArtifacts[]> {
  const bytes = Buffer.from(text);
  const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
  async function* pieces() {
    for (const [index, end] of at.slice(1).entries()) yield bytes.subarray(at[index], end);
  }
  const found: ModuleArtifacts[] = [];
  await readModules(pieces(), 'modules.yaml', (item) => found.push(item));
  return found;
}

const NODE = {
  stream: 'nodejs:18',
  packages: [
    'nodejs-1:18.19.0-1.module+el9.3.0+20753+d0f9da8e.x86_64',
    'npm-1:10.2.3-1.18.19.0.1.module+el9.3.0+20753+d0f9da8e.noarch',
  ],
};

describe('modules.yaml', () => {
  it('streams with their packages; a stream that looks like a number keeps its zeros; other documents are passed over', async () => {
    const text = `---\n${stream()}...\n---\n${stream('', 'perl', '5.30')}---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: nodejs\n...\n`;
    assert.deepEqual(await read(text), [NODE, { ...NODE, stream: 'perl:5.30' }]);
    assert.deepEqual(await read(stream()), [NODE], 'one document without any marks');
    assert.deepEqual(await read('document: modulemd\nversion: 2\ndata:\n  name: a\n  stream: b\n'), [
      { stream: 'a:b', packages: [] },
    ]);
    assert.deepEqual(await read(''), []);
  });

  it('cut anywhere it is the same', async () => {
    const text = `---\n${stream()}...\n---\n${stream('', 'perl', '5.30')}# Größe\n`;
    const whole = await read(text);
    const size = Buffer.byteLength(text);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: size }), { maxLength: 5 }), async (cuts) => {
        assert.deepEqual(await read(text, cuts), whole);
      }),
      { numRuns: 100, seed: 20_261_121 },
    );
  });

  for (const [what, text, code] of [
    ['no YAML', '{ document: [', 'source.malformed'],
    ['a key twice', stream('version: 3\n'), 'source.malformed'],
    ['another document', 'hello: world\n', 'source.malformed'],
    ['a kind that is not known', stream().replace('modulemd', 'modulemd-next'), 'source.malformed'],
    ['a name that is a path', stream('', '../x'), 'source.malformed'],
    ['a stream that is none', stream('', 'nodejs', '[18]'), 'source.malformed'],
    ['a package without its epoch', stream().replace('nodejs-1:18', 'nodejs-18'), 'source.malformed'],
    ['packages that are no list', stream().replace(/rpms:[^]*/, 'rpms: all\n'), 'source.malformed'],
    ['many laughs', `a: &a [x]\nb: &b [*a,*a]\ndocument: modulemd\ndata: *b\n`, 'source.malformed'],
    ['a document without an end', `# ${'x'.repeat(5 << 20)}`, 'source.too-large'],
  ] as const) {
    it(`refuses ${what}`, () => assert.rejects(read(text), { code }));
  }
});
