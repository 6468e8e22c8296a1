// Which patches concern a host, and where it lacks them: catalogs against an inventory, by version alone. No policy here.
import type { Catalog, Inventory, Patch, PatchPackage } from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';
import { byText } from './text.ts';

/** One package of a patch that is on the host (or, for own software, belongs on it). */
export interface Fit {
  readonly item: PatchPackage;
  /** Place that one version at a time can take: name and architecture, `all` counting as the host's own. */
  readonly slot: string;
  /** Installed version; null for a component that is not there. */
  readonly installed: string | null;
  /** Sign of installed against the patch's version. */
  readonly order: -1 | 0 | 1;
  readonly held: boolean;
  /** Unpacked or half configured: counts as not installed, whatever its version. */
  readonly broken: boolean;
}

/** A patch with at least one package that is on the host. */
export interface Applicable {
  readonly patch: Patch;
  readonly product: string;
  readonly fits: readonly Fit[];
}

export interface Applicability {
  readonly applicable: readonly Applicable[];
  /** Patches of which nothing is on the host, by their number alone: there can be very many. */
  readonly others: number;
  /** Catalogs that were left out as a whole, and why. */
  readonly notes: readonly string[];
}

export const lacking = (fit: Fit): boolean => fit.order < 0 || fit.broken;

interface Installed {
  readonly version: string;
  readonly arch: string;
  readonly held: boolean;
  readonly broken: boolean;
}

/**
 * Holds every catalog against the host. A package of a patch fits an installed one of its name and architecture, where
 * `all` and `noarch` stand for the host's own (so a package may change between the two, as apt sees it). A patch of a
 * distribution fits only hosts of that product; own software (`archive`) fits by its component, there or not.
 */
export function applicability(catalogs: readonly Catalog[], inventory: Inventory): Applicability {
  const native = canonicalArch(inventory.arch);
  const installed = indexInstalled(inventory, native);
  const applicable: Applicable[] = [];
  const notes: string[] = [];
  let others = 0;
  for (const catalog of catalogs) {
    const own = catalog.product === inventory.product;
    let foreign = 0;
    const enabled = own ? enabledModules(catalog, inventory) : undefined;
    for (const patch of catalog.patches) {
      let fits: Fit[] | undefined;
      if (patch.format === 'archive') fits = componentFits(patch, inventory, native);
      else if (own) fits = packageFits(patch, installed, native, enabled);
      else foreign += 1;
      if (fits === undefined) others += 1;
      else applicable.push({ patch, product: catalog.product, fits });
    }
    if (foreign > 0)
      notes.push(
        `the catalog of ${catalog.product} is not for this host, which is ${inventory.product ?? 'of an unknown product'}`,
      );
  }
  return { applicable, others, notes };
}

function indexInstalled(inventory: Inventory, native: string): Map<string, Installed[]> {
  const byName = new Map<string, Installed[]>();
  for (const { name, version, arch, held, state } of inventory.packages) {
    const one = { version, arch: slotArch(arch, native), held, broken: state === 'broken' };
    const list = byName.get(name);
    if (list === undefined) byName.set(name, [one]);
    else list.push(one);
  }
  return byName;
}

/** The streams of modules that are enabled on a host, and the names that packages of theirs have. */
export interface EnabledModules {
  readonly streams: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
}

/** Undefined where modules count for nothing: the host did not say, or the catalog has none. */
export function enabledModules(catalog: Catalog, { modules }: Pick<Inventory, 'modules'>): EnabledModules | undefined {
  if (modules === undefined) return undefined;
  const streams = new Set(modules);
  const names = new Set<string>();
  let modular = false;
  for (const { format, packages } of catalog.patches) {
    if (format !== 'rpm') continue;
    for (const item of packages) {
      if (item.modules === undefined) continue;
      modular = true;
      if (item.modules.some((stream) => streams.has(stream))) names.add(item.name);
    }
  }
  return modular ? { streams, names } : undefined;
}

/**
 * As dnf filters (libdnf, dnf_sack_filter_modules): a package of a module is there only where a stream of it is enabled, and
 * hides packages of its name that are of no module.
 */
export function isFiltered({ name, modules }: PatchPackage, enabled: EnabledModules): boolean {
  if (modules === undefined) return enabled.names.has(name);
  return !modules.some((stream) => enabled.streams.has(stream));
}

