// For tests: a real object store with an S3 interface on loopback, OpenStack Swift from Debian's packages, in a folder of its own.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { run, runOrThrow } from '#manifests/platform/process';
import { freePort } from '#manifests/platform/testing/free-port';
import { fault as uploadFault } from '../faults.ts';
import { EMPTY_SHA256, encodedPath, signedHeaders } from '../sigv4.ts';

export interface ObjectStore {
  readonly endpoint: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Makes a bucket that anybody may read. @returns address below which its objects are, for plain GET */
  makeBucket(name: string): Promise<string>;
  stop(): void;
}

/** A machine that is busy with other tests takes longer to connect than the half second that Swift allows itself. */
const PATIENT = 'conn_timeout = 20\nnode_timeout = 60\n';

const PROGRAMS = ['account', 'container', 'object', 'proxy'] as const;

/** @param folder does not exist yet; must be on a file system with extended attributes */
export async function startSwift(folder: string): Promise<ObjectStore> {
  const conf = join(folder, 'conf');
  fs.mkdirSync(conf, { recursive: true });
  fs.mkdirSync(join(folder, 'devices/d1'), { recursive: true });
  const ports = new Map<string, number>();
  for (const name of [...PROGRAMS, 'memcached']) ports.set(name, await freePort());
  const user = (await runOrThrow('id', ['-un'], { timeoutMs: 10_000 })).stdout.trim();
  const common = `bind_ip = 127.0.0.1\nworkers = 0\nuser = ${user}\nswift_dir = ${conf}\nlog_level = WARNING\nlog_address = ${folder}/none\n`;
  fs.writeFileSync(
    join(conf, 'swift.conf'),
    '[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n[storage-policy:0]\nname = only\ndefault = yes\n',
  );
  for (const name of ['account', 'container', 'object']) {
    const builder = join(conf, `${name}.builder`);
    const port = String(ports.get(name));
    const ring = (...args: string[]) => runOrThrow('swift-ring-builder', [builder, ...args], { timeoutMs: 60_000 });
    await ring('create', '4', '1', '0');
    await ring(...'add --region 1 --zone 1 --ip 127.0.0.1 --device d1 --weight 1 --port'.split(' '), port);
    await ring('rebalance');
    fs.writeFileSync(
      join(conf, `${name}.conf`),
      `[DEFAULT]\n${common}bind_port = ${port}\ndevices = ${folder}/devices\nmount_check = false\ndisable_fallocate = true\n` +
        `[pipeline:main]\npipeline = ${name}-server\n[app:${name}-server]\nuse = egg:swift#${name}\n${PATIENT}`,
    );
  }
  const filters = ['catch_errors', 'gatekeeper', 'listing_formats'].map(
    (name) => `[filter:${name}]\nuse = egg:swift#${name}\n`,
  );
  fs.writeFileSync(
    join(conf, 'proxy.conf'),
    `[DEFAULT]\n${common}bind_port = ${ports.get('proxy')}\n` +
      '[pipeline:main]\npipeline = catch_errors gatekeeper cache listing_formats s3api tempauth proxy-server\n' +
      `[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n${PATIENT}${filters.join('')}` +
      `[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:${ports.get('memcached')}\n` +
      '[filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\n' +
      '[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n',
  );

  const running = new AbortController();
  const said: string[] = [];
  const start = (program: string, args: readonly string[]) =>
    void run(program, args, { timeoutMs: 600_000, signal: running.signal }).then(
      ({ code, stderr }) => said.push(`${program} ended with ${code}: ${stderr.slice(-1_000)}`),
      () => undefined, // stopped
    );
  const stop = () => running.abort();
  start('memcached', ['-l', '127.0.0.1', '-p', String(ports.get('memcached')), '-u', user]);
  for (const name of PROGRAMS) start(`swift-${name}-server`, [join(conf, `${name}.conf`)]);

  const endpoint = `http://127.0.0.1:${ports.get('proxy')}`;
  const credentials = { accessKeyId: 'test:tester', secretAccessKey: 'testing' };
  const signed = (method: 'GET' | 'PUT', path: string) => {
    const host = new URL(endpoint).host;
    const { host: _host, ...headers } = signedHeaders(
      { method, host, path, bodySha256: EMPTY_SHA256 },
      credentials,
      'us-east-1',
      Date.now(),
    );
    return fetch(endpoint + encodedPath(path), { method, headers }).catch(() => undefined);
  };
  // All four have to be up: a list is the account's, a bucket is made at the container's, an object at its own.
  for (const [method, path] of [
    ['GET', '/'],
    ['PUT', '/first'],
    ['PUT', '/first/object'],
  ] as const) {
    for (let tries = 0; (await signed(method, path))?.status !== 200; tries += 1) {
      if (tries > 300) {
        stop();
        throw uploadFault('unreachable', `Swift does not come up: ${said.join('; ')}`);
      }
      await new Promise((done) => void setTimeout(done, 200));
    }
  }
  return {
    endpoint,
    credentials,
    stop,
    async makeBucket(name) {
      const made = await signed('PUT', `/${name}`);
      if (made?.status !== 200) throw new Error(`${made?.status} ${await made?.text()}`);
      // Who may read is said by Swift's own interface: anybody.
      const login = await fetch(`${endpoint}/auth/v1.0`, {
        headers: { 'x-auth-user': credentials.accessKeyId, 'x-auth-key': credentials.secretAccessKey },
      });
      const open = await fetch(`${endpoint}/v1/AUTH_test/${name}`, {
        method: 'POST',
        headers: { 'x-auth-token': login.headers.get('x-auth-token') ?? '', 'x-container-read': '.r:*' },
      });
      if (open.status !== 204) throw new Error(`${open.status} ${await open.text()}`);
      return `${endpoint}/v1/AUTH_test/${name}`;
    },
  };
}
