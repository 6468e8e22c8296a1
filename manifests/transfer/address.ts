// Addresses: of an origin, of hosts that are asked without the proxy, and where a redirect may lead.
import type { Answer } from './answer.ts';
import { fault } from './origin.ts';

/** @throws transfer.address */
export function parseBase(url: string): URL {
  let base: URL;
  try {
    base = new URL(url.endsWith('/') ? url : `${url}/`);
  } catch (cause) {
    throw fault('address', `${url} is no address`, { where: url, cause });
  }
  const plain = base.username === '' && base.password === '' && base.search === '' && base.hash === '';
  if (!plain || (base.protocol !== 'http:' && base.protocol !== 'https:')) {
    throw fault('address', `${url} is no plain http:// or https:// address`, { where: url });
  }
  return base;
}

/** Whether a host is asked without the proxy: `example.org` also means what lies below it, as `no_proxy` is read by others. */
export function isExcepted(url: URL, except: readonly string[]): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return except.some((entry) => {
    const match = /^(?:\*?\.)?(\*|\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(entry.trim().toLowerCase());
    const name = (match?.[1] ?? entry.trim().toLowerCase()).replace(/^\[|\]$/g, '');
    if (name === '*') return true;
    if (match?.[2] !== undefined && match[2] !== port) return false;
    return host === name || host.endsWith(`.${name}`);
  });
}

/** Where a redirect leads, when it may be followed: same host and port, or the same host's https (S22). */
export function followed(from: URL, answer: Answer, method: string, tooMany: boolean): URL {
  const where = from.href;
  const location = answer.header('location');
  if (location === undefined || !URL.canParse(location, from.href)) {
    throw fault('redirect', `${where} redirects to nowhere`, { where });
  }
  const to = new URL(location, from.href);
  to.hash = '';
  const shown = to.href.slice(0, 300);
  if (tooMany) throw fault('redirect', `${where} redirects too often, now to ${shown}`, { where });
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw fault('redirect', `${where} redirects from https to ${shown}`, { where });
  }
  const upgrade = from.protocol === 'http:' && to.protocol === 'https:' && from.hostname === to.hostname;
  if (from.origin !== to.origin && !upgrade) throw fault('redirect', `${where} redirects to another host: ${shown}`, { where });
  if (to.search !== '' || to.username !== '' || to.password !== '') {
    throw fault('redirect', `${where} redirects to an address with a query or a user: ${shown}`, { where });
  }
  if (method !== 'GET' && answer.status !== 307 && answer.status !== 308) {
    throw fault('redirect', `${where} redirects a ${method} with status ${answer.status}`, { where });
  }
  return to;
}
