// Taking the host over from its distribution's own updater, where policy says so, and giving it back as it was: when policy changes
// back, when the host is revoked, when the service is removed. Their state is in the journal before anything is switched (trap 24).
import * as fs from 'node:fs';
import { z } from 'zod';
import type { OtherUpdaters } from '#manifests/schema';
import { races, type UpdaterUnit } from '../prechecks/index.ts';
import type { Journal } from '../run/index.ts';

/** Key in the journal: the updaters that are switched off here, as they were before. */
const TAKEN_OVER = 'other-updaters';

const kept = z.strictObject({
  version: z.literal(1),
  units: z.array(z.strictObject({ unit: z.string(), file: z.string(), active: z.string() })),
});

/** What acts on the host's units. */
export interface UpdaterHands {
  find(): Promise<UpdaterUnit[]>;
  switchOff(unit: string): Promise<string | undefined>;
  switchBack(before: UpdaterUnit): Promise<string | undefined>;
}

/** Updaters that this agent holds switched off, as they were. */
export function takenOver(journal: Journal): UpdaterUnit[] {
  const text = journal.meta(TAKEN_OVER);
  return text === undefined ? [] : kept.parse(JSON.parse(text)).units;
}

function keep(journal: Journal, units: readonly UpdaterUnit[]): void {
  journal.setMeta(TAKEN_OVER, units.length === 0 ? null : JSON.stringify({ version: 1, units }));
}

/** What happened, and what did not work. */
export interface UpdaterCare {
  readonly says: readonly string[];
  readonly trouble: readonly string[];
}

/** Brings the host to what policy says. May be repeated at any time, and after a kill anywhere in it. */
export async function careForUpdaters(journal: Journal, hands: UpdaterHands, wanted: OtherUpdaters): Promise<UpdaterCare> {
  return wanted === 'take-over' ? takeOver(journal, hands) : giveBack(journal, hands);
}

async function takeOver(journal: Journal, hands: UpdaterHands): Promise<UpdaterCare> {
  const before = takenOver(journal);
  const found = await hands.find();
  const fresh = found.filter((one) => races(one) && !before.some(({ unit }) => unit === one.unit));
  // what was taken over and runs again was switched on by somebody since: it is switched off again, its first state stays
  const again = before.filter(({ unit }) => found.some((one) => one.unit === unit && one.file !== 'masked' && races(one)));
  if (fresh.length === 0 && again.length === 0) return { says: [], trouble: [] };
  keep(journal, [...before, ...fresh]);
  const trouble: string[] = [];
  const off: string[] = [];
  for (const { unit } of [...fresh, ...again]) {
    const problem = await hands.switchOff(unit);
    if (problem === undefined) off.push(unit);
    else trouble.push(problem);
  }
  return { says: off.map((unit) => `${unit} is switched off while patchferry looks after this host`), trouble };
}

/** Gives everything back that was taken over; what does not work stays noted and is tried again. */
async function giveBack(journal: Journal, hands: Pick<UpdaterHands, 'switchBack'>): Promise<UpdaterCare> {
  const says: string[] = [];
  const trouble: string[] = [];
  for (const before of takenOver(journal)) {
    const problem = await hands.switchBack(before);
    if (problem !== undefined) {
      trouble.push(problem);
      continue;
    }
    keep(
      journal,
      takenOver(journal).filter(({ unit }) => unit !== before.unit),
    );
    says.push(`${before.unit} is given back: ${before.file}, ${before.active}`);
  }
  return { says, trouble };
}

/** The same for a service that is removed: opens the journal of its state folder, if there is one. @param hands for tests */
export async function giveUpdatersBack(
  journalFile: string,
  now: number,
  hands?: Pick<UpdaterHands, 'switchBack'>,
): Promise<UpdaterCare> {
  if (!fs.existsSync(journalFile)) return { says: [], trouble: [] };
  const [{ openJournal }, { switchBack }] = await Promise.all([import('../run/index.ts'), import('../prechecks/index.ts')]);
  using journal = openJournal(journalFile, { now });
  return await giveBack(journal, hands ?? { switchBack: (before) => switchBack(before) }); // the journal stays open until it is done
}
