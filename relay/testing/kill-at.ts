// For tests, loaded before a program with --import: ends the process with SIGKILL at the N-th change it makes to the disk
// (PATCHFERRY_TEST_KILL_AT), a write being half done then; without a number it counts them into PATCHFERRY_TEST_COUNT.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const killAt = Number(process.env['PATCHFERRY_TEST_KILL_AT'] ?? 0);
const countFile = process.env['PATCHFERRY_TEST_COUNT'];
let count = 0;
const { writeFileSync } = fs;

type Changing =
  | 'writeSync'
  | 'writeFileSync'
  | 'fsyncSync'
  | 'renameSync'
  | 'linkSync'
  | 'symlinkSync'
  | 'rmSync'
  | 'mkdirSync'
  | 'appendFileSync';

function due(): boolean {
  count += 1;
  return count === killAt;
}

function half(data: unknown): unknown {
  if (typeof data === 'string') return data.slice(0, data.length >> 1);
  return data instanceof Uint8Array ? data.subarray(0, data.length >> 1) : data;
}

for (const name of [
  'fsyncSync',
  'renameSync',
  'linkSync',
  'symlinkSync',
  'rmSync',
  'mkdirSync',
] as const satisfies Changing[]) {
  const original = fs[name] as (...args: unknown[]) => unknown;
  Object.assign(fs, {
    [name]: (...args: unknown[]) => {
      if (due()) process.kill(process.pid, 'SIGKILL');
      return original(...args);
    },
  });
}
for (const name of ['writeSync', 'writeFileSync', 'appendFileSync'] as const satisfies Changing[]) {
  const original = fs[name] as (...args: unknown[]) => unknown;
  Object.assign(fs, {
    [name]: (target: unknown, data: unknown, ...rest: unknown[]) => {
      if (target === 2 || target === 1) return original(target, data, ...rest); // stdout and stderr
      if (due()) {
        original(target, half(data));
        process.kill(process.pid, 'SIGKILL');
      }
      return original(target, data, ...rest);
    },
  });
}

/** The asynchronous ones that the inbox uses: open (of a file handle, whose flushes and writes count too), rename, mkdir, rm. */
for (const name of ['open', 'rename', 'mkdir', 'rm'] as const) {
  const original = fs.promises[name] as (...args: unknown[]) => Promise<unknown>;
  Object.assign(fs.promises, {
    [name]: async (...args: unknown[]) => {
      if (due()) process.kill(process.pid, 'SIGKILL');
      const value = await original(...args);
      if (name !== 'open') return value;
      const handle = value as fs.promises.FileHandle;
      const { sync, writeFile } = { sync: handle.sync.bind(handle), writeFile: handle.writeFile.bind(handle) };
      handle.sync = async () => {
        if (due()) process.kill(process.pid, 'SIGKILL');
        await sync();
      };
      const { datasync, writev } = { datasync: handle.datasync.bind(handle), writev: handle.writev.bind(handle) };
      handle.datasync = async () => {
        if (due()) process.kill(process.pid, 'SIGKILL');
        await datasync();
      };
      handle.writev = async (buffers, position) => {
        if (due()) {
          await writeFile(half(Buffer.concat(buffers as unknown as Uint8Array[])) as Uint8Array);
          process.kill(process.pid, 'SIGKILL');
        }
        return writev(buffers, position);
      };
      handle.writeFile = async (data) => {
        if (due()) {
          await writeFile(half(data) as Uint8Array);
          process.kill(process.pid, 'SIGKILL');
        }
        await writeFile(data as Uint8Array);
      };
      return handle;
    },
  });
}
syncBuiltinESMExports();

if (countFile !== undefined) process.on('exit', () => writeFileSync(countFile, String(count)));
