// What needs a look at this relay, and what to do about it: the same list for the site page, /readyz, and `doctor`. Pure.
import { ageText, countText, momentText, several } from '#manifests/page';
import { formatBytes } from '#manifests/platform/progress';
import type { SiteFacts, SiteHost } from './facts.ts';
import { CONCERNS } from './limits.ts';
import { rotConcerns } from './rot.ts';

export interface Concern {
  /** disk, mirror, rot, upstream, expiry, clock, roster, spool, fuse, staging, leases, hosts */
  readonly about: string;
  /** `bad`: something does not work now. */
  readonly level: 'old' | 'bad';
  readonly says: string;
  readonly next: string;
}

const HOUR = 3_600_000;

/** Seconds since the last result of a host came here; null when none ever did. */
export function evidenceAge({ lastResult }: SiteHost, at: number): number | null {
  return lastResult === null ? null : Math.max(0, Math.floor((at - Date.parse(lastResult)) / 1_000));
}

export function concernsOf(facts: SiteFacts): Concern[] {
  const at = Date.parse(facts.at);
  return [
    ...disk(facts),
    ...mirror(facts),
    ...rotConcerns(facts),
    ...fresh(facts, at),
    ...roster(facts, at),
    ...spool(facts, at),
    ...stopped(facts),
    ...staged(facts, at),
    ...rest(facts, at),
  ];
}

function disk({ disks }: SiteFacts): Concern[] {
  return disks.flatMap(({ name, folder, freeBytes, sizeBytes }): Concern[] => {
    const scarce = freeBytes < CONCERNS.freeBytes || freeBytes < sizeBytes * CONCERNS.freeShare;
    if (!scarce) return [];
    const bad = freeBytes < CONCERNS.fullBytes;
    return [
      {
        about: 'disk',
        level: bad ? 'bad' : 'old',
        says: `${formatBytes(freeBytes)} of ${formatBytes(sizeBytes)} are free for ${name} (${folder})`,
        next:
          name === 'cache'
            ? 'Run gc, set quotaMiB so that payloads make room, or give the cache more.'
            : 'Make room: results can only be taken in while there is some.',
      },
    ];
  });
}

function mirror({ generation, status }: SiteFacts): Concern[] {
  const concerns: Concern[] = [];
  if (generation === null)
    concerns.push({
      about: 'mirror',
      level: 'bad',
      says: 'nothing has been mirrored yet',
      next: 'Set upstream and upstreamRoot, and run sync.',
    });
  if (status.failuresInARow > 0) {
    const last = status.failures[0];
    concerns.push({
      about: 'upstream',
      level: 'old',
      says: `${status.failuresInARow === 1 ? 'the last sync' : `the last ${several(status.failuresInARow, 'sync')}`} failed, the last good one was ${status.lastGoodSync === null ? 'never' : momentText(status.lastGoodSync)}${last === undefined ? '' : `: ${last.message} (${last.code})`}`,
      next: 'Check the line and the upstream; run sync --log-level debug to see each request.',
    });
  }
  const unknown = generation?.unknownProducts ?? [];
  if (unknown.length > 0)
    concerns.push({
      about: 'mirror',
      level: 'old',
      says: `${unknown.join(', ')}: in the setting products, and in no catalog`,
      next: `Correct products; the publisher has ${generation?.products.join(', ') || 'none'}.`,
    });
  return concerns;
}

function fresh({ freshness, generation }: SiteFacts, at: number): Concern[] {
  if (generation === null) return [];
  if (freshness === null)
    return [
      {
        about: 'expiry',
        level: 'bad',
        says: 'the trusted metadata of this relay cannot be read, so nobody knows how old it is',
        next: 'Sync with upstreamRoot set; what is served stays as it is until then.',
      },
    ];
  const concerns: Concern[] = [];
  const expires = momentText(freshness.expires === '' ? null : freshness.expires);
  const next = 'Sync; if the upstream is as old, the publisher has to sign anew.';
  if (freshness.hardExpired)
    concerns.push({ about: 'expiry', level: 'bad', says: `the metadata expired ${expires}: agents install nothing new`, next });
  else if (freshness.softExpired)
    concerns.push({
      about: 'expiry',
      level: 'old',
      says: `the metadata is older than it should be; it expires ${expires}`,
      next,
    });
  else if (Date.parse(freshness.expires) - at < CONCERNS.expiryHours * HOUR)
    concerns.push({ about: 'expiry', level: 'old', says: `the metadata expires ${expires}`, next });
  if (freshness.clock !== 'ok')
    concerns.push({
      about: 'clock',
      level: freshness.clock === 'behind' ? 'bad' : 'old',
      says:
        freshness.clock === 'behind'
          ? 'the clock of this relay is behind what the newest signatures prove'
          : 'the clock of this relay is much later than the newest signatures',
      next: 'Set the clock, or its time server; leases and signed requests depend on it.',
    });
  return concerns;
}

