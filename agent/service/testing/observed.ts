// For tests, loaded before a program with --import: sets its clock, and writes the most memory it ever held, in KiB, into
// PATCHFERRY_TEST_PEAK when it ends. The clock is ahead by PATCHFERRY_TEST_CLOCK_MS milliseconds, or by as many as stand in the
// file PATCHFERRY_TEST_CLOCK_FILE, which may change while the program runs.
import { readFileSync, writeFileSync } from 'node:fs';

/** Milliseconds for which what was read of the clock file counts. */
const LOOK_MS = 20;

const file = process.env['PATCHFERRY_TEST_CLOCK_FILE'];
const peak = process.env['PATCHFERRY_TEST_PEAK'];
const real = Date.now.bind(Date);
let shift = Number(process.env['PATCHFERRY_TEST_CLOCK_MS'] ?? 0);
let lookedAt = Number.NEGATIVE_INFINITY;

function shiftNow(): number {
  if (file !== undefined && performance.now() - lookedAt > LOOK_MS) {
    lookedAt = performance.now();
    shift = Number(readFileSync(file, 'utf8'));
  }
  return shift;
}

if (shift !== 0 || file !== undefined) Date.now = () => real() + shiftNow();
if (peak !== undefined) process.on('exit', () => writeFileSync(peak, String(process.resourceUsage().maxRSS)));
