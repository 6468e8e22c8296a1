// What the XML reader takes and what it refuses; attacks are built in memory.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { readXml, XML_LIMITS } from './xml.ts';

async function* pieces(...parts: (string | Uint8Array)[]) {
  for (const part of parts) yield typeof part === 'string' ? Buffer.from(part) : part;
}

async function eventsOf(...parts: (string | Uint8Array)[]): Promise<string[]> {
  const events: string[] = [];
  await readXml(pieces(...parts), 'test.xml', {
    open: ({ name, attributes }, path) => events.push(`<${path.join('/')} ${name} ${JSON.stringify(attributes)}`),
    close: (name, text, path) => events.push(`>${path.join('/')} ${name} ${JSON.stringify(text)}`),
  });
  return events;
}

const malformed = { code: 'source.malformed' };

describe('XML of a vendor', () => {
  it('elements by their local names, attributes, text, CDATA, the five entities', async () => {
    const text = '<a xmlns:rpm="x"><rpm:b k="1 &lt; 2">&amp;<![CDATA[<raw>]]></rpm:b><c/></a>';
    assert.deepEqual(await eventsOf(text), [
      '<a a {"xmlns:rpm":"x"}',
      '<a/b b {"k":"1 < 2"}',
      '>a/b b "&<raw>"',
      '<a/c c {}',
      '>a/c c ""',
      '>a a ""',
    ]);
  });

  it('cut anywhere it is the same, also within a character', async () => {
    const bytes = Buffer.from('<a><b k="ä&lt;">Größe &#x1F6A2; <![CDATA[x]]></b><!-- c --><c>2</c></a>');
    const whole = await eventsOf(bytes);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: bytes.length }), { maxLength: 6 }), async (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const parts = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
        assert.deepEqual(await eventsOf(...parts), whole);
      }),
      { numRuns: 200, seed: 20_261_121 },
    );
  });

  for (const [what, text] of [
    ['a billion laughs', '<!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;">]><a>&c;</a>'],
    ['an external entity', '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'],
    ['an external document type', '<!DOCTYPE a SYSTEM "http://vendor.example/a.dtd"><a/>'],
    ['an entity that nobody declared', '<a>&b;</a>'],
    ['an end that is missing', '<a><b></b>'],
    ['two roots', '<a/><b/>'],
    ['an attribute given twice', '<a k="1" k="2"/>'],
    ['nothing at all', ''],
    ['bytes that are not UTF-8', Buffer.from([0x3c, 0x61, 0x3e, 0xff, 0x3c, 0x2f, 0x61, 0x3e])],
    ['elements nested without an end', '<a>'.repeat(XML_LIMITS.depth + 1)],
    ['too many attributes', `<a ${Array.from({ length: XML_LIMITS.attributes + 1 }, (_, at) => `k${at}="1"`).join(' ')}/>`],
  ] as const) {
    it(`refuses ${what}`, () => assert.rejects(eventsOf(text), malformed));
  }

  for (const [what, start] of [
    ['text', '<a>'],
    ['an attribute', '<a k="'],
    ['a comment', '<!--'],
    ['a document type', '<!DOCTYPE a [ '],
  ] as const) {
    it(`gives up on endless ${what} instead of keeping it`, async () => {
      let given = 0;
      async function* endless() {
        yield Buffer.from(start);
        for (;;) {
          given += 1 << 20;
          yield Buffer.alloc(1 << 20, 'x');
        }
      }
      await assert.rejects(readXml(endless(), 'test.xml', {}), { code: /source\.(?:too-large|malformed)/ });
      assert.ok(given <= XML_LIMITS.text + (2 << 20), `${given} bytes were taken`);
    });
  }
});