function packageFits(
  patch: Patch,
  installed: ReadonlyMap<string, readonly Installed[]>,
  native: string,
  enabled: EnabledModules | undefined,
): Fit[] | undefined {
  const compare = comparatorFor(patch.format);
  let fits: Fit[] | undefined;
  for (const item of patch.packages) {
    const candidates = installed.get(item.name);
    if (candidates === undefined || (enabled !== undefined && isFiltered(item, enabled))) continue;
    const arch = slotArch(item.arch, native);
    let best: Installed | undefined; // where several versions stand side by side (kernels of rpm), the newest counts
    for (const one of candidates) {
      if (one.arch === arch && (best === undefined || compare(best.version, one.version) < 0)) best = one;
    }
    if (best === undefined) continue;
    const fit: Fit = {
      item,
      slot: `${item.name}:${arch}`,
      installed: best.version,
      order: sign(compare(best.version, item.version)),
      held: best.held,
      broken: best.broken,
    };
    if (fits === undefined) fits = [fit];
    else addFit(fits, fit, compare);
  }
  return fits;
}

/** Own software: a component of the host's architecture belongs on it, so one that is not there is lacking. */
function componentFits(patch: Patch, inventory: Inventory, native: string): Fit[] | undefined {
  const compare = comparatorFor(patch.format);
  const fits: Fit[] = [];
  for (const item of patch.packages) {
    if (slotArch(item.arch, native) !== native) continue;
    const there = Object.hasOwn(inventory.components, item.name) ? inventory.components[item.name] : undefined;
    const fit: Fit = {
      item,
      slot: `${item.name} (component)`,
      installed: there ?? null,
      order: there === undefined ? -1 : sign(compare(there, item.version)),
      held: false,
      broken: false,
    };
    addFit(fits, fit, compare);
  }
  return fits.length === 0 ? undefined : fits;
}

/** A patch that has two packages for one slot (`all` and the host's own) brings the newer one. */
function addFit(fits: Fit[], fit: Fit, compare: (a: string, b: string) => number) {
  const same = fits.findIndex(({ slot }) => slot === fit.slot);
  const there = fits[same];
  if (there === undefined) fits.push(fit);
  else if (compare(there.item.version, fit.item.version) < 0) fits[same] = fit;
}

function sign(order: number): -1 | 0 | 1 {
  if (order === 0) return 0;
  return order < 0 ? -1 : 1;
}

const ANY_ARCH = new Set(['all', 'noarch', 'any']);
/** The kernel's names of architectures, for hosts whose package system uses others. */
const KERNEL_ARCH: Readonly<Record<string, string>> = { x86_64: 'amd64', x64: 'amd64', aarch64: 'arm64' };

function canonicalArch(arch: string): string {
  return KERNEL_ARCH[arch] ?? arch;
}

function slotArch(arch: string, native: string): string {
  return ANY_ARCH.has(arch) ? native : canonicalArch(arch);
}

/** One package that could be newer, whatever any policy says. */
export interface MissingPackage {
  readonly patch: string;
  readonly product: string;
  readonly name: string;
  readonly arch: string;
  readonly from: string | null;
  readonly to: string;
}

/** What is to be had newer than it is on the host: the newest of each package, sorted by name and architecture. */
export function missing(catalogs: readonly Catalog[], inventory: Inventory): MissingPackage[] {
  const newest = new Map<string, MissingPackage & { readonly format: Patch['format'] }>();
  for (const { patch, product, fits } of applicability(catalogs, inventory).applicable) {
    for (const fit of fits) {
      if (fit.order >= 0) continue;
      const there = newest.get(fit.slot);
      const { name, arch, version: to } = fit.item;
      const order = there === undefined ? 1 : comparatorFor(patch.format)(to, there.to);
      if (order < 0 || (order === 0 && there !== undefined && byText(there.patch, patch.id) <= 0)) continue;
      newest.set(fit.slot, { patch: patch.id, product, name, arch, from: fit.installed, to, format: patch.format });
    }
  }
  return [...newest.values()]
    .map(({ patch, product, name, arch, from, to }) => ({ patch, product, name, arch, from, to }))
    .toSorted((a, b) => byText(a.name, b.name) || byText(a.arch, b.arch));
}
