// The site page in a real browser, the figures through a strict parser of Prometheus' text format, readiness and the doctor.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { runCommandLine } from '#manifests/platform/cli';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { program } from '../cli/index.ts';
import { startRelay } from '../run.ts';
import { foldersOf, relaySettings } from '../settings.ts';
import { HOSTILE, type SampleSite, sampleSite } from '../testing/site.ts';
import { concernsOf } from './concerns.ts';
import { gatherFacts, type SiteFacts } from './facts.ts';
import { METRICS } from './metrics.ts';
import { noteFetchedByHand } from './observed.ts';
import { renderSite } from './page.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-site-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 5 })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const clock = { now: () => Date.now(), monotonic: () => performance.now() };

let site: SampleSite;
let page = '';
const pageFile = join(root, 'page.html');
before(async () => {
  site = await sampleSite(join(root, 'sample'));
  closing.push(() => site.relay.stop());
  const response = await fetch(`${site.relay.url}/site/`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.match(response.headers.get('content-security-policy') ?? '', /default-src 'none'/);
  page = await response.text();
  fs.writeFileSync(pageFile, page);
});

/** Rows of the table under a heading, cells as text. */
function rowsOf(dom: string, id: string): string[][] {
  const part = dom.slice(dom.indexOf(`<h2 id="${id}">`));
  const body = /<tbody>([^]*?)<\/tbody>/.exec(part)?.[1] ?? '';
  return [...body.matchAll(/<tr>([^]*?)<\/tr>/g)].map(([, row = '']) =>
    [...row.matchAll(/<t[hd][^>]*>([^]*?)<\/t[hd]>/g)].map(([, cell = '']) =>
      cell
        .replace(/<[^>]*>/g, ' ')
        .replaceAll(/ +/g, ' ')
        .trim(),
    ),
  );
}

function checkWords(dom: string): void {
  assert.match(dom, /<h1>2 things to look at<\/h1>/);
  assert.match(dom, /site mainz is halted by the fuse \(fuse-all\) until .* at the latest: 2 of 7 hosts failed/);
  assert.deepEqual(rowsOf(dom, 'fuse')[0], ['careful all', 'holds', '0', '0', '1 of at least 4', '24 hours']);
  assert.match(
    dom,
    /What relays of sites have stopped, by a fuse or by hand, not signed by the publisher\. Only the publisher lifts it\./,
  );
  assert.deepEqual(rowsOf(dom, 'gaps')[0]?.slice(0, 5), [
    'kiosk by this relay',
    '3\u20137, 9',
    '6',
    '24.0 KiB',
    'the quota was reached',
  ]);
  assert.match(rowsOf(dom, 'staging')[0]?.join('|') ?? '', /^all night\|20.*\|2\|2\|/);
  assert.match(dom, /1 host has sent nothing here for 72 hours: backoffice/);
  const hosts = new Map(rowsOf(dom, 'hosts').map(([name = '', ...rest]) => [name.split(' ')[0] ?? '', rest]));
  assert.equal(hosts.size, 8);
  assert.deepEqual(hosts.get('till-01.mainz.example')?.slice(2, 5), ['3', '2', '–']);
  assert.match(hosts.get('till-01.mainz.example')?.[5] ?? '', /^1 since 20\d\d-\d\d-\d\d \d\d:\d\d UTC$/);
  assert.match(hosts.get('till-02.mainz.example')?.[5] ?? '', /^2 since /);
  assert.match(hosts.get('scale-07')?.[5] ?? '', /^4 since /);
  assert.deepEqual(hosts.get('backoffice')?.slice(1), ['4 d 4 h', '12', '12', '–', '–']);
  assert.deepEqual(hosts.get('kiosk'), ['never', '–', '–', '–', '–', '–']);
  assert.deepEqual(
    rowsOf(dom, 'leases').map(([host]) => host),
    ['till-02.mainz.example', '&lt;script&gt;alert(1)&lt;/script&gt;"\'&amp;\\u{202e}cod.exe'],
  );
  assert.match(rowsOf(dom, 'halts')[0]?.join('|') ?? '', /^stop-kernel signed by the publisher\|stops install\|linux@\*\|/);
  const line = rowsOf(dom, 'line');
  assert.deepEqual(line.at(-1)?.slice(1), ['11.8 MiB', '941.9 MiB', '43.9 KiB', '1\u202f234', '14', '14']);
  assert.equal(line[0]?.[6], '2', 'two went on today');
  assert.ok(dom.includes('10 results'));
  assert.equal(/<script|<img|<b>/.test(dom), false, 'nothing of a host became markup');
  assert.ok(!dom.includes('\u202e'));
}

test('the page says what is there, for files and over HTTP alike; hostile names stay text', async () => {
  checkWords(page.replaceAll('&quot;', '"').replaceAll('&#39;', "'"));
  assert.equal(/\s(?:on\w+|src|href)=/.test(page.replaceAll(/>[^<]*</g, '><')), false, 'no attribute that loads or runs');
  assert.equal(/url\(|@import/.test(page), false);
  const whose = `Relay ${os.hostname()}${site.settings.site === undefined ? '' : ` of site ${site.settings.site}`}`;
  assert.ok(page.includes(`<title>${whose}: 2 things`) && page.includes(`<p class="eyebrow">${whose} as of `), whose);
  assert.equal((await fetch(`${site.relay.url}/site/`, { method: 'HEAD' })).status, 200);
  const front = await fetch(`${site.relay.url}/`, { redirect: 'manual' });
  assert.deepEqual(
    [front.status, front.headers.get('location')],
    [302, '/site/'],
    'who types the address alone finds the page',
  );
  assert.ok(HOSTILE.includes('<script>'));
});

describe('the page in Chromium', () => {
  const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
    fs.existsSync(path),
  );
  const skip = browser === undefined ? 'no Chromium on this machine' : false;
  async function chromium(args: readonly string[], file: string): Promise<string> {
    const profile = fs.mkdtempSync(join(root, 'profile-'));
    const quiet = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
    const offline = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions'];
    const result = await run(
      browser ?? '',
      [
        ...quiet,
        ...offline,
        '--proxy-server=http://127.0.0.1:9',
        `--user-data-dir=${profile}`,
        ...args,
        pathToFileURL(file).href,
      ],
      { timeoutMs: 60_000 },
    );
    assert.equal(result.code, 0, result.stderr);
    return result.stdout;
  }

  test('says the same there, and asks for nothing', { skip }, async () => {
    const netLog = join(root, 'net.json');
    checkWords(await chromium(['--dump-dom', `--log-net-log=${netLog}`], pageFile));
    const log = JSON.parse(fs.readFileSync(netLog, 'utf8')) as {
      events: ReadonlyArray<{ params?: { url?: string; initiator?: string } }>;
    };
    const asked = log.events.flatMap(({ params }) =>
      params?.initiator !== undefined && params.initiator !== 'not an origin' && /^(?:https?|wss?):/.test(params.url ?? '')
        ? [params.url]
        : [],
    );
    assert.deepEqual(asked, []);
  });

  test('fits 390 pixels without scrolling sideways, light and dark', { skip }, async () => {
    const frame = join(root, 'frame.html');
    fs.writeFileSync(
      frame,
      `<!doctype html><iframe id="f" width="390" height="3000" style="border:0"></iframe><output id="o"></output><script>
const f = document.getElementById('f');
f.onload = () => {
  const d = f.contentDocument, r = d.documentElement;
  const wide = [...d.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 390.5).map((e) => e.outerHTML.slice(0, 60));
  document.getElementById('o').textContent = JSON.stringify({ scroll: r.scrollWidth, client: r.clientWidth, rows: d.querySelectorAll('tr').length, wide, page: f.contentWindow.getComputedStyle(d.body).backgroundColor });
};
f.srcdoc = ${JSON.stringify(page).replaceAll('<', '\\u003c')};
</script>`,
    );
    const colours = new Set<string>();
    for (const scheme of ['0', '1']) {
      const dom = await chromium(['--dump-dom', `--blink-settings=preferredColorScheme=${scheme}`], frame);
      const output = /<output id="o">([^<]*)/.exec(dom)?.[1]?.replaceAll('&lt;', '<').replaceAll('&gt;', '>') ?? '';
      const measured = JSON.parse(output) as { scroll: number; client: number; rows: number; wide: string[]; page: string };
      assert.ok(measured.rows > 12 && measured.client > 350 && measured.client <= 390);
      assert.deepEqual([measured.scroll, measured.wide], [measured.client, []]);
      colours.add(measured.page);
    }
    assert.equal(colours.size, 2, 'light and dark');
  });

  test('prints', { skip }, async () => {
    const pdf = join(root, 'page.pdf');
    await chromium([`--print-to-pdf=${pdf}`, '--no-pdf-header-footer'], pageFile);
    assert.equal(fs.readFileSync(pdf).subarray(0, 5).toString('latin1'), '%PDF-');
  });
});

interface Family {
  type: string;
  help: string;
  samples: { labels: Record<string, string>; value: number }[];
}

/** The text format 0.0.4, taken at its word: anything it does not allow is an error. */
function parseMetrics(text: string): Map<string, Family> {
  assert.ok(text.endsWith('\n') && !text.endsWith('\n\n'), 'the last line ends with a line feed');
  const families = new Map<string, Family>();
  const series = new Set<string>();
  let current = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name = '', rest = ''] = comment;
      if (kind === 'HELP') {
        assert.ok(!families.has(name), `${name} comes once`);
        assert.ok(!/\\(?![\\n])/.test(rest));
        families.set(name, { help: rest, type: '', samples: [] });
        current = name;
      } else {
        const family = families.get(name);
        assert.ok(family !== undefined && name === current && family.type === '' && family.samples.length === 0, line);
        assert.match(rest, /^(?:counter|gauge|histogram|summary|untyped)$/);
        family.type = rest;
      }
      continue;
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    assert.ok(sample !== null, `no sample: ${line}`);
    const [, name = '', inside, number = ''] = sample;
    const family = families.get(name);
    assert.ok(family !== undefined && family.type !== '' && name === current, `lines of one name stand together: ${line}`);
    const labels: Record<string, string> = {};
    let rest = inside ?? '';
    while (rest !== '') {
      const pair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)/.exec(rest);
      assert.ok(pair !== null, `no label: ${rest}`);
      assert.ok(!Object.hasOwn(labels, pair[1] ?? ''));
      labels[pair[1] ?? ''] = (pair[2] ?? '').replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one));
      rest = rest.slice(pair[0].length);
    }
    assert.match(number, /^(?:NaN|[+-]?Inf|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/);
    const key = `${name} ${JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)))}`;
    assert.ok(!series.has(key), `twice: ${key}`);
    series.add(key);
    if (family.type === 'counter') assert.ok(name.endsWith('_total') && Number(number) >= 0, line);
    family.samples.push({ labels, value: Number(number) });
  }
  for (const [name, { type }] of families) assert.notEqual(type, '', name);
  return families;
}

