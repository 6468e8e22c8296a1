// Work on a stick that may be pulled out at any moment: whatever then fails is told as what it is, and not as a bug.
import { onMedium } from '#manifests/bundle';
import { isFault } from '#manifests/errors';

/**
 * Runs work that reads or writes below `place`. Errors of the operating system there become `bundle.medium-gone`,
 * `bundle.no-space` or `bundle.unwritable`; those of this side's own disk pass through.
 */
export async function onStick<T>(place: string, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const cause: unknown = isFault(error, 'files.unwritable', 'files.unreadable') ? error.cause : error;
    if (!(cause instanceof Error) || !('syscall' in cause)) throw error;
    const path = 'path' in cause && typeof cause.path === 'string' ? cause.path : undefined;
    const there = isFault(error) ? error.where?.startsWith(place) === true : path === undefined || path.startsWith(place);
    if (!there) throw error;
    return onMedium(place, () => {
      throw cause;
    });
  }
}
