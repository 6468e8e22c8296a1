// Health checks and hooks against real processes and sockets; stale libraries against real lines of /proc.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { healthCheck } from '#manifests/schema';
import { checkHealth, runHook } from './checks.ts';
import { mayRestart, replacedIn, serviceIn, staleUses } from './stale.ts';

const never = new AbortController().signal;
let port = 0;
const server = createServer((request, response) => {
  if (request.url === '/hang') return;
  response.writeHead(request.url === '/ok' ? 200 : 503).end('text');
});
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

describe('health checks', () => {
  const rows: readonly { what: string; check: () => object; healthy: boolean; says: RegExp }[] = [
    { what: 'command', check: () => ({ command: ['true'] }), healthy: true, says: /^passed$/ },
    { what: 'command that fails', check: () => ({ command: ['false'] }), healthy: false, says: /ended with 1/ },
    { what: 'command that hangs', check: () => ({ command: ['sleep', '60'] }), healthy: false, says: /no answer within 1 s/ },
    { what: 'no such command', check: () => ({ command: ['/nowhere/x'] }), healthy: false, says: /cannot start/ },
    { what: 'unit that is not there', check: () => ({ unit: 'patchferry-none.service' }), healthy: false, says: /.+/ },
    { what: 'connection', check: () => ({ connect: `127.0.0.1:${port}` }), healthy: true, says: /takes connections/ },
    { what: 'closed port', check: () => ({ connect: '127.0.0.1:1' }), healthy: false, says: /ECONNREFUSED/ },
    { what: 'answer', check: () => ({ url: `http://127.0.0.1:${port}/ok` }), healthy: true, says: /answered 200/ },
    { what: 'other answer', check: () => ({ url: `http://127.0.0.1:${port}/no` }), healthy: false, says: /503, not 200/ },
    { what: 'wanted answer', check: () => ({ url: `http://127.0.0.1:${port}/no`, status: 503 }), healthy: true, says: /503$/ },
    { what: 'no answer', check: () => ({ url: `http://127.0.0.1:${port}/hang` }), healthy: false, says: /within 1 s/ },
    { what: 'nobody there', check: () => ({ url: 'http://127.0.0.1:1/' }), healthy: false, says: /ECONNREFUSED|bad port/ },
  ];
  for (const { what, check, healthy, says } of rows) {
    test(what, async () => {
      const found = await checkHealth(healthCheck.parse({ name: 'one', timeoutSeconds: 1, ...check() }), never);
      assert.match(found.says, says);
      assert.equal(found.healthy, healthy);
    });
  }
  test('a check has exactly one kind', () => {
    const none = healthCheck.safeParse({ name: 'one', timeoutSeconds: 1 });
    const two = healthCheck.safeParse({ name: 'one', timeoutSeconds: 1, command: ['true'], unit: 'a.service' });
    assert.match(String(none.error), /exactly one of command, unit, connect, url/);
    assert.match(String(two.error), /exactly one/);
  });
});

describe('hooks', () => {
  const hook = (command: string[], timeoutSeconds = 5) => ({ name: 'one', at: 'on-exit' as const, command, timeoutSeconds });
  test('exits', async () => {
    assert.equal((await runHook(hook(['true']), {}, never)).how, 'done');
    assert.equal((await runHook(hook(['false']), {}, never)).how, 'failed');
    assert.equal((await runHook(hook(['sh', '-c', 'exit 21']), {}, never)).how, 'later');
    assert.equal((await runHook(hook(['/nowhere/x']), {}, never)).how, 'failed');
  });
  test('a time-out stops the whole group, also what the hook left in the background', async () => {
    const script = 'sleep 61.75 & echo $!; wait';
    const { how, says } = await runHook(hook(['sh', '-c', script], 1), {}, never);
    assert.equal(how, 'failed');
    const pid = Number(/(\d+)$/.exec(says)?.[1]);
    assert.ok(pid > 1, says);
    // gone, or dead and not yet reaped by the PID 1 of where the test runs
    const state = fs.existsSync(`/proc/${pid}/status`) ? fs.readFileSync(`/proc/${pid}/status`, 'utf8') : 'State:\tX';
    assert.match(state, /^State:\t[ZX]/m);
  });
  test('output is bounded and the environment small', async () => {
    const { says } = await runHook(
      hook(['sh', '-c', 'head -c 300000 /dev/zero | tr "\\0" x; env']),
      { PATCHFERRY_RUN: 'r' },
      never,
    );
    assert.ok(says.length < 2_000);
    const { says: environment } = await runHook(hook(['env']), { PATCHFERRY_RUN: 'r' }, never);
    assert.match(environment, /PATCHFERRY_RUN=r/);
    assert.doesNotMatch(environment, /NODE_|SECRET/);
  });
});

describe('libraries in use that were replaced', () => {
  const row = (path: string, mode = 'r-xp') => `7f5a1c000000-7f5a1c026000 ${mode} 00028000 08:01 1835  ${path}\n`;
  test('only deleted code of the system counts', () => {
    assert.equal(replacedIn(row('/usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)')), '/usr/lib/x86_64-linux-gnu/libssl.so.3');
    assert.equal(replacedIn(row('/usr/lib/x86_64-linux-gnu/libssl.so.3')), undefined);
    assert.equal(replacedIn(row('/usr/lib/locale/C.utf8 (deleted)', 'r--p')), undefined);
    for (const path of ['/memfd:jit', '/dev/shm/x', '/tmp/x', '/usr/local/bin/own', '/SYSV00000000']) {
      assert.equal(replacedIn(row(`${path} (deleted)`)), undefined, path);
    }
  });
  test('a process belongs to its service, a login to nobody', () => {
    assert.equal(serviceIn('0::/system.slice/ssh.service\n'), 'ssh.service');
    assert.equal(serviceIn('0::/system.slice/system-getty.slice/getty@tty1.service\n'), 'getty@tty1.service');
    assert.equal(serviceIn('0::/user.slice/user-0.slice/user@0.service/init.scope\n'), null);
    assert.equal(serviceIn('0::/init.scope\n'), null);
    assert.equal(mayRestart('ssh.service'), true);
    for (const unit of ['dbus.service', 'systemd-logind.service', 'patchferry-agent.service', null]) {
      assert.equal(mayRestart(unit), false);
    }
  });
  test('the processes of this machine can be read', () => {
    assert.ok(Array.isArray(staleUses()));
    assert.deepEqual(staleUses('/nowhere'), []);
  });
});
