// Activation codes as the publisher prints them, and enrolling twice.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeHost } from '../service/testing/host.ts';
import { anyCode } from '../service/testing/publisher.ts';
import { parseCode } from './index.ts';

test('a code is read in any grouping and case; RFC 4648 base32', () => {
  // "foobarfoobarfoobar!!" is 20 bytes, so 32 characters without padding
  const secret = 'MZXW6YTBOJTG633CMFZGM33PMJQXEIJB';
  const plain = `ABCD2345${secret}`;
  for (const code of [plain, plain.toLowerCase(), plain.match(/.{4}/g)?.join('-') ?? '', `ABCD2345.${secret}`, ` ${plain} `]) {
    const { id, secret: bytes } = parseCode(code);
    assert.equal(id, 'ABCD2345');
    assert.equal(Buffer.from(bytes).toString('latin1'), 'foobarfoobarfoobar!!');
  }
  for (const wrong of ['', plain.slice(1), `${plain}A`, plain.replace('M', '1'), plain.replace('M', 'é')]) {
    assert.throws(() => parseCode(wrong), { code: 'outbox.code' });
  }
});

test('trap 14: enrolling again keeps keys and envelope, also when no relay takes it', async () => {
  const host = await makeHost();
  try {
    await host.publish({});
    const code = anyCode();
    const enroll = () => host.agent(['enroll', '--code', code, '--relay', host.relay.url, '--root', host.publisher.rootFile]);
    assert.equal((await enroll()).code, 0);
    const picture = () =>
      ['keys/sign.key', 'keys/box.key', 'enrolment.pfe'].map((name) => fs.readFileSync(join(host.stateDir, name), 'hex'));
    const first = picture();
    assert.equal(fs.statSync(join(host.stateDir, 'keys/sign.key')).mode & 0o777, 0o600);
    assert.equal((await enroll()).code, 0);
    assert.deepEqual(picture(), first);
    assert.equal(host.relay.enrolments.length, 2);
    assert.deepEqual(host.relay.enrolments[0], host.relay.enrolments[1]);
    host.relay.takesResults = false;
    assert.equal((await enroll()).code, 8);
    assert.deepEqual(picture(), first);
  } finally {
    await host.remove();
  }
});
