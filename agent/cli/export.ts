// `export`: results (and an enrolment that nobody has approved yet) as files for a courier; onto a prepared stick as a bundle.
import { join, resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { writeFileAtomic } from '#manifests/platform/files';
import { enrolmentBytes, readEnrolment } from '../outbox/index.ts';
import { type Agent, fault } from '../service/index.ts';
import { withAgent } from './frame.ts';

export async function exportResults(context: CommandContext): Promise<Outcome> {
  const folder = resolve(String(context.args[0]));
  const { exportOnto, isStick, returnLine } = await import('./courier.ts');
  if (isStick(folder)) {
    const report = await exportOnto(context, folder, 'stick');
    return {
      exit: EXIT.done,
      text: `${returnLine(report)}; results stay here until an ack covers them`,
      report: { schema: 'patchferry/agent-export', schemaVersion: 1, folder, ...report },
    };
  }
  return withAgent(context, async (agent) => {
    const { results, enrolments } = writeInbox(agent, folder);
    return {
      exit: results + enrolments === 0 ? EXIT.current : EXIT.done,
      text: `${results} results${enrolments === 0 ? '' : ' and the enrolment'} written to ${folder}; they stay here until an ack covers them`,
      report: { schema: 'patchferry/agent-export', schemaVersion: 1, folder, results, enrolments },
    };
  });
}

/** Everything that no ack has covered, laid out as an inbox. @throws agent.not-enrolled */
export function writeInbox(agent: Agent, folder: string): { results: number; enrolments: number } {
  const { outbox, keys } = agent;
  if (outbox === undefined || keys === undefined)
    throw fault('not-enrolled', 'this host is not enrolled: it has nothing to tell');
  const view = agent.documents.view(keys.id);
  outbox.seal(view.member === null ? [] : view.recipients);
  const results = outbox.exportTo(folder);
  const enrolment = view.member === null ? readEnrolment(agent.settings.stateDir) : undefined;
  const bytes = enrolment === undefined ? undefined : enrolmentBytes(agent.settings.stateDir, enrolment);
  if (enrolment === undefined || bytes === undefined) return { results, enrolments: 0 };
  writeFileAtomic(join(folder, 'enrolments', `${keys.id}-${enrolment.envelopeSha256.slice(0, 16)}.pfe`), bytes);
  return { results, enrolments: 1 };
}