function roster({ rosterSignedAt, generation }: SiteFacts, at: number): Concern[] {
  if (generation === null) return [];
  if (rosterSignedAt === null)
    return [
      {
        about: 'roster',
        level: 'bad',
        says: 'there is no roster: no result is taken in',
        next: 'Have the publisher publish one, then sync.',
      },
    ];
  const days = Math.floor((at - Date.parse(rosterSignedAt)) / (24 * HOUR));
  return days > CONCERNS.rosterDays
    ? [
        {
          about: 'roster',
          level: 'old',
          says: `the roster was signed ${days} days ago; agents approved since are not known here`,
          next: 'Sync; if the upstream has no newer one, this may be right.',
        },
      ]
    : [];
}

function spool({ waiting, waitingSince, gaps }: SiteFacts, at: number): Concern[] {
  const concerns: Concern[] = [];
  if (waitingSince !== null && at - Date.parse(waitingSince) > CONCERNS.spoolHours * HOUR)
    concerns.push({
      about: 'spool',
      level: 'old',
      says: `${several(waiting.results, 'result')} and ${several(waiting.enrolments, 'enrolment')} wait, the oldest for ${ageText(Math.floor((at - Date.parse(waitingSince)) / 1_000))}`,
      next: 'Check inboxForward and the line, or have them collected from the inbox folder; agents keep theirs until they are confirmed.',
    });
  const day = at - 24 * HOUR;
  const lately = gaps.filter(({ signedAt }) => Date.parse(signedAt) > day);
  if (lately.length > 0)
    concerns.push({
      about: 'spool',
      level: 'old',
      says: `${several(
        lately.reduce((sum, { results }) => sum + results, 0),
        'result was',
        'results were',
      )} dropped for want of room within a day`,
      next: 'Give the inbox more room (inboxMiB, or the disk), or bring on what waits; hosts still have what was dropped.',
    });
  if (waiting.refused > 0)
    concerns.push({
      about: 'spool',
      level: 'old',
      says: `${several(waiting.refused, 'item was', 'items were')} refused by the next hop`,
      next: 'Read the reasons beside them in inbox/refused, then remove them.',
    });
  return concerns;
}

function stopped({ siteHalts, fuses, fuseSays, siblings }: SiteFacts): Concern[] {
  const halts = siteHalts
    .filter(({ state }) => state === 'in-force')
    .map(
      ({ site, name, by, reason, endsAt }): Concern => ({
        about: 'fuse',
        level: 'old',
        says: `site ${site} is halted ${by === 'fuse' ? 'by the fuse' : 'by hand'} (${name}) until ${endsAt === null ? 'it is lifted' : `${momentText(endsAt)} at the latest`}: ${reason}`,
        next: `${by === 'fuse' ? 'Look at the hosts that failed; the' : 'The'} publisher lifts it before (publisher site lift ${site} ${name}).`,
      }),
    );
  const blown = fuseSays === '' ? [] : fuses.filter(({ state }) => state.tripped);
  return [
    ...halts,
    ...siblings.flatMap(({ sibling, failing }): Concern[] =>
      failing === null || fuses.length === 0
        ? []
        : [
            {
              about: 'fuse',
              level: 'old',
              says: `what ${sibling} counts for the fuse is not known here since ${momentText(failing.since)}: ${failing.says}`,
              next: 'Look at that relay and at siblings in the settings; meanwhile each counts alone what comes to it.',
            },
          ],
    ),
    ...blown.map(
      ({ rollout, state }): Concern => ({
        about: 'fuse',
        level: 'old',
        says: `the fuse of ${rollout} would trip (${state.failures} of ${state.reports} hosts failed), but ${fuseSays}`,
        next: 'Have the publisher delegate `halt` to this site with the card of this relay.',
      }),
    ),
  ];
}

function staged({ staging }: SiteFacts, at: number): Concern[] {
  const late = (staging?.openings ?? []).filter(
    ({ payloads, here, opensAt }) => here < payloads && Date.parse(opensAt) - at < CONCERNS.stagingHours * HOUR,
  );
  const first = late[0];
  if (first === undefined || staging === null) return [];
  return [
    {
      about: 'staging',
      level: 'old',
      says: `window ${first.window} of ${first.group} opens ${momentText(first.opensAt)} and ${several(first.payloads - first.here, 'payload')} for it ${first.payloads - first.here === 1 ? 'is' : 'are'} not here${staging.says === '' ? '' : `: ${staging.says}`}`,
      next: 'Look at the line and the quota; hosts still get each from here when they ask for it, if the upstream has it.',
    },
  ];
}

function rest({ leases, hosts }: SiteFacts, at: number): Concern[] {
  const concerns: Concern[] = [];
  if (leases === null)
    concerns.push({
      about: 'leases',
      level: 'old',
      says: 'the file of reboot leases cannot be understood',
      next: 'Nothing need be done: a running relay waits until all old leases have ended and writes it anew.',
    });
  const silent = hosts.filter(
    (host) => host.standing === 'approved' && (evidenceAge(host, at) ?? 0) > CONCERNS.silentHours * 3_600,
  );
  if (silent.length > 0)
    concerns.push({
      about: 'hosts',
      level: 'old',
      says: `${several(silent.length, 'host has', 'hosts have')} sent nothing here for ${CONCERNS.silentHours} hours: ${silent
        .slice(0, 5)
        .map(({ title }) => title)
        .join(', ')}${silent.length > 5 ? ` and ${countText(silent.length - 5)} more` : ''}`,
      next: 'Look whether they are on, and run patchferry-agent doctor there.',
    });
  return concerns;
}
