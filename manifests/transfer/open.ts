// An origin from what a person writes in a settings file: an address or a folder.
import { folderOrigin } from './folder.ts';
import { type HttpOptions, httpOrigin } from './http.ts';
import type { Origin } from './origin.ts';

/** `http://…` and `https://…` are relays, `file:///…` and everything else are folders. @throws transfer.address */
export function openOrigin(urlOrFolder: string, options: HttpOptions = {}): Origin {
  if (/^https?:/i.test(urlOrFolder)) return httpOrigin(urlOrFolder, options);
  return folderOrigin(urlOrFolder.startsWith('file://') ? decodeURIComponent(new URL(urlOrFolder).pathname) : urlOrFolder);
}
