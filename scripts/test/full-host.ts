// For tests of the whole agent on one real host: the vendor's archive and own software at a publisher, a relay, and the standalone
// agent on a booted Debian that has the distribution's own updater too.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunBody } from '#manifests/schema';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, FleetRelay, HostAgent, until } from '../fleet/index.ts';
import { debianMirrors, Lab, type TestHost } from '../hosts/index.ts';

export interface RunRow {
  readonly id: string;
  readonly outcome: string | null;
  readonly body: RunBody | null;
}

const PRODUCT = 'debian-12';
const PORT = 8486;
/** Codes of a cycle that did what it could. */
const FINE = [0, 1, 3, 4, 6, 8];

export class FullHost {
  readonly folder: string;
  readonly lab: Lab;
  readonly host: TestHost;
  readonly publisher: FleetPublisher;
  readonly relay: FleetRelay;
  readonly agent: HostAgent;

  private constructor(folder: string, lab: Lab, host: TestHost, publisher: FleetPublisher, relay: FleetRelay) {
    this.folder = folder;
    this.lab = lab;
    this.host = host;
    this.publisher = publisher;
    this.relay = relay;
    this.agent = new HostAgent(host);
  }

  /** Booted, with the agent on it; nobody has approved it yet. */
  static async open(settings: Readonly<Record<string, unknown>> = {}): Promise<FullHost> {
    const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-full-'));
    const binary = await keptBinary('agent');
    const mirrors = await debianMirrors('bookworm');
    if (mirrors === undefined) throw new Error('apt here has no sources for Debian 12');
    const lab = await Lab.open({ tree: 'attended' });
    try {
      const host = await lab.host('full');
      const booting = host.boot();
      const publisher = new FleetPublisher(folder);
      await publisher.init();
      await publisher.addDebianSecurity(mirrors);
      await publisher.addRelease('shop', '1.0.0', { 'shop.py': shop('1.0.0') }, { services: ['shop.service'] });
      publisher.writePolicy(PRODUCT, { windowOpen: false, own: ['shop'] });
      await publisher.publish('none');
      await booting;
      const upstream = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
      const relay = new FleetRelay({ folder: join(folder, 'relay'), host: host.gateway, ...upstream }, PORT);
      await relay.sync();
      await relay.start();
      const full = new FullHost(folder, lab, host, publisher, relay);
      full.agent.install(binary, publisher.root, [relay.url], settings);
      fs.writeFileSync(join(host.root, 'etc/systemd/system/shop.service'), SHOP_UNIT);
      await host.must(['systemctl', 'daemon-reload']);
      await full.agent.enroll(await publisher.invite('full'), relay.url, 'full');
      return full;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** The publisher approves the host, and knows from its first scan what it lacks. */
  async approve(): Promise<void> {
    await this.publisher.arrived();
    await this.publisher.approveAll();
    await this.spread();
    await this.agent.must(['once'], FINE);
    await this.publisher.arrived();
  }

  /** Publishes, and brings it to the relay. */
  async spread(payloads: 'none' | 'wanted' | 'approved' = 'none'): Promise<void> {
    await this.publisher.publish(payloads);
    await this.relay.sync();
  }

  /** Signs another policy for everything of the shop and of these sources, and brings it to the relay, payloads and all. */
  async decree(group: Readonly<Record<string, unknown>>, only: readonly string[] = ['expat']): Promise<void> {
    this.publisher.writePolicy(PRODUCT, { only, own: ['shop'], group });
    await this.spread('approved');
  }

  async runs(): Promise<readonly RunRow[]> {
    return (await this.agent.ask<{ runs: readonly RunRow[] }>(['history'])).runs;
  }

  /** Waits for the service to have ended a run more than `known`. */
  runAfter(known: number): Promise<RunRow> {
    return until('the service to end a run', 240, async () => {
      const runs = await this.runs();
      return runs.length > known && runs[0]?.outcome ? runs[0] : undefined;
    });
  }

  async close(): Promise<void> {
    await this.relay.kill('SIGTERM');
    await this.lab.close();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A web service that answers with its version. */
export function shop(version: string): string {
  return `import http.server
class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"shop ${version}")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8088), Shop).serve_forever()
`;
}

const SHOP_UNIT = `[Unit]
Description=The shop
[Service]
ExecStart=/usr/bin/python3 /opt/patchferry/components/shop/current/shop.py
[Install]
WantedBy=multi-user.target
`;
