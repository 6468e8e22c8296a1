// Reads updateinfo.xml: the vendor's advisories with their packages, dates, severities and flaws. Format: createrepo_c,
// xml_dump_updateinfo.c; what vendors write into it differs (dates, words of severity), and is read as each means it.
import type { CLASSIFICATIONS, SEVERITIES } from '#manifests/schema';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { plainLine } from '../paths.ts';
import { readXml } from './xml.ts';

export interface Advisory {
  readonly id: string;
  readonly title: string;
  readonly classification: (typeof CLASSIFICATIONS)[number];
  readonly severity: (typeof SEVERITIES)[number];
  /** ms; null when nothing readable is there. */
  readonly issued: number | null;
  readonly updated: number | null;
  readonly cves: string[];
  readonly reboot: boolean;
  /** The vendor took it back: what it brought is not to be installed. */
  readonly retracted: boolean;
  /** `name-epoch:version-release.arch`, the epoch always written. */
  readonly packages: string[];
}

/** Words of severity by vendor: Red Hat and its kind, Amazon (`medium`), SUSE, Fedora (`None`). */
const SEVERITY: Readonly<Record<string, Advisory['severity']>> = {
  critical: 'critical',
  important: 'high',
  high: 'high',
  moderate: 'medium',
  medium: 'medium',
  low: 'low',
};

const CLASSIFICATION: Readonly<Record<string, Advisory['classification']>> = {
  security: 'security',
  bugfix: 'bugfix',
  recommended: 'bugfix', // SUSE's word
  enhancement: 'enhancement',
  newpackage: 'enhancement',
  optional: 'enhancement',
  feature: 'enhancement',
};

/** `2026-10-01 08:30:00`, `2026-10-01`, with or without a zone of UTC, or seconds since 1970 (SUSE), as ms. */
export function parseDate(text: string): number | null {
  if (/^\d{9,11}$/.test(text)) return Number(text) * 1000;
  const parts = /^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2})(?::(\d{2})(?:\.\d+)?)?)? *(?:UTC|Z|\+00:?00)?$/.exec(text);
  if (parts === null) return null;
  const at = Date.parse(`${parts[1]}T${parts[2] ?? '00:00'}:${parts[3] ?? '00'}Z`);
  return Number.isNaN(at) ? null : at;
}

const CVE = /CVE-\d{4}-\d{4,19}/g;

interface Draft {
  id: string;
  title: string;
  type: string;
  status: string;
  severity: string;
  issued: string;
  updated: string;
  cves: Set<string>;
  reboot: boolean;
  packages: Set<string>;
}

/** Calls `take` for every advisory. Memory is bounded by one. @throws source.malformed, source.too-large */
export async function readUpdateInfo(
  chunks: AsyncIterable<Uint8Array>,
  where: string,
  take: (found: Advisory) => void,
): Promise<number> {
  let draft: Draft | undefined;
  let count = 0;
  await readXml(chunks, where, {
    open({ name, attributes }, path) {
      if (path.length === 1 && name !== 'updates') throw fault('malformed', `${where} is <${name}>, not <updates>`, { where });
      if (path.length === 2 && name === 'update') {
        draft = {
          id: '',
          title: '',
          type: attributes['type'] ?? '',
          status: attributes['status'] ?? '',
          severity: '',
          issued: '',
          updated: '',
          cves: new Set(),
          reboot: false,
          packages: new Set(),
        };
      }
      if (draft === undefined) return;
      if (path.length === 3 && name === 'issued') draft.issued = attributes['date'] ?? '';
      else if (path.length === 3 && name === 'updated') draft.updated = attributes['date'] ?? '';
      else if (name === 'reference' && path.at(-2) === 'references') {
        for (const text of [attributes['id'] ?? '', attributes['title'] ?? ''])
          for (const [cve] of text.matchAll(CVE)) draft.cves.add(cve);
      } else if (name === 'package' && path.at(-2) === 'collection') {
        const { name: own = '', epoch = '0', version = '', release = '', arch = '' } = attributes;
        draft.packages.add(`${own}-${epoch === '' ? '0' : epoch}:${version}-${release}.${arch}`);
        if (draft.packages.size > SOURCE_LIMITS.packages) throw fault('too-large', `${where}: too many packages`, { where });
      }
    },
    close(name, text, path) {
      if (draft === undefined) return;
      if (path.length === 3 && (name === 'id' || name === 'title' || name === 'severity')) draft[name] = text;
      // On the advisory itself (Fedora's and createrepo's older form) or on its packages.
      else if (name === 'reboot_suggested') draft.reboot ||= !/^(?:false|0|no)$/i.test(text);
      if (path.length !== 2 || name !== 'update') return;
      count += 1;
      if (draft.id === '') throw fault('malformed', `${where}: advisory ${count} has no id`, { where });
      for (const [cve] of draft.title.matchAll(CVE)) draft.cves.add(cve);
      take(finish(draft));
      draft = undefined;
    },
  });
  return count;
}

function finish(draft: Draft): Advisory {
  return {
    id: plainLine(draft.id, 80),
    title: plainLine(draft.title, 300),
    classification: CLASSIFICATION[draft.type.toLowerCase()] ?? 'other',
    severity: SEVERITY[draft.severity.toLowerCase()] ?? 'unspecified',
    issued: parseDate(draft.issued),
    updated: parseDate(draft.updated),
    cves: [...draft.cves].toSorted(),
    reboot: draft.reboot,
    retracted: draft.status.toLowerCase() === 'retracted',
    packages: [...draft.packages],
  };
}
