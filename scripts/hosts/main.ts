// Makes a test host by hand, says how to enter it, and gives it back at Ctrl-C.
// Usage: npm run hosts [-- --ext4] [-- RELEASE]
import { ensureDebianPackages } from '../setup/debian.ts';
import { Lab } from './index.ts';

const args = process.argv.slice(2);
const lacking = await ensureDebianPackages(['hosts']);
if (lacking !== undefined) {
  process.stderr.write(`no test hosts here: ${lacking}\n`);
  process.exit(2);
}
const release = args.find((arg) => !arg.startsWith('--')) ?? 'bookworm';
const say = (line: string) => void process.stderr.write(`${line}\n`);
await using lab = await Lab.open({ say, release, fileSystem: args.includes('--ext4') ? 'ext4' : 'btrfs' });
const host = await lab.host('stale');
await host.boot();
say(`host is up at ${host.address}, its tree is ${host.root}; it reaches ${host.gateway} and nothing else`);
say(`enter it:    nsenter -t ${host.init} -a bash`);
say('give it back: Ctrl-C');
await new Promise((resolve) => {
  process.once('SIGINT', resolve).once('SIGTERM', resolve);
  const stay = setInterval(() => undefined, 60_000);
  process.once('SIGINT', () => clearInterval(stay)).once('SIGTERM', () => clearInterval(stay));
});
