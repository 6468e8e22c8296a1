// What both demos share: numbered steps with the time passed, remarks under them, a folder that is removed at the end.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Stage {
  /** All of the demo's own files; removed at the end. */
  readonly folder: string;
  /** Where the report is left. */
  readonly keep: string;
  /** Announces the next step. */
  readonly step: (title: string) => void;
  /** Remarks under the step, a line each. */
  readonly say: (text: string) => void;
  readonly close: () => void;
}

export function openStage(steps: number, keep: string): Stage {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-demo-'));
  fs.mkdirSync(keep, { recursive: true });
  const started = performance.now();
  let number = 0;
  return {
    folder,
    keep,
    step(title) {
      number += 1;
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      process.stdout.write(`\n[${number}/${steps}, ${seconds} s] ${title}\n`);
    },
    say(text) {
      for (const line of text.trimEnd().split('\n')) process.stdout.write(`    ${line}\n`);
    },
    close: () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}
