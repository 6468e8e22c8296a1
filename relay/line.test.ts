// The weekly profile of the line, at its edges and across midnight and clock changes.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { lineAt } from '#manifests/schema';
import { openLine } from './line.ts';
import { relaySettings } from './settings.ts';

const settings = (line: object) => relaySettings.parse({ line });

test('the first row that fits counts; hours are local, rows may cross midnight', () => {
  const week = settings({
    zone: 'Europe/Berlin',
    kibPerSecond: 512,
    profile: [
      { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '08:00', to: '12:00', metadataOnly: true },
      { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '12:00', to: '18:00', kibPerSecond: 32 },
      { days: ['fri'], from: '22:00', to: '06:00', kibPerSecond: 8_192 },
    ],
  });
  const at = (text: string) => {
    const { bytesPerSecond, metadataOnly } = lineAt(week.line, Date.parse(text));
    return metadataOnly ? 'metadata' : (bytesPerSecond ?? 0) / 1024;
  };
  assert.equal(at('2026-06-01T05:59:59Z'), 512, 'Monday 07:59 in Berlin');
  assert.equal(at('2026-06-01T06:00:00Z'), 'metadata');
  assert.equal(at('2026-06-01T09:59:59Z'), 'metadata');
  assert.equal(at('2026-06-01T10:00:00Z'), 32);
  assert.equal(at('2026-06-01T16:00:00Z'), 512);
  assert.equal(at('2026-06-06T06:00:00Z'), 512, 'Saturday');
  assert.equal(at('2026-06-05T20:00:00Z'), 8_192, 'Friday 22:00');
  assert.equal(at('2026-06-06T03:59:00Z'), 8_192, 'Saturday 05:59 belongs to Friday night');
  assert.equal(at('2026-06-06T04:00:00Z'), 512);
  assert.equal(at('2026-06-05T03:00:00Z'), 512, 'Friday 05:00 is Thursday night');
  assert.equal(at('2026-01-05T07:00:00Z'), 'metadata', 'in winter an hour later by UTC');
  assert.deepEqual(lineAt(settings({}).line, 0), { bytesPerSecond: undefined, metadataOnly: false });
});

test('wrong hours, days and zones are refused; files that the settings name are read', () => {
  for (const bad of [{ zone: 'Mars/Base' }, { profile: [{ from: '8:00' }] }, { profile: [{ days: ['monday'] }] }, { rate: 1 }])
    assert.throws(() => settings(bad), JSON.stringify(bad));
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-line-'));
  try {
    fs.writeFileSync(join(folder, 'password'), 'geheim\n');
    const proxied = relaySettings.parse({ proxy: { url: 'http://p:3128', user: 'u', passwordFile: join(folder, 'password') } });
    const proxy = openLine(proxied, systemClock, silentLog).origin.proxy;
    assert.deepEqual(
      { ...proxy, password: proxy?.password?.() },
      { url: 'http://p:3128', user: 'u', password: 'geheim', except: [] },
    );
    fs.rmSync(join(folder, 'password'));
    assert.throws(() => proxy?.password?.(), { code: 'transfer.proxy-file' });
    const lost = relaySettings.parse({ upstreamTls: { ca: join(folder, 'none') } });
    assert.throws(() => openLine(lost, systemClock, silentLog).origin.tls?.context(), { code: 'tls.file' });
    assert.throws(() => relaySettings.parse({ upstreamTls: { cert: 'only' } }), /give cert and key together/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
