// Agents towards relays over TLS: a real agent and a real relay with a CA of their own, certificates on both sides, and everything that
// can be wrong with them. What a host believes rests on signatures all the same.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Authority, makeAuthority, type Pair } from '../../manifests/transfer/testing/certificates.ts';
import type { RunningRelay } from '../../relay/run.ts';
import { type Branch, type BranchHost, type BranchRelay, openBranch } from './branch.ts';

const skip = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'openssl is not installed here';
  }
})();

describe('agents towards relays, over TLS', { skip }, () => {
  let branch: Branch;
  let host: BranchHost;
  let relay: BranchRelay;
  let url: string;
  let ca: Authority;
  let others: Authority;
  let live: Pair;
  let running: RunningRelay;
  /** Results that came to the publisher by now. */
  const arrived = async () => {
    await running.forward();
    return ((await branch.publisher.json('collect')) as { stored: number }).stored;
  };

  before(async () => {
    branch = await openBranch();
    const papers = join(branch.folder, 'papers');
    fs.mkdirSync(papers);
    ca = await makeAuthority(papers, 'fleet-ca');
    others = await makeAuthority(papers, 'other-ca');
    const server = await ca.issue('relay');
    relay = branch.relay('relay', {
      upstream: [branch.publisher.repository],
      inboxForward: [branch.inbox],
      tls: { cert: server.cert, key: server.key, clientCa: ca.cert },
    });
    running = await relay.start();
    await running.sync();
    url = running.url;
    host = branch.host('till-01');
    const own = await ca.issue('till-01');
    live = { cert: join(host.folder, 'own.pem'), key: join(host.folder, 'own.key') };
    fs.copyFileSync(own.cert, live.cert);
    fs.copyFileSync(own.key, live.key);
  });
  after(() => branch.close());

  test('without its certificate a host is not let in and told why; with it, it enrols, installs and hands its results in', async () => {
    assert.match(url, /^https:/);
    host.settings({ relayTls: { ca: ca.cert } });
    const bare = await host.enrol(url);
    assert.equal(bare.exit, 8, bare.out + bare.err);
    assert.match(bare.err, /transfer\.tls-client.*this client shows no certificate/);
    host.settings({ relayTls: { ca: ca.cert, ...live } });
    const enrolled = await host.enrol(url);
    assert.equal(enrolled.exit, 0, enrolled.out + enrolled.err);
    await running.forward();
    await branch.approve();
    assert.equal((await relay.run('sync')).exit, 0);
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /echo 1\.0\.0/);
    assert.ok((await arrived()) > 0);
    const doctor = await host.agent('doctor');
    assert.match(doctor.out, /ok +certificate +the certificate of this host .*own\.pem.* is good until/);
    assert.match(doctor.out, /ok +certificate +the CA fleet-ca/);
  });

  test('wrong CA, certificate of a stranger, over, key of another, key open to others: each told in `doctor`; the host keeps what it knows', async () => {
    const [strange, over] = [await others.issue('strange'), await ca.issue('over', undefined, -1)];
    const open = join(host.folder, 'open.key');
    fs.copyFileSync(live.key, open);
    fs.chmodSync(open, 0o644);
    const wrong: [object, RegExp][] = [
      [{ ca: others.cert, ...live }, /transfer\.tls-authority|no CA that is accepted here/],
      [{ ca: ca.cert, ...strange }, /the certificate of this client is not accepted/],
      [{ ca: ca.cert, ...over }, /WRONG +certificate +the certificate of this host .* is over since [^]*is over since/],
      [{ ca: ca.cert, cert: live.cert, key: strange.key }, /tls\.mismatch: .*is not the key of the certificate/],
      [{ ca: ca.cert, cert: live.cert, key: open }, /tls\.key-mode: .*its mode is 644/],
      [{ ca: ca.cert, cert: live.cert, key: join(host.folder, 'none') }, /tls\.file: cannot read/],
    ];
    for (const [relayTls, says] of wrong) {
      host.settings({ relayTls });
      const doctor = await host.agent('doctor');
      assert.equal(doctor.exit, 1);
      assert.match(doctor.out, says, doctor.out);
    }
    assert.equal((await host.agent('scan')).exit, 0, 'what was verified stays in force');
    host.settings({ relayTls: { ca: ca.cert, cert: live.cert } });
    const half = await host.agent('doctor');
    assert.equal(half.exit, 2);
    assert.match(half.err, /relayTls: give cert and key together/);
  });

  test('a relay under another name than its certificate, and one whose certificate is over, are told apart', async () => {
    host.settings({ relays: [url.replace('127.0.0.1', '127.0.0.2')], relayTls: { ca: ca.cert, ...live } });
    const papers = join(branch.folder, 'papers');
    const old = await ca.issue('old-relay', undefined, -1);
    const named = await ca.issue('named-relay', 'DNS:relay.example');
    for (const [name, pair, says] of [
      ['old', old, /transfer\.tls-expired|is over, or not valid yet/],
      ['named', named, /its certificate is for another name/],
    ] as const) {
      const other = branch.relay(name, { upstream: [branch.publisher.repository], tls: { cert: pair.cert, key: pair.key } });
      const wrong = await other.start();
      await wrong.sync();
      host.settings({ relays: [wrong.url], relayTls: { ca: join(papers, 'fleet-ca.pem') } });
      assert.match((await host.agent('doctor')).out, says);
      const about = await other.run('doctor');
      if (name === 'old')
        assert.match(about.out, /look +tls: the certificate of this relay towards its clients .* is over since/);
    }
  });

  test('S1 a relay with a genuine certificate and a forged repository is refused as any other', async () => {
    const forged = branch.publisher.repository.replace(/repository$/, 'forged');
    fs.cpSync(branch.publisher.repository, forged, { recursive: true });
    const server = await ca.issue('forger');
    const relayOf = branch.relay('forger', { tls: { cert: server.cert, key: server.key } });
    const mirror = join(relayOf.folder, 'cache/mirror');
    fs.mkdirSync(join(mirror, 'generations'), { recursive: true });
    fs.cpSync(forged, join(mirror, 'generations/1'), { recursive: true });
    fs.symlinkSync('generations/1', join(mirror, 'current'));
    const timestamp = join(mirror, 'generations/1/metadata/timestamp.json');
    const text = fs.readFileSync(timestamp, 'utf8');
    fs.chmodSync(timestamp, 0o644);
    fs.writeFileSync(
      timestamp,
      text.replace(/"version":(\d+)/, (_, version) => `"version":${Number(version) + 1}`),
    );
    const forger = await relayOf.start();
    host.settings({ relays: [forger.url], relayTls: { ca: ca.cert } });
    const ran = await host.agent('once');
    assert.equal(ran.exit, 5, ran.out + ran.err);
    assert.match(ran.out + ran.err, /trust\./);
  });

  test('a relay behind mutual TLS feeds the next one, and takes results from it', async () => {
    const second = branch.relay('second', {
      upstream: [url],
      inboxForward: [url],
      upstreamTls: { ca: ca.cert, ...(await ca.issue('second-relay')) },
    });
    const synced = await second.run('sync');
    assert.equal(synced.exit, 0, synced.out + synced.err);
    const next = await second.start();
    host.settings({ relays: [next.url] });
    await branch.release('2.0.0');
    await relay.run('sync');
    await second.run('sync');
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    const forwarded = await next.forward();
    assert.deepEqual(forwarded.reasons, []);
    assert.ok((await arrived()) > 0);
    const doctor = await second.run('doctor');
    assert.match(doctor.out, /ok +upstreamTls: the certificate of this relay towards upstreams .* is good until/);
    assert.match(doctor.out, /ok +upstream https:.*answers/);
    assert.match(doctor.out, /ok +inboxForward https:.*answers/);
  });
});
