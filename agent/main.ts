// The agent's command line. Commands are in cli/; each loads what it needs when it runs, so that starting costs little.
import { main } from '#manifests/platform/cli';
import { agentProgram } from './cli/index.ts';

void main(agentProgram);
