// Progress of writing a bundle for a person: a line for reading and hashing, and one for the medium.
import type { Progress } from '#manifests/platform/progress';

/**
 * Two lines, each begun when its total is known.
 * @param start begins a line of bytes; absent: silent
 */
export function writingProgress(
  start: ((label: string, total: number) => Progress | undefined) | undefined,
  medium: 'stick' | 'folder',
): { readonly onProgress: (bytes: number, total: number, step: 'reading' | 'writing') => void; readonly end: () => void } {
  let line: Progress | undefined;
  let now: 'reading' | 'writing' | undefined;
  return {
    onProgress: (bytes, total, step) => {
      if (now !== step) {
        line?.end();
        now = step;
        line = start?.(step === 'reading' ? 'reading and hashing, bytes' : `onto the ${medium}, bytes`, total);
      }
      line?.at(bytes);
    },
    end: () => line?.end(),
  };
}
