// The demo without root or without Debian: own software as an `archive` patch into a sandbox folder, by the same flow; and on
// a Debian a read-only scan of this machine. Installs nothing outside its folder.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { create } from 'tar';
import { command, FleetPublisher, FleetRelay } from '../fleet/index.ts';
import { debianMirrors } from '../hosts/index.ts';
import type { Stage } from './stage.ts';

export const SANDBOX_STEPS = 6;

const PORT = 18_480;

/** A folder source with one release of `own-tool`. */
async function writeRelease(folder: string, version: string): Promise<void> {
  const release = join(folder, version);
  fs.mkdirSync(join(release, 'tree'), { recursive: true });
  fs.writeFileSync(join(release, 'tree', 'own-tool'), `#!/bin/sh\necho own-tool ${version}\n`, { mode: 0o755 });
  await create({ gzip: true, portable: true, cwd: join(release, 'tree'), file: join(release, `own-tool-${version}.tar.gz`) }, [
    'own-tool',
  ]);
  fs.rmSync(join(release, 'tree'), { recursive: true });
  const description = `apiVersion: patchferry/v1
kind: Patch
metadata: { name: own-tool }
spec:
  version: "${version}"
  title: Own tool ${version}
  classification: security
  packages:
    - file: own-tool-${version}.tar.gz
`;
  fs.writeFileSync(join(release, 'patch.yaml'), description);
}

/** Runs the whole main job in a folder and leaves `report.html` in `stage.keep`. */
export async function demoInSandbox(stage: Stage): Promise<void> {
  stage.step('Publisher: keys, a source of own software, policy');
  const software = join(stage.folder, 'software');
  await writeRelease(software, '1.0.0');
  const publisher = new FleetPublisher(stage.folder);
  await publisher.init();
  await publisher.run(['source', 'add', 'own', '--kind', 'folder', '--product', 'own-tool', '--url', software]);
  stage.say((await publisher.run(['source', 'sync'])).stdout);
  publisher.writePolicy('own-tool', {
    health: [{ name: 'it-answers', command: [join(stage.folder, 'components/own-tool/current/own-tool')] }],
  });
  stage.say((await publisher.publish('approved')).stdout);

  stage.step('Relay: mirror and serve');
  const relay = new FleetRelay(
    {
      folder: join(stage.folder, 'relay'),
      host: '127.0.0.1',
      upstream: publisher.repository,
      upstreamRoot: publisher.root,
      inboxForward: publisher.inbox,
    },
    PORT,
  );
  try {
    stage.say((await relay.sync()).stdout);
    await relay.start();

    stage.step('Agent: enrol, be approved');
    const config = join(stage.folder, 'agent.yaml');
    const folder = (name: string) => join(stage.folder, name);
    const settings = { stateDir: folder('agent/state'), cacheDir: folder('agent/cache'), archiveRoot: folder('components') };
    fs.writeFileSync(config, JSON.stringify({ relays: [relay.url], rootFile: publisher.root, ...settings }));
    const agent = (args: readonly string[], accept = [0, 1, 3, 4]) => command('agent', [...args, '--config', config], accept);
    const code = await publisher.invite('sandbox');
    stage.say(
      (await agent(['enroll', '--code', code, '--relay', relay.url, '--root', publisher.root, '--title', 'sandbox'])).stdout,
    );
    await publisher.arrived();
    await publisher.approveAll();
    await publisher.publish('approved');
    await relay.sync();

    stage.step('Install 1.0.0, then 1.1.0 as it is published');
    stage.say((await agent(['once'])).stdout);
    await writeRelease(software, '1.1.0');
    await publisher.run(['source', 'sync']);
    await publisher.publish('approved');
    await relay.sync();
    stage.say((await agent(['plan'])).stdout);
    stage.say((await agent(['once'])).stdout);
    stage.say((await agent(['history'])).stdout);

    stage.step('Results come home; the report');
    await publisher.arrived();
    await publisher.publish('approved');
    const page = join(stage.keep, 'report.html');
    stage.say((await publisher.run(['report', '--format', 'html', '--output', page], [0, 1])).stdout);
  } finally {
    await relay.kill('SIGTERM');
  }
  await scanThisMachine(stage);
}

/** What this very machine misses, when it is a Debian whose mirrors can be reached. Read-only. */
async function scanThisMachine(stage: Stage): Promise<void> {
  stage.step('Scan this machine, read-only');
  const mirrors = fs.existsSync('/etc/debian_version') ? await debianMirrors('bookworm') : undefined;
  if (mirrors === undefined) {
    stage.say('skipped: this is not a Debian with sources of its own');
    return;
  }
  const folder = join(stage.folder, 'scan');
  const publisher = new FleetPublisher(folder);
  fs.mkdirSync(folder);
  await publisher.init();
  stage.say(await publisher.addDebianSecurity(mirrors));
  publisher.writePolicy('debian-12');
  await publisher.publish('none');
  const settings = ['--state-dir', join(folder, 'state'), '--cache-dir', join(folder, 'cache')];
  const scan = await command(
    'agent',
    ['scan', '--repository', publisher.repository, '--root', publisher.root, ...settings],
    [0, 1],
  );
  stage.say(scan.stdout.split('\n').slice(0, 20).join('\n'));
}
