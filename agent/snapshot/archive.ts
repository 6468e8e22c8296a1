// The way back of own software: old versions stay in their folders, so it is the link `current` that goes back.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import {
  currentVersion,
  type HostContext,
  type InstallPlan,
  runningOf,
  switchWithServices,
  versionFolder,
} from '../packages/index.ts';
import { fault } from './copy.ts';
import { complete, discardFolder, fileStore, folderBytes, folderOf, isComplete, listStore, startFolder } from './store.ts';
import type { WayBack } from './wayback.ts';

const NOTE_BYTES = 4 * 1024 * 1024;

interface Note {
  readonly name: string;
  /** Version in use before; null when the component was not there. */
  readonly was: string | null;
  readonly to: string;
  /** Whether the folder of the new version was there before the run. */
  readonly hadNew: boolean;
  /** Its services that ran before. Notes of earlier versions have none. */
  readonly running?: readonly string[];
}

function servicesOf(plans: readonly InstallPlan[], name: string): string[] {
  return archives(plans).flatMap(({ items, placements }) =>
    items.filter((item) => item.name === name).flatMap(({ patch }) => placements?.[patch]?.services ?? []),
  );
}

const archives = (plans: readonly InstallPlan[]) => plans.filter(({ format }) => format === 'archive');
const store = (context: HostContext) => fileStore(context, 'archive');

function readNotes(folder: string): Note[] {
  const bytes = readFileBounded(join(folder, 'components.json'), NOTE_BYTES);
  if (bytes === undefined) throw fault('unknown', `${folder} notes no components`, { where: folder });
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Note[];
}

export const archive: WayBack = {
  kind: 'archive',
  async assess(plans) {
    const possible = archives(plans).length > 0;
    const says = possible ? 'the versions in use stay in their folders' : 'no components are in the plan';
    return { possible, says, costBytes: 0, notCovered: possible ? ['what the components themselves write'] : [] };
  },
  async take(run, plans, context) {
    const folder = folderOf(store(context), run);
    if (isComplete(folder)) return { id: run, says: 'it was noted already' };
    discardFolder(folder);
    startFolder(store(context), run);
    const items = archives(plans).flatMap((plan) => plan.items);
    const notes: Note[] = [];
    for (const { name, to } of items) {
      const hadNew = fs.existsSync(versionFolder(context, name, to));
      const running = await runningOf(context, servicesOf(plans, name));
      notes.push({ name, was: currentVersion(context, name), to, hadNew, ...(running.length === 0 ? {} : { running }) });
    }
    writeFileAtomic(join(folder, 'components.json'), JSON.stringify(notes), { mode: 0o600 });
    complete(folder, context);
    return { id: run, says: `${notes.length} versions noted` };
  },
  async restore(id, plans, context) {
    const failed: string[] = [];
    const notes = readNotes(folderOf(store(context), id));
    for (const { name, was, to, hadNew, running = [] } of notes) {
      if (was !== null && !fs.existsSync(versionFolder(context, name, was))) {
        failed.push(`${name}: version ${was} is gone`);
        continue;
      }
      const problem = await switchWithServices(context, name, was, servicesOf(plans, name), was === null ? [] : running);
      if (problem !== undefined) {
        failed.push(`${name}: ${problem}`);
        continue;
      }
      if (!hadNew) fs.rmSync(versionFolder(context, name, to), { recursive: true, force: true });
    }
    const says = failed.length === 0 ? `${notes.length} components switched back` : failed.join('; ');
    return { ok: failed.length === 0, says };
  },
  async discard(id, context) {
    const folder = folderOf(store(context), id);
    if (!isComplete(folder)) return discardFolder(folder);
    // Nobody can go back to these any more: their room is given back too.
    const others = listStore(store(context)).filter((one) => one.id !== id);
    const needed = new Set(
      others.flatMap((one) => readNotes(folderOf(store(context), one.id))).map(({ name, was }) => `${name} ${was}`),
    );
    for (const { name, was } of readNotes(folder)) {
      if (was !== null && currentVersion(context, name) !== was && !needed.has(`${name} ${was}`))
        fs.rmSync(versionFolder(context, name, was), { recursive: true, force: true });
    }
    return discardFolder(folder);
  },
  async list(context) {
    return listStore(store(context));
  },
  async bytes(id, context) {
    const folder = folderOf(store(context), id);
    const versions = isComplete(folder) ? readNotes(folder) : [];
    return versions.reduce(
      (sum, { name, was }) => sum + (was === null ? 0 : folderBytes(versionFolder(context, name, was))),
      0,
    );
  },
};