test('/metrics holds to the text format and to what happened; the README names each', async () => {
  const response = await fetch(`${site.relay.url}/metrics`);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  const families = parseMetrics(await response.text());
  assert.deepEqual([...families.keys()], Object.keys(METRICS));
  const value = (name: string, labels: Record<string, string> = {}) =>
    families
      .get(`patchferry_relay_${name}`)
      ?.samples.find((sample) => Object.entries(labels).every(([key, text]) => sample.labels[key] === text))?.value;
  assert.equal(value('generation'), 1);
  assert.equal(value('spool_items', { kind: 'results' }), 10);
  assert.equal(value('hosts', { heard: 'lately' }), 5);
  assert.equal(value('hosts', { heard: 'long-ago' }), 1);
  assert.equal(value('hosts', { heard: 'never' }), 1);
  assert.equal(value('leases', { group: 'all' }), 2);
  assert.equal(value('lease_answers_total', { kind: 'held' }), 2);
  assert.equal(value('envelopes_total', { kind: 'results', status: '201' }), 12);
  assert.equal(value('passed_on_total'), 2);
  assert.equal(value('halts'), 1);
  assert.ok((value('http_requests_total') ?? 0) >= 14);
  assert.ok((value('http_sent_bytes_total') ?? 0) > page.length);
  const readme = fs.readFileSync(resolve(import.meta.dirname, '../README.md'), 'utf8');
  for (const name of families.keys()) assert.ok(readme.includes(`\`${name}\``), name);
  for (const wrong of [
    'a 1\n',
    '# HELP a x\n# TYPE a counter\na 1\n',
    '# HELP a_total x\n# TYPE a_total counter\na_total{b="\\x"} 1\n',
  ])
    assert.throws(() => parseMetrics(wrong), 'the parser is strict');
});

