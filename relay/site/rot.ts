// What is said of the looks at everything that is held: when all of it was hashed last, and what was rotten. Pure.
import { momentText, several } from '#manifests/page';
import { formatBytes } from '#manifests/platform/progress';
import type { CheckedView } from '../mirror/index.ts';
import type { Concern } from './concerns.ts';
import type { SiteFacts } from './facts.ts';
import { CONCERNS } from './limits.ts';

/** `rot`: what is rotten and not back, by name; a pass that is overdue. */
export function rotConcerns({ checked }: Pick<SiteFacts, 'checked'>): Concern[] {
  const { everyDays, last, overdue, rotten } = checked;
  const lost = rotten.filter((each) => each.lost);
  const coming = rotten.filter((each) => !each.lost);
  const names = (files: typeof rotten) =>
    files
      .slice(0, CONCERNS.rotNames)
      .map(({ path, title }) => (title === null ? path : `${title} (${path})`))
      .join(', ') + (files.length > CONCERNS.rotNames ? ` and ${files.length - CONCERNS.rotNames} more` : '');
  const concern = (says: string, next: string): Concern => ({ about: 'rot', level: 'old', says, next });
  return [
    ...(lost.length === 0
      ? []
      : [
          concern(
            `${several(lost.length, 'file was', 'files were')} rotten on this disk, and no upstream has ${lost.length === 1 ? 'it' : 'them'}: ${names(lost)}`,
            'Have the publisher publish with it, or bring it by a bundle; look at the disk (SMART, the log of the system).',
          ),
        ]),
    ...(coming.length === 0
      ? []
      : [
          concern(
            `${several(coming.length, 'file was', 'files were')} rotten on this disk, ${coming.length === 1 ? 'is' : 'are'} served no more and ${coming.length === 1 ? 'has' : 'have'} not come back yet: ${names(coming)}`,
            'Sync, in hours in which payloads may come; look at the disk (SMART, the log of the system).',
          ),
        ]),
    ...(overdue
      ? [
          concern(
            `what is held was not wholly looked at for longer than ${several(everyDays, 'day')} (last: ${last === null ? 'never' : momentText(last.endedAt)})`,
            'Let the relay run for longer, or run verify; give it more days (verifyEveryDays) if its disk is too slow.',
          ),
        ]
      : []),
  ];
}

/** One line. */
export function verifiedText({ everyDays, last, progress, found, repaired }: CheckedView): string {
  const parts = [
    last === null
      ? 'not yet as a whole'
      : `${momentText(last.endedAt)}, ${several(last.files, 'file')}, ${formatBytes(last.bytes)}, ${last.found} rotten`,
    ...(progress === null ? [] : [`${Math.floor(progress * 100)} % of the next`]),
    ...(found === 0 ? [] : [`${found} rotten in all, ${repaired} repaired`]),
    ...(everyDays === 0 ? ['by hand only'] : []),
  ];
  return parts.join('; ');
}
