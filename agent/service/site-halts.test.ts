// Halts that a site signs by itself, on a host: the whole agent, as a process, against a real signed repository.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { utcSeconds } from '#manifests/platform/clock';
import { canonicalJson, encodeDocument, encodePlain, type SignedDelegation, type SiteHalt, sha256Of } from '#manifests/schema';
import { generateBoxKey, generateSigningKey, inspectEnvelope, openEnvelope, signRecord } from '#manifests/trust';
import { readKeys } from '../outbox/index.ts';
import { makeHost, type TestHost } from './testing/host.ts';
import { memberOf } from './testing/publisher.ts';

const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };
const relayKey = generateSigningKey();
const relayBox = generateBoxKey();
const DELEGATION: SignedDelegation = {
  schema: 'patchferry/site-delegation',
  schemaVersion: 1,
  signedAt: utcSeconds(Date.now() - 60_000),
  site: 'ward-7',
  may: ['halt'],
  maxDelayDays: 0,
  minRingPercent: 0,
  hooks: [],
  keys: [generateSigningKey().publicKey],
  relays: [{ signKey: relayKey.publicKey, boxKey: relayBox.publicKey }],
  until: utcSeconds(Date.now() + 30 * 86_400_000),
};
const HALT: SiteHalt = {
  schema: 'patchferry/site-halt',
  schemaVersion: 1,
  site: 'ward-7',
  name: 'fuse-site',
  signedAt: utcSeconds(Date.now() - 1_000),
  groups: [],
  stops: ['download', 'install'],
  reason: '3 of 4 hosts failed within 24 hours',
  until: null,
  fuse: null,
};
const bodyOf = (halt: SiteHalt) => encodePlain('site-halt', halt);
const recordOf = (halt: SiteHalt, key = relayKey) => Buffer.from(signRecord(bodyOf(halt), key)).toString('utf8');

describe('halts of the site itself', () => {
  let host: TestHost;
  let publish: (delegation?: Partial<SignedDelegation>, site?: string) => Promise<void>;
  const tell = (...records: string[]) => {
    const file = join(host.publisher.repository, 'site-halts/ward-7.json');
    fs.mkdirSync(join(file, '..'), { recursive: true });
    fs.writeFileSync(file, canonicalJson({ schema: 'patchferry/site-halts', schemaVersion: 1, records }));
  };
  before(async () => {
    host = await makeHost();
    await host.enrol();
    const keys = await readKeys(join(host.stateDir, 'keys'));
    assert.ok(keys !== undefined);
    const member = memberOf({ id: keys.id, signKey: keys.sign.publicKey, boxKey: keys.box.publicKey });
    publish = (delegation = {}, site = 'ward-7') =>
      host.publish({
        releases: [ONE, TWO],
        members: [{ ...member, site }],
        policy: {
          'policy/sites/ward-7.json.zst': encodeDocument('site-delegation', { ...DELEGATION, ...delegation }),
          'policy/sites/other.json.zst': encodeDocument('site-delegation', { ...DELEGATION, site: 'other' }),
        },
      });
  });
  after(() => host.remove());

  test('S27 what a stranger, another site, or a key without the power signs stops nothing, and is told', async () => {
    await publish();
    tell(recordOf(HALT, generateSigningKey()), recordOf({ ...HALT, site: 'other' }), `${recordOf(HALT)} `);
    const first = await host.agent(['once']);
    assert.equal(first.code, 0, first.out + first.err);
    assert.match(first.out, /halt fuse-site of site ward-7: it is signed by no relay of the site/);
    assert.equal(host.tool(), 'two');
    await publish({ may: ['reject'] });
    tell(recordOf(HALT));
    host.relay.requests.length = 0;
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.relay.requests.filter((row) => row.includes('site-halts')).length, 0, 'nothing is even asked');
  });

  test('S27 a halt of the site: nothing is installed, shown as the site’s own; it holds when the relay tells nothing any more', async () => {
    fs.rmSync(host.archiveRoot, { recursive: true, force: true });
    await publish();
    tell(recordOf({ ...HALT, groups: ['other-group'] }), recordOf(HALT));
    const halted = await host.agent(['once']);
    assert.equal(halted.code, 4, halted.out + halted.err);
    assert.match(halted.out, /halt ward-7\/fuse-site .*3 of 4 hosts failed.*signed by site ward-7, not by the publisher/);
    assert.equal(host.tool(), null);
    fs.rmSync(join(host.publisher.repository, 'site-halts'), { recursive: true });
    assert.equal((await host.agent(['once'])).code, 4, 'a relay that is silent releases nobody');
    host.relay.requests.length = 0;
    tell(recordOf(HALT));
    await host.agent(['once']);
    assert.ok(host.relay.requests.includes('GET site-halts/ward-7.json 200'));
    await host.agent(['once']);
    assert.ok(host.relay.requests.includes('GET site-halts/ward-7.json 304'), 'and then one conditional request');
  });

  test('results are sealed to the publisher and to the relay of the site', () => {
    const last = host.relay.results.at(-1);
    assert.ok(last !== undefined);
    assert.deepEqual(inspectEnvelope(last).recipients, [host.publisher.recipient.publicKey, relayBox.publicKey]);
    assert.ok(openEnvelope(last, { recipient: relayBox }).body.length > 0);
  });

  test('lifted by the policy approvers the host goes on, whatever the relay still tells', async () => {
    await publish({ lifted: [{ halt: sha256Of(bodyOf(HALT)), name: HALT.name, at: utcSeconds(Date.now()) }] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'two');
    tell(recordOf({ ...HALT, name: 'again' }));
    fs.rmSync(host.archiveRoot, { recursive: true, force: true });
    assert.equal((await host.agent(['once'])).code, 4, 'a new one counts');
    await publish({ relays: [{ signKey: generateSigningKey().publicKey, boxKey: relayBox.publicKey }] });
    assert.equal((await host.agent(['once'])).code, 0, 'a stolen key that was taken out of the delegation stops nothing more');
    assert.equal(host.tool(), 'two');
  });
});
