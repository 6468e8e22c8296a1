// From a verified Release to what it means here: whether it may be believed now, and which indexes have to be fetched. Pure.
import { utcSeconds } from '#manifests/platform/clock';
import type { Compression } from '../compression.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import type { Release } from './release.ts';
import type { AptState } from './state.ts';

/** One Packages index: the file that travels, and what it must be when unpacked. */
export interface IndexPlan {
  /** Relative to the repository's root, `dists/SUITE/main/binary-amd64/Packages.xz`. */
  readonly path: string;
  /** Where to ask first: under its hash, when the vendor offers that; then `path`. */
  readonly tries: string[];
  readonly sha256: string;
  readonly size: number;
  readonly compression: Compression;
  readonly plain: { readonly sha256: string; readonly size: number };
}

/**
 * Whether a Release whose signature is good may be believed at `now` (ms), after what was believed before.
 * @throws source.wrong-suite, source.future, source.expired, source.rollback
 */
export function checkRelease(release: Release, asked: string, before: AptState | undefined, now: number, where: string): void {
  const names = [release.suite, release.codename];
  // A name with a part behind it (`bookworm/updates`) is a folder of the suite of that name.
  if (!names.includes(asked) && !names.includes(asked.split('/')[0] ?? asked)) {
    throw fault('wrong-suite', `${where}: asked for ${asked}, it is ${names.filter((name) => name !== '').join(' or ')}`, {
      where,
    });
  }
  const sameSuite = before?.suite === asked ? before : undefined;
  if (sameSuite !== undefined && sameSuite.codename !== release.codename) {
    const was = `${asked} was ${sameSuite.codename} and is ${release.codename} now`;
    throw fault('wrong-suite', `${where}: ${was}`, {
      where,
      next: 'It is another release now: name it by its codename in `suite`.',
    });
  }
  if (release.date > now + SOURCE_LIMITS.futureMs) {
    throw fault('future', `${where}: is dated ${utcSeconds(release.date)}, it is ${utcSeconds(now)} here`, { where });
  }
  if (release.validUntil !== null && release.validUntil <= now) {
    throw fault('expired', `${where}: was valid until ${utcSeconds(release.validUntil)}, it is ${utcSeconds(now)}`, { where });
  }
  if (sameSuite !== undefined && release.date < Date.parse(sameSuite.date)) {
    const message = `${where}: is dated ${utcSeconds(release.date)}, ${sameSuite.date} was accepted before`;
    throw fault('rollback', message, { where });
  }
}

const CHOICES: readonly { readonly suffix: string; readonly compression: Compression }[] = [
  { suffix: '.xz', compression: 'xz' },
  { suffix: '.gz', compression: 'gz' },
  { suffix: '', compression: 'none' },
];

/**
 * The Packages indexes for these components and architectures; the index of architecture `all` too where the vendor keeps
 * one apart. @throws source.missing-index, source.too-large
 */
export function planIndexes(
  release: Release,
  suite: string,
  components: readonly string[],
  architectures: readonly string[],
  where: string,
): IndexPlan[] {
  const root = `dists/${suite}`;
  const plans: IndexPlan[] = [];
  for (const component of components) {
    const all =
      release.architectures.includes('all') && !release.allIsInEach && release.files.has(`${component}/binary-all/Packages`)
        ? ['all']
        : [];
    for (const arch of new Set([...architectures, ...all])) {
      const folder = `${component}/binary-${arch}`;
      const plain = release.files.get(`${folder}/Packages`);
      const chosen = CHOICES.find(({ suffix }) => release.files.has(`${folder}/Packages${suffix}`));
      const packed = chosen && release.files.get(`${folder}/Packages${chosen.suffix}`);
      if (plain === undefined || chosen === undefined || packed === undefined) {
        const has = `components ${release.components.join(', ')}; architectures ${release.architectures.join(', ')}`;
        throw fault('missing-index', `${where}: lists no ${folder}/Packages (it has ${has})`, { where });
      }
      if (packed.size > SOURCE_LIMITS.indexBytes || plain.size > SOURCE_LIMITS.indexPlainBytes) {
        throw fault('too-large', `${where}: ${folder}/Packages has ${packed.size} bytes, ${plain.size} unpacked`, { where });
      }
      const path = `${root}/${folder}/Packages${chosen.suffix}`;
      const tries = release.byHash ? [`${root}/${folder}/by-hash/SHA256/${packed.sha256}`, path] : [path];
      plans.push({ path, tries, ...packed, compression: chosen.compression, plain });
    }
  }
  return plans;
}
