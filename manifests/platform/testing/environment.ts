// For tests: the environment of a program that gets nothing of ours but what it needs to be found and to start quickly.

/** PATH, the cache of compiled modules where there is one, and `more`. */
export function bareEnvironment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  const { PATH = '', NODE_COMPILE_CACHE: compiled } = process.env;
  return { PATH, ...(compiled === undefined ? {} : { NODE_COMPILE_CACHE: compiled }), ...more };
}
