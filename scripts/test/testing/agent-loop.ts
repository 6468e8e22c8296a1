// For tests: the agent's command line, again and again in one process, as a service runs that nobody restarts: starting Node for
// each of many cycles would cost more than the cycles. Takes {args, clockMs} by HTTP on a socket of the host's own folder.
// Usage: agent-loop.ts SOCKET
import { createServer } from 'node:http';
import { runCommandLine } from '#manifests/platform/cli';
import { agentProgram } from '../../../agent/cli/index.ts';

interface Asked {
  readonly args: readonly string[];
  /** How far the clock of this host is ahead, milliseconds. */
  readonly clockMs: number;
}

const real = Date.now.bind(Date);
let shift = 0;
Date.now = () => real() + shift;

async function answer({ args, clockMs }: Asked) {
  shift = clockMs;
  let [stdout, stderr] = ['', ''];
  const streams = {
    out: (text: string) => void (stdout += text),
    err: (text: string) => void (stderr += text),
    errIsTerminal: false,
  };
  return { code: await runCommandLine(agentProgram, args, streams), stdout, stderr };
}

/** One command at a time. */
let turn: Promise<unknown> = Promise.resolve();
createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    turn = turn.then(async () => {
      const told = await answer(JSON.parse(Buffer.concat(chunks).toString('utf8')) as Asked);
      response.end(JSON.stringify(told));
    });
  });
}).listen(process.argv[2]);
