// What a host waits for: one row a state, each with the words, the moment and the next step that a person sees.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Evaluation } from '#manifests/decide';
import { type WaitingFacts, type WaitingKind, waitingFor } from './waiting.ts';

const NOW = Date.parse('2026-03-02T12:00:00Z');
const LATER = '2026-03-03T02:00:00Z';
const RUN = '1b9f0c2a-0000-4000-8000-000000000000';

const open = { open: true, opensAt: NOW, name: 'night' } as unknown as Evaluation['window'];
const shut = { open: false, opensAt: Date.parse(LATER), name: 'night' } as unknown as Evaluation['window'];

function decided(change: Partial<Evaluation>): Evaluation {
  const window = change.window ?? open;
  return {
    next: { action: 'nothing', says: 'nothing is to be installed', at: null },
    install: [],
    held: [],
    halts: [],
    rollback: null,
    rollbackWaits: null,
    compliant: true,
    mayReboot: true,
    counts: { ROLLED_BACK: 0 },
    ...change,
    window,
    windows: { download: window, install: window, reboot: window },
  } as unknown as Evaluation;
}
const wanted = (action: Evaluation['next']['action'], says: string, at: string | null, change: Partial<Evaluation> = {}) =>
  decided({ next: { action, says, at }, install: ['tool@2'], compliant: false, ...change });

const BASE: WaitingFacts = {
  agent: '76ff3461',
  standing: 'approved',
  damaged: null,
  hands: null,
  still: null,
  openRun: null,
  atWork: false,
  evaluation: decided({}),
  hardExpired: false,
  pause: null,
  payloads: null,
  reboot: null,
  at: NOW,
};
const install = wanted('install', '1 patch to install now', null);
const halts = [{ name: 'freeze', stops: ['install' as const], says: 'halt freeze stops it: cranes are moving' }];
const TAKEN_BACK = { ROLLED_BACK: 1 } as unknown as Evaluation['counts'];
const run = { id: RUN, state: 'Install', reboots: false };
const pause = { until: NOW + 900_000, says: 'script count: ended with 1', run: RUN };
const need = { evidence: ['kernel 6.1-1 runs, 6.1-2 is installed'], allowed: true, heldUp: null };

const rows: {
  kind: WaitingKind;
  facts: Partial<WaitingFacts>;
  head: RegExp;
  says?: RegExp;
  next?: RegExp;
  until?: number | null;
  mood?: string;
}[] = [
  { kind: 'nothing', facts: {}, head: /compliant and waits for nothing/, mood: 'well' },
  {
    kind: 'approval',
    facts: { standing: 'unknown', evaluation: null },
    head: /waits for approval/,
    next: /agent approve 76ff3461/,
  },
  {
    kind: 'revoked',
    facts: { standing: 'revoked', evaluation: null },
    head: /is revoked/,
    next: /service uninstall/,
    mood: 'hands',
  },
  {
    kind: 'documents',
    facts: { damaged: 'a document is not here', evaluation: null },
    head: /waits for its documents/,
    next: /once fetches/,
  },
  {
    kind: 'documents',
    facts: { hardExpired: true, evaluation: wanted('wait', 'expired', null) },
    head: /newer documents/,
    next: /courier/,
  },
  {
    kind: 'hands',
    facts: { hands: RUN, evaluation: install },
    head: /needs hands/,
    says: /1b9f0c2a/,
    next: /once --retry/,
    mood: 'hands',
  },
  { kind: 'copy', facts: { still: 'this is a copy' }, head: /another machine/, next: /once --retry/, mood: 'hands' },
  { kind: 'run', facts: { openRun: run, atWork: true }, head: /is at work/, says: /in Install/ },
  { kind: 'run', facts: { openRun: run }, head: /cut off/, says: /finishes it or takes it back/ },
  { kind: 'run', facts: { openRun: { ...run, reboots: true } }, head: /reboots in the middle/ },
  {
    kind: 'rollback',
    facts: { evaluation: decided({ rollback: { says: 'recall bad takes it back' } as Evaluation['rollback'] }) },
    head: /recalled run back/,
    says: /Recall bad/,
  },
  {
    kind: 'halt',
    facts: { evaluation: wanted('wait', 'held back', LATER, { halts }) },
    head: /is halted/,
    says: /cranes/,
    next: /halt lift freeze/,
    until: Date.parse(LATER),
  },
  { kind: 'nothing', facts: { evaluation: decided({ halts }) }, head: /waits for nothing/, mood: 'well' },
  {
    kind: 'failure',
    facts: { pause, evaluation: install },
    head: /after a failure/,
    says: /ended with 1/,
    next: /history --run 1b9f0c2a/,
    until: NOW + 900_000,
  },
  { kind: 'install', facts: { pause: { ...pause, until: NOW - 1 }, evaluation: install }, head: /next cycle/ },
  {
    kind: 'payloads',
    facts: { payloads: { until: NOW + 60_000, says: 'not at a relay yet' }, evaluation: install },
    head: /waits for payloads/,
    until: NOW + 60_000,
  },
  {
    kind: 'window',
    facts: { evaluation: wanted('wait', '1 patch when window night opens', LATER, { window: shut }) },
    head: /waits for its window/,
    next: /plan/,
    until: Date.parse(LATER),
  },
  {
    kind: 'taken-back',
    facts: { evaluation: wanted('nothing', 'this very set was taken back', null, { install: [], counts: TAKEN_BACK }) },
    head: /taken back/,
    next: /--retry/,
    mood: 'hands',
  },
  {
    kind: 'attention',
    facts: { evaluation: wanted('nothing', 'no window is to come', null, { window: shut }) },
    head: /no window to come/,
    next: /plan/,
    mood: 'hands',
  },
  {
    kind: 'held-back',
    facts: { evaluation: decided({ next: { action: 'wait', says: 'held back by ring 2', at: LATER }, compliant: false }) },
    head: /^waits$/,
    until: Date.parse(LATER),
  },
  { kind: 'reboot', facts: { reboot: need }, head: /waits for a reboot$/, says: /6\.1-2/ },
  {
    kind: 'reboot',
    facts: { reboot: { ...need, allowed: false } },
    head: /reboot by hand/,
    says: /allowReboot/,
    mood: 'hands',
  },
  {
    kind: 'reboot',
    facts: { reboot: need, evaluation: decided({ window: shut, mayReboot: false }) },
    head: /waits for a reboot$/,
    until: Date.parse(LATER),
  },
  {
    kind: 'attention',
    facts: { evaluation: decided({ compliant: false }) },
    head: /not compliant/,
    next: /scan/,
    mood: 'hands',
  },
];

for (const { kind, facts, head, says, next, until, mood } of rows) {
  test(`waits: ${kind}: ${head.source}`, () => {
    const found = waitingFor({ ...BASE, ...facts });
    assert.equal(found.kind, kind);
    assert.equal(found.mood, mood ?? 'waits');
    assert.match(found.headline, head);
    if (says !== undefined) assert.match(found.says.join(' '), says);
    if (next !== undefined) assert.match(found.next.join(' '), next);
    if (until !== undefined) assert.equal(found.until, until);
    if (found.mood !== 'well') assert.ok(found.next.length > 0, 'there is a next step');
    for (const one of found.says) assert.match(one, /^[A-Z0-9].*[.!?]$/, 'a sentence');
  });
}