async function cli(...args: string[]) {
  let out = '';
  const exit = await runCommandLine(program, args, {
    out: (text) => void (out += text),
    err: () => undefined,
    errIsTerminal: false,
  });
  return { exit, out };
}

test('status --html writes the same page from files; doctor says what to do, in words and as a document', async () => {
  const { stateDir, cacheDir, upstream, inboxForward } = site.settings;
  const flags = ['--state-dir', stateDir, '--cache-dir', cacheDir];
  const file = join(root, 'from-files.html');
  await cli('status', '--html', file, ...flags);
  const hosts = (text: string) => rowsOf(text, 'hosts').map((row) => [row[0], ...row.slice(3)]);
  assert.deepEqual(hosts(fs.readFileSync(file, 'utf8')).length, hosts(page).length);
  assert.deepEqual(rowsOf(fs.readFileSync(file, 'utf8'), 'leases').length, 2);
  const config = join(root, 'relay.yaml');
  fs.writeFileSync(config, `upstream: [${upstream.join()}, http://127.0.0.1:1]\ninboxForward: [${inboxForward.join()}]\n`);
  const { exit, out } = await cli('doctor', '--json', '--config', config, ...flags);
  assert.equal(exit, 1);
  const { checks } = JSON.parse(out) as { checks: { name: string; state: string; says: string; next: string }[] };
  const state = (name: string) => checks.find((check) => check.name === name)?.state;
  for (const name of ['mirror', 'expiry', 'clock', 'roster', 'spool', 'leases']) assert.equal(state(name), 'ok', name);
  assert.equal(state(`upstream ${upstream.join()}`), 'ok');
  assert.equal(state('upstream http://127.0.0.1:1'), 'look');
  assert.equal(state(`inboxForward ${inboxForward.join()}`), 'look', 'the folder is gone');
  for (const check of checks) assert.equal(check.next === '', check.state === 'ok', check.name);
  assert.match((await cli('doctor', '--config', config, ...flags)).out, /next: Make the folder, or mount its medium/);
  const told = await cli('status', '--config', config, ...flags);
  assert.equal(told.exit, 1, 'status, the page and doctor agree on what needs a look');
  assert.match(told.out, /look at: +1 host has sent nothing here for 72 hours: backoffice\n +Look whether they are on/);
});

