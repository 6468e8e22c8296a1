// Checking a stick, a folder or one bundle with public keys only: whose it is, whether every byte is there and right. Nothing is
// opened, placed or taken; what is sealed stays sealed.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import {
  findBundles,
  type Keys,
  MEDIUM_FILE,
  RECEIPT_FILE,
  rangesText,
  readBundleIndex,
  readMedium,
  readReceipt,
  verifyBundle,
} from '#manifests/bundle';
import { onStick, publisherKeys, type SiteCard } from '#manifests/courier';
import { PatchferryError } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { formatBytes, type Progress } from '#manifests/platform/progress';
import { fault } from './faults.ts';

export interface BundleCheck {
  readonly what: string;
  readonly verdict: 'ok' | 'finding' | 'refused';
  readonly says: string;
  readonly code: string | null;
}

export interface VerifyBundlesOptions {
  /** Stick, folder, or the .pfb.json file of one bundle. */
  readonly place: string;
  /** A public root of the publisher, given by a way people trust. */
  readonly root: Uint8Array;
  /** Cards of sites: what comes back is signed with their keys. */
  readonly cards: readonly SiteCard[];
  /** Milliseconds. */
  readonly now: number;
  readonly signal: AbortSignal;
  progress(label: string, total: number): Progress;
}

/** Whether `verify` was given a stick or bundle, and not a repository. */
export function holdsBundles(place: string): boolean {
  if (place.endsWith('.pfb.json')) return fs.existsSync(place);
  const isFolder = fs.statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
  return (
    isFolder && (fs.existsSync(join(place, MEDIUM_FILE)) || fs.readdirSync(place).some((name) => name.endsWith('.pfb.json')))
  );
}

/** @throws trust.* when the root does not hold, airgap.none, bundle.medium-gone */
export async function verifyBundles(options: VerifyBundlesOptions): Promise<BundleCheck[]> {
  const one = options.place.endsWith('.pfb.json');
  const place = one ? dirname(options.place) : options.place;
  const keys = publisherKeys([options.root], place);
  return onStick(place, async () => {
    const checks: BundleCheck[] = [];
    const found = one ? [options.place] : findBundles(place).map(({ index }) => index);
    if (!one && fs.existsSync(join(place, MEDIUM_FILE))) {
      const makers = [...keys.media, ...options.cards.map(({ signKey }) => signKey)];
      checks.push(
        await checked(MEDIUM_FILE, () => {
          const { label, sites } = readMedium(place, makers);
          return ok(MEDIUM_FILE, `"${label}"${sites.length === 0 ? '' : `, for ${sites.join(', ')}`}`);
        }),
      );
    }
    for (const index of found) checks.push(...(await checkOne(options, index, keys)));
    if (!one && fs.existsSync(join(place, RECEIPT_FILE))) checks.push(await checkReceipt(place, options.cards));
    if (checks.length === 0) throw fault('none', `there is no bundle in ${place}`, { where: place });
    return checks;
  });
}

async function checkOne(
  options: VerifyBundlesOptions,
  path: string,
  publisher: ReturnType<typeof publisherKeys>,
): Promise<BundleCheck[]> {
  const what = path.slice(dirname(path).length + 1).replace(/\.pfb\.json$/, '');
  let line: Progress | undefined;
  const checks: BundleCheck[] = [];
  const whole = await checked(what, async () => {
    const { index: stated } = readBundleIndex(path, 'any');
    const card = options.cards.find(({ site }) => site === stated.site);
    const isReturn = stated.kind === 'return';
    const keys: Keys = isReturn ? (card === undefined ? 'any' : [card.signKey]) : publisher.media;
    const { index, have, total, missing, problems } = await verifyBundle({
      index: path,
      keys,
      signal: options.signal,
      onProgress: (bytes, all) => {
        line ??= options.progress(`${what}, bytes`, all);
        line.at(bytes);
      },
    });
    if (isReturn && card === undefined)
      checks.push(finding(what, `nobody vouched for the key of the site ${index.site} that signed it; give its --card`));
    if (!isReturn && !publisher.bundles.includes(index.signedBy))
      checks.push(finding(what, 'it is signed with a key that the publisher has replaced since'));
    if (Date.parse(index.expires) <= options.now) checks.push(finding(what, `it expired at ${index.expires}`));
    checks.push(
      ...problems.map(({ part, says, code }) => ({ what: `${what}: ${part}`, verdict: 'refused' as const, says, code })),
    );
    if (missing.length > 0)
      checks.push(finding(what, `have ${have} of ${total}, missing here: ${rangesText(missing)} (on another medium, perhaps)`));
    const says = `${index.kind} of ${index.site}, number ${index.sequence}, made ${utcSeconds(Date.parse(index.madeAt))}: ${have} of ${total} ${index.container === null ? 'chunks' : 'volumes'} right, ${formatBytes(index.streamBytes)}`;
    return ok(what, says);
  });
  line?.end();
  return [whole, ...checks];
}

function checkReceipt(place: string, cards: readonly SiteCard[]): Promise<BundleCheck> {
  return checked(RECEIPT_FILE, () => {
    const site = readReceipt(place, 'any')?.site;
    const card = cards.find((one) => one.site === site);
    readReceipt(place, card === undefined ? 'any' : [card.signKey]);
    return card === undefined
      ? finding(RECEIPT_FILE, `of the site ${site}, for whose key nobody vouched; give its --card`)
      : ok(RECEIPT_FILE, `of the site ${site}`);
  });
}

const ok = (what: string, says: string): BundleCheck => ({ what, verdict: 'ok', says, code: null });
const finding = (what: string, says: string): BundleCheck => ({ what, verdict: 'finding', says, code: null });

async function checked(what: string, look: () => BundleCheck | Promise<BundleCheck>): Promise<BundleCheck> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof PatchferryError) || error.code === 'bundle.medium-gone') throw error;
    return { what, verdict: 'refused', says: error.message, code: error.code };
  }
}
