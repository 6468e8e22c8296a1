// The roster as the home keeps it: exactly the document that is signed, in plain JSON. Approving and revoking are pure.
import { defineFaults, EXIT } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { DOCUMENT_LIMITS, decodePlain, encodePlain, type Roster, type RosterAgent } from '#manifests/schema';

const fault = defineFaults('roster', {
  missing: { exit: EXIT.usage, next: 'Run `publisher init` first; a home that lost its roster takes it back from a backup.' },
  'unknown-agent': { exit: EXIT.usage, next: 'See `publisher agent list` for the ids; the first digits are enough.' },
  'ambiguous-agent': { exit: EXIT.usage, next: 'Give more digits of the id.' },
  revoked: {
    exit: EXIT.refused,
    next: 'A revoked key never comes back: remove the state folder of the agent and enrol the host anew.',
  },
});

/** Reads the roster of a home. @throws roster.missing, document.malformed */
export function readRoster(file: string): Roster {
  const bytes = readFileBounded(file, DOCUMENT_LIMITS.plainBytes);
  if (bytes === undefined) throw fault('missing', `there is no roster at ${file}`, { where: file });
  return decodePlain('roster', bytes, file);
}

/** Writes the roster, sorted by agent id, with this moment as `signedAt`. */
export function writeRoster(file: string, roster: Roster, now: number): void {
  const agents = roster.agents.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  writeFileAtomic(file, encodePlain('roster', { ...roster, signedAt: utcSeconds(now), agents }), { mode: 0o600 });
}

/** The roster of a new home: no agents, results sealed to the collector. */
export function newRoster(collectorBoxKey: string, now: number): Roster {
  return {
    schema: 'patchferry/roster',
    schemaVersion: 1,
    signedAt: utcSeconds(now),
    agents: [],
    recipients: [{ name: 'collector', boxKey: collectorBoxKey }],
  };
}

/** Adds an agent, or gives a known one its new group, title and labels. @throws roster.revoked */
export function approveAgent(roster: Roster, agent: Omit<RosterAgent, 'status' | 'since'>, now: number): Roster {
  const before = roster.agents.find(({ id }) => id === agent.id);
  if (before?.status === 'revoked') {
    throw fault('revoked', `agent ${agent.id} (${before.title}) was revoked at ${before.since}`, { where: agent.id });
  }
  const entry: RosterAgent = { ...agent, status: 'approved', since: before?.since ?? utcSeconds(now) };
  return { ...roster, agents: [...roster.agents.filter(({ id }) => id !== agent.id), entry] };
}

/** Marks an agent as revoked; it stays in the roster so that its old results can still be read. */
export function revokeAgent(roster: Roster, id: string, now: number): Roster {
  return {
    ...roster,
    agents: roster.agents.map((agent) =>
      agent.id === id && agent.status !== 'revoked' ? { ...agent, status: 'revoked', since: utcSeconds(now) } : agent,
    ),
  };
}

/** The one id that starts with these digits. @throws roster.unknown-agent, roster.ambiguous-agent */
export function findAgentId(ids: Iterable<string>, start: string, whereFrom: string): string {
  const found = [...new Set(ids)].filter((id) => id.startsWith(start.toLowerCase()));
  if (found.length > 1)
    throw fault('ambiguous-agent', `${found.length} agents ${whereFrom} start with ${start}`, { where: start });
  const only = found[0];
  if (only === undefined || start === '')
    throw fault('unknown-agent', `no agent ${whereFrom} starts with ${start}`, { where: start });
  return only;
}
