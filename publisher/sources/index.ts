// Where vendor updates come from: the way in to every kind of source. What is checked, and in which order, is in README.md.
import { name, product } from '#manifests/schema';
import { SOURCE_KINDS, type SourceSettings, type SourceSync, type SyncOptions } from './api.ts';
import { fault } from './faults.ts';
import { folderOf } from './origin.ts';
import { sourceKinds } from './registry.ts';

export * from './api.ts';
export { readDependencies } from './apt/depends.ts';
export { type Enrichment, enrich } from './apt/enrich.ts';
export { SOURCE_LIMITS } from './faults.ts';
export { readKev, syncKev } from './feeds.ts';
export { type FetchReport, fetchPayloads, missingBytes } from './fetch.ts';
export { type Description, readDescription } from './folder/description.ts';

/** Checks what can be checked of the settings without a network. @throws source.settings */
export function checkSource(settings: SourceSettings): void {
  const where = `source ${JSON.stringify(settings.name)}`;
  const bad = (says: string) => fault('settings', `${where}: ${says}`, { where });
  if (!name.safeParse(settings.name).success) throw bad('`name` must be lower-case letters, digits, dots and dashes');
  if (!product.safeParse(settings.product).success) throw bad('`product` must be as `debian-12`');
  if (!SOURCE_KINDS.includes(settings.kind)) throw bad(`\`kind\` must be one of ${SOURCE_KINDS.join(', ')}`);
  folderOf(settings);
  sourceKinds[settings.kind].checkSettings(settings);
}

/**
 * Asks the vendor what there is now, and verifies it. A sync that fails leaves what was accepted before as it was.
 * The caller makes sure that one process at a time works in `options.folder`.
 * @throws source.*, transfer.*
 */
export async function syncSource(settings: SourceSettings, options: SyncOptions): Promise<SourceSync> {
  checkSource(settings);
  return sourceKinds[settings.kind].sync(settings, options);
}
