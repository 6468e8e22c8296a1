// A fleet made from numbers, for plans without hosts yet, tests and benchmarks.
import type { SimHost } from './simulation.ts';

const ZONES = [
  'Europe/Berlin',
  'America/New_York',
  'Asia/Kathmandu',
  'Australia/Lord_Howe',
  'America/St_Johns',
  'UTC',
  'Africa/Cairo',
  'Asia/Tokyo',
];

/** A fleet made from a number: sites with a zone each, hosts spread over groups. The same arguments give the same hosts. */
export function* generatedFleet(
  count: number,
  {
    sites,
    groups,
    product,
    seed = 0,
  }: {
    readonly sites: number;
    readonly groups: readonly string[];
    readonly product: string;
    /** Another number gives other hosts: other places in every rollout. */
    readonly seed?: number;
  },
): Generator<SimHost> {
  for (let index = 0; index < count; index += 1) {
    const site = index % sites;
    yield {
      agent: (seed * 4_294_967_296 + index * 2_654_435_761).toString(16).padStart(32, '0'),
      group: groups[Math.floor(index / sites) % groups.length] ?? '',
      site: `site-${String(site + 1).padStart(3, '0')}`,
      zone: ZONES[site % ZONES.length] ?? 'UTC',
      product,
    };
  }
}
