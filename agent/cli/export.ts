// `export`: results (and an enrolment that nobody has approved yet) as files for a courier.
import { join, resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { writeFileAtomic } from '#manifests/platform/files';
import { withAgent } from './frame.ts';

export function exportResults(context: CommandContext): Promise<Outcome> {
  return withAgent(context, async (agent) => {
    const [{ enrolmentBytes, readEnrolment }, { fault }] = await Promise.all([
      import('../outbox/index.ts'),
      import('../service/index.ts'),
    ]);
    const { outbox, keys } = agent;
    if (outbox === undefined || keys === undefined)
      throw fault('not-enrolled', 'this host is not enrolled: it has nothing to tell');
    const folder = resolve(String(context.args[0]));
    const view = agent.documents.view(keys.id);
    outbox.seal(view.member === null ? [] : view.recipients);
    const results = outbox.exportTo(folder);
    const enrolment = view.member === null ? readEnrolment(agent.settings.stateDir) : undefined;
    const bytes = enrolment === undefined ? undefined : enrolmentBytes(agent.settings.stateDir, enrolment);
    if (enrolment !== undefined && bytes !== undefined) {
      writeFileAtomic(join(folder, 'enrolments', `${keys.id}-${enrolment.envelopeSha256.slice(0, 16)}.pfe`), bytes);
    }
    const enrolments = bytes === undefined ? 0 : 1;
    return {
      exit: results + enrolments === 0 ? EXIT.current : EXIT.done,
      text: `${results} results${enrolments === 0 ? '' : ' and the enrolment'} written to ${folder}; they stay here until an ack covers them`,
      report: { schema: 'patchferry/agent-export', schemaVersion: 1, folder, results, enrolments },
    };
  });
}
