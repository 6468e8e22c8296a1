// The publisher's commands, in the order `--help` lists them.
import type { ProgramSpec } from '#manifests/platform/cli';
import { agentCommands } from './agent.ts';
import { bundleCommands } from './bundle.ts';
import { changeCommands } from './change.ts';
import { collectCommands } from './collect.ts';
import { GLOBAL_OPTIONS, type Tools } from './common.ts';
import { exchangeCommands } from './exchange.ts';
import { explainCommands } from './explain.ts';
import { keyCommands } from './keys.ts';
import { patchCommands } from './patch.ts';
import { planCommands } from './plan.ts';
import { policyCommands } from './policy.ts';
import { publishCommands } from './publish.ts';
import { reportCommands } from './report.ts';
import { siteCommands } from './site.ts';
import { siteHaltCommands } from './site-halts.ts';
import { sourceCommands } from './source.ts';
import { stopCommands } from './stop.ts';
import { uploadCommands } from './upload.ts';
import { waiverCommands } from './waiver.ts';

export type { Tools } from './common.ts';

export function publisherProgram(tools: Tools): ProgramSpec {
  return {
    name: 'publisher',
    summary: 'Imports vendor updates, decides policy, signs static files, and shows the truth about the fleet.',
    version: '0.1.0',
    globalOptions: GLOBAL_OPTIONS,
    commands: [
      ...keyCommands(tools),
      ...sourceCommands(tools),
      ...patchCommands(tools),
      ...policyCommands(tools),
      ...agentCommands(tools),
      ...changeCommands(tools),
      ...publishCommands(tools),
      ...uploadCommands(tools),
      ...collectCommands(tools),
      ...stopCommands(tools),
      ...waiverCommands(tools),
      ...exchangeCommands(tools),
      ...siteCommands(tools),
      ...siteHaltCommands(tools),
      ...bundleCommands(tools),
      ...reportCommands(tools),
      ...explainCommands(tools),
      ...planCommands(tools),
    ],
  };
}
