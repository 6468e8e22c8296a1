// The build command: one standalone binary each for publisher, relay and agent, for this machine's platform, in dist/.
// Each is one bundled file injected into the Node that npm carried, and 7zz beside them for bundles in .7z files; nothing is
// downloaded.
// Usage: npm run build [-- publisher|relay|agent …]
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { buildBinaries, COMPONENTS, type Component, copySevenZip } from './binaries.ts';

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(COMPONENTS as readonly string[]).includes(name));
if (unknown.length > 0) {
  process.stderr.write(`unknown: ${unknown.join(', ')}; one of ${COMPONENTS.join(', ')}\n`);
  process.exit(2);
}
const out = resolve(import.meta.dirname, '../../dist');
const built = await buildBinaries(names.length > 0 ? (names as Component[]) : COMPONENTS, out, (line) =>
  process.stderr.write(`${line}\n`),
);
built.push(...copySevenZip(out));
const sums = built.map(
  (path) => `${createHash('sha256').update(fs.readFileSync(path)).digest('hex')}  ${path.slice(out.length + 1)}\n`,
);
fs.writeFileSync(join(out, 'SHA256SUMS'), sums.join(''));
for (const path of built) process.stdout.write(`${path} ${(fs.statSync(path).size / 1e6).toFixed(0)} MB\n`);
