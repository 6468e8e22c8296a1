// The transition table as a page for people: a Mermaid diagram and the list of exceptions. README.md is held to it by a test.
import { type Event, STATES, TRANSITIONS } from './states.ts';

const LABEL: Readonly<Record<Event, string>> = {
  ok: '',
  reboot: 'reboot needed',
  switch: 'whole root',
  stop: 'stop',
  failed: 'failed',
  undo: 'by hand',
  killed: 'killed',
  late: 'killed, window closed',
  often: 'killed too often',
};
const COMING_BACK: readonly Event[] = ['killed', 'late', 'often'];

/** Markdown: a state diagram of all transitions, then each exception with its reason. Ends with a newline. */
export function describeStates(): string {
  const arrows = STATES.flatMap((from) =>
    TRANSITIONS.filter((transition) => transition.from === from).flatMap(({ to, on }) => {
      const events = [on].flat().filter((event) => !COMING_BACK.includes(event));
      return events.map((event) => `    ${from} --> ${to}${LABEL[event] === '' ? '' : `: ${LABEL[event]}`}`);
    }),
  );
  const rows = TRANSITIONS.filter(({ because }) => because !== undefined).map(({ from, on, to, because }) => {
    const when = [on].flat().map((event) => (LABEL[event] === '' ? 'done' : LABEL[event]));
    return `| ${from} | ${when.join('; ')} | ${to} | ${because} |`;
  });
  return [
    '```mermaid',
    'stateDiagram-v2',
    '    [*] --> Idle',
    ...arrows,
    '```',
    '',
    '| From | When | To | Because |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
