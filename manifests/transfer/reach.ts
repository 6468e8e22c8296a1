// The settings of a proxy as an origin takes them.
import * as fs from 'node:fs';
import type { ProxySettings } from '#manifests/schema';
import type { ProxyOptions } from './http.ts';
import { fault } from './origin.ts';

/** The password's file is read when a connection is needed, so that what needs none goes on without it. */
export function proxyOf({ url, user, passwordFile, except }: ProxySettings): ProxyOptions {
  const password = passwordFile === undefined ? undefined : () => read(passwordFile).replace(/\r?\n$/, '');
  return { url, user, password, except };
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    throw fault('proxy-file', `cannot read ${file}: ${(cause as Error).message}`, { where: file, cause });
  }
}
