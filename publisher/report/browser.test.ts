// The page in a real browser: it shows its figures, asks for nothing, and fits a phone.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { run } from '#manifests/platform/process';
import { complianceReport, readHostDetails, renderHtml } from './index.ts';
import { AT, STALE_HOURS, sampleCatalog, sampleRoster, writeSampleStore } from './report-samples.ts';

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  fs.existsSync(path),
);
const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-page-'));
after(() => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
const pageFile = join(folder, 'page.html');

async function chromium(args: readonly string[], file: string): Promise<string> {
  const profile = fs.mkdtempSync(join(folder, 'profile-'));
  const quiet = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-extensions',
    '--disable-default-apps',
    // Whatever the browser wants of its own accord ends at a closed port of this machine.
    '--proxy-server=http://127.0.0.1:9',
  ];
  const result = await run(browser ?? '', [...quiet, `--user-data-dir=${profile}`, ...args, pathToFileURL(file).href], {
    timeoutMs: 60_000,
  });
  assert.equal(result.code, 0, result.stderr);
  return result.stdout;
}

/** The page after loading, and every address that it (not the browser of its own accord) asked for. */
async function visit(file: string): Promise<{ dom: string; asked: string[] }> {
  const netLog = join(fs.mkdtempSync(join(folder, 'visit-')), 'net.json');
  const dom = await chromium(['--dump-dom', `--log-net-log=${netLog}`], file);
  const log = JSON.parse(fs.readFileSync(netLog, 'utf8')) as {
    events: ReadonlyArray<{ params?: { url?: string; initiator?: string } }>;
  };
  const asked = log.events.flatMap(({ params }) =>
    params?.url !== undefined &&
    params.initiator !== undefined &&
    params.initiator !== 'not an origin' &&
    /^(?:https?|wss?|ftp):/.test(params.url)
      ? [params.url]
      : [],
  );
  return { dom, asked: [...new Set(asked)] };
}

describe('the page in Chromium', { skip: browser === undefined ? 'no Chromium on this machine' : false }, () => {
  let page = '';
  before(() => {
    const store = join(folder, 'store.sqlite');
    writeSampleStore(store);
    const report = complianceReport(store, {
      roster: sampleRoster(),
      catalogs: [sampleCatalog()],
      at: AT,
      staleAfterHours: STALE_HOURS,
    });
    page = renderHtml(report, readHostDetails(store, report));
    fs.writeFileSync(pageFile, page);
  });

  test('shows the figures, runs no script of a host, asks for nothing', async () => {
    const { dom, asked } = await visit(pageFile);
    assert.match(dom, /<h1>1 of 6 hosts is compliant<\/h1>/);
    for (const text of ['16.6 %', 'Revoked, not counted', 'CVE-2024-9999', 'Rolled back: the host is as before'])
      assert.ok(dom.includes(text), text);
    assert.equal(/<script|<img/.test(dom), false);
    assert.deepEqual(asked, []);
    // The same eyes see a page that does ask for something.
    const telltale = join(folder, 'telltale.html');
    fs.writeFileSync(telltale, '<!doctype html><img src="http://tracker.invalid/x.png">');
    assert.deepEqual((await visit(telltale)).asked, ['http://tracker.invalid/x.png']);
  });

  test('fits 390 pixels without scrolling sideways, in both colour schemes', async () => {
    // A window cannot be that narrow, a frame can; the frame's own policy forbids scripts, so the frame around it measures.
    const frame = join(folder, 'frame.html');
    fs.writeFileSync(
      frame,
      `<!doctype html><iframe id="f" width="390" height="3000" style="border:0"></iframe><output id="o"></output><script>
const f = document.getElementById('f');
f.onload = () => {
  const root = f.contentDocument.documentElement;
  const wide = [...f.contentDocument.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 390.5).map((e) => e.outerHTML.slice(0, 80));
  document.getElementById('o').textContent = JSON.stringify({ scroll: root.scrollWidth, client: root.clientWidth, rows: f.contentDocument.querySelectorAll('tr').length, wide: wide.slice(0, 5) });
};
f.srcdoc = ${JSON.stringify(page).replaceAll('<', '\\u003c')};
</script>`,
    );
    for (const scheme of ['0', '1']) {
      const dom = await chromium(['--dump-dom', `--blink-settings=preferredColorScheme=${scheme}`], frame);
      const output =
        /<output id="o">([^<]*)/.exec(dom)?.[1]?.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&') ?? '';
      const measured = JSON.parse(output) as { scroll: number; client: number; rows: number; wide: string[] };
      assert.ok(measured.rows > 10);
      assert.ok(measured.client > 350 && measured.client <= 390);
      assert.deepEqual([measured.scroll, measured.wide], [measured.client, []]);
    }
  });

  test('prints', async () => {
    const pdf = join(folder, 'page.pdf');
    await chromium([`--print-to-pdf=${pdf}`, '--no-pdf-header-footer'], pageFile);
    assert.equal(fs.readFileSync(pdf).subarray(0, 5).toString('latin1'), '%PDF-');
  });
});
