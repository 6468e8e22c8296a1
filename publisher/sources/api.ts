// What a source is: its settings, what a sync gives, and the small interface that every kind implements.
import type { Clock } from '#manifests/platform/clock';
import type { Progress } from '#manifests/platform/progress';
import type { PayloadStore } from '#manifests/repository';
import type { Patch, VendorRepository } from '#manifests/schema';
import type { Origin } from '#manifests/transfer';

export const SOURCE_KINDS = ['apt', 'rpm', 'folder'] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

/** A source as the publisher's settings hold it. */
export interface SourceSettings {
  /** Names the source, and the repository in the catalog. */
  readonly name: string;
  readonly kind: SourceKind;
  /** Whose patches these are: `debian-12`. */
  readonly product: string;
  /** `http:`, `https:` or `file:` URL, or a folder. */
  readonly url: string;
  /** apt: what is under `dists/`, as `bookworm-security`. */
  readonly suite?: string | undefined;
  /** apt: `main` unless told. */
  readonly components?: readonly string[] | undefined;
  /** apt: `amd64` unless told; rpm: `x86_64`, besides `noarch`. */
  readonly architectures?: readonly string[] | undefined;
  /** apt, rpm: path of the file with the vendor's OpenPGP public keys (binary or armored). Required there. */
  readonly keyring?: string | undefined;
  /** rpm: true takes metadata that the vendor does not sign; hosts then check each package's own signature, and here nothing but https says whose it is. */
  readonly unsignedMetadata?: boolean | undefined;
}

/** A patch as a source gives it; when it was first seen is the catalog's to know. */
export type SourcePatch = Omit<Patch, 'firstSeen'>;

export interface SourceSync {
  /**
   * False when the vendor has nothing new and the settings are as they were. For the person, not for skipping work: a
   * process killed between its sync and its merge finds nothing new next time, so what is given is merged every time.
   */
  readonly changed: boolean;
  /** One line for a person. */
  readonly says: string;
  readonly repository: VendorRepository;
  /** All patches the vendor offers now, sorted by id. */
  readonly patches: SourcePatch[];
}

/** What a source needs of a line to the vendor. */
export type VendorOrigin = Pick<Origin, 'name' | 'fetchSmall' | 'download'>;

export interface FetchOptions {
  readonly payloads: PayloadStore;
  readonly signal: AbortSignal;
  /** Moves with bytes fetched; `missingBytes` gives the total. */
  readonly progress?: Progress | undefined;
  /** Stands in for the line that `url` names (tests, a local copy of a mirror). */
  readonly origin?: VendorOrigin | undefined;
}

export interface SyncOptions extends FetchOptions {
  /** Private state of this source, kept between runs. */
  readonly folder: string;
  readonly clock: Clock;
}

/** One kind of source. */
export interface SourceKindImplementation {
  /** @throws source.settings when a setting that this kind needs is absent or wrong */
  checkSettings(settings: SourceSettings): void;
  /** Fetches and verifies what the vendor says now. Nothing is kept of what fails a check. @throws source.* */
  sync(settings: SourceSettings, options: SyncOptions): Promise<SourceSync>;
}