test('doctor says nothing of what nobody can know before the first sync', async () => {
  const flags = ['--state-dir', join(root, 'never/state'), '--cache-dir', join(root, 'never/cache')];
  const { exit, out } = await cli('doctor', '--json', ...flags);
  assert.equal(exit, 1);
  const { checks } = JSON.parse(out) as { checks: { name: string; state: string; says: string }[] };
  assert.deepEqual(
    checks.filter(({ state }) => state === 'ok').map(({ name }) => name),
    ['disk', 'spool', 'fuse', 'leases'],
  );
  assert.deepEqual(
    checks.filter(({ state }) => state !== 'ok').map(({ says }) => says),
    ['nothing has been mirrored yet', 'no upstream is set'],
  );
});

test('what was observed is there after a restart, and what a sync by hand fetched meanwhile', async () => {
  noteFetchedByHand(foldersOf(site.settings).observed, 5 * 1024 ** 3, Date.now());
  const second = await site.restart();
  closing.push(() => second.stop());
  const again = await (await fetch(`${second.url}/site/`)).text();
  assert.deepEqual(
    rowsOf(again, 'hosts').map((row) => [row[0], row[3], row[4]]),
    rowsOf(page, 'hosts').map((row) => [row[0], row[3], row[4]]),
  );
  assert.equal(rowsOf(again, 'line')[0]?.[5], '12');
  assert.equal(rowsOf(again, 'line')[0]?.[1], '5.0 GiB');
});

