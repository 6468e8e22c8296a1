// For tests, loaded before a program with --import: sets its clock (PATCHFERRY_TEST_CLOCK_MS, milliseconds to add), and writes
// the most memory it ever held, in KiB, into PATCHFERRY_TEST_PEAK when it ends.
import { writeFileSync } from 'node:fs';

const shift = Number(process.env['PATCHFERRY_TEST_CLOCK_MS'] ?? 0);
const peak = process.env['PATCHFERRY_TEST_PEAK'];
const real = Date.now.bind(Date);

if (shift !== 0) Date.now = () => real() + shift;
if (peak !== undefined) process.on('exit', () => writeFileSync(peak, String(process.resourceUsage().maxRSS)));
