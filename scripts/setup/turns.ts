// Taking turns: what two processes of tests, labs or builds must not do at the same time is done under a lock on a file.
import { type Lock, takeLock } from '#manifests/platform/lock';

/** How often a lock that is held is asked for again, in milliseconds. */
const AGAIN_MS = 100;

/** Takes the lock at `path`, waiting for others to give it back; it goes with its holder. @throws lock.held after `timeoutMs` */
export async function waitForTurn(path: string, purpose: string, timeoutMs: number): Promise<Lock> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    try {
      return takeLock(path, purpose);
    } catch (error) {
      if ((error as { code?: string }).code !== 'lock.held' || performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

/** Does `act` while the lock at `path` is ours. @throws lock.held after `timeoutMs`, and what `act` throws */
export async function inTurn<T>(path: string, purpose: string, timeoutMs: number, act: () => Promise<T>): Promise<T> {
  const lock = await waitForTurn(path, purpose, timeoutMs);
  try {
    return await act();
  } finally {
    lock.release();
  }
}