test('/readyz: 503 with its reasons before the first sync; concerns of each kind', async () => {
  const settings = relaySettings.parse({
    listen: '127.0.0.1:0',
    stateDir: join(root, 'new/state'),
    cacheDir: join(root, 'new/cache'),
  });
  const relay = await startRelay(settings, { log: silentLog });
  closing.push(() => relay.stop());
  const answer = await fetch(`${relay.url}/readyz`);
  assert.equal(answer.status, 503);
  assert.match(((await answer.json()) as { reasons: string[] }).reasons.join(), /mirror: nothing has been mirrored yet/);
  assert.equal((await fetch(`${relay.url}/site/`)).status, 200);
  parseMetrics(await (await fetch(`${relay.url}/metrics`)).text());
  const folders = foldersOf(site.settings);
  const all = gatherFacts({ folders, clock, verifyEveryDays: 30 });
  const facts: SiteFacts = { ...all, hosts: [], siteHalts: [], staging: null };
  const about = (over: Partial<SiteFacts>) =>
    concernsOf({ ...facts, ...over }).map((concern) => `${concern.about} ${concern.level}`);
  const GiB = 1024 ** 3;
  const disk = (freeBytes: number) => [{ name: 'state' as const, folder: '/x', freeBytes, sizeBytes: 100 * GiB }];
  const fresh = facts.freshness ?? assert.fail();
  assert.deepEqual(about({ disks: disk(50 * GiB) }), []);
  assert.deepEqual(about({ disks: disk(4 * GiB) }), ['disk old']);
  assert.deepEqual(about({ disks: disk(1_000) }), ['disk bad']);
  assert.deepEqual(about({ disks: [], freshness: { ...fresh, hardExpired: true } }), ['expiry bad']);
  assert.deepEqual(about({ disks: [], freshness: { ...fresh, softExpired: true } }), ['expiry old']);
  assert.deepEqual(about({ disks: [], freshness: { ...fresh, clock: 'behind' } }), ['clock bad']);
  assert.deepEqual(about({ disks: [], freshness: null }), ['expiry bad']);
  assert.deepEqual(about({ disks: [], rosterSignedAt: null }), ['roster bad']);
  assert.deepEqual(about({ disks: [], rosterSignedAt: '2020-01-01T00:00:00Z' }), ['roster old']);
  assert.deepEqual(about({ disks: [], waitingSince: '2020-01-01T00:00:00Z' }), ['spool old']);
  assert.deepEqual(about({ disks: [], waiting: { ...facts.waiting, refused: 2 } }), ['spool old']);
  assert.deepEqual(about({ disks: [], status: { ...facts.status, failuresInARow: 3 } }), ['upstream old']);
  assert.deepEqual(about({ disks: [], leases: null }), ['leases old']);
  const generation = facts.generation ?? assert.fail();
  assert.deepEqual(about({ disks: [], generation: { ...generation, unknownProducts: ['debain-12'] } }), ['mirror old']);
  assert.deepEqual(about({ disks: [], siteHalts: all.siteHalts }), ['fuse old']);
  const opening = { group: 'all', window: 'night', opensAt: facts.at, payloads: 3, bytes: 3, here: 2, hereBytes: 2 };
  const staging = {
    schema: 'patchferry/relay-staging',
    schemaVersion: 1,
    at: facts.at,
    hours: 24,
    openings: [opening],
    says: '',
  } as const;
  assert.deepEqual(about({ disks: [], staging: { ...staging, openings: [opening] } }), ['staging old']);
  assert.deepEqual(about({ disks: [], gaps: all.gaps.map((gap) => ({ ...gap, signedAt: facts.at })) }), ['spool old']);
});

test('hosts of one title are told apart on the page, others need no id', () => {
  const facts = gatherFacts({ folders: foldersOf(site.settings), clock, verifyEveryDays: 30 });
  const [one = assert.fail(), two = assert.fail(), three = assert.fail()] = facts.hosts;
  const hosts = [
    { ...one, title: 'pump' },
    { ...two, title: 'pump' },
    { ...three, title: 'scanner' },
  ];
  const names = rowsOf(renderSite({ ...facts, hosts }), 'hosts').map(([name]) => name);
  for (const { agent } of [one, two])
    assert.equal(names.filter((name) => name?.startsWith(`pump ${agent.slice(0, 8)}`)).length, 1);
  assert.ok(names.some((name) => name?.startsWith('scanner') && !name.includes(three.agent.slice(0, 8))));
});
