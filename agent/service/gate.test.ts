// The verdict of the gate as a table: what lets a host pass, what does not, and with which exit code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Evaluation } from '#manifests/decide';
import { ALWAYS_OPEN } from '#manifests/decide';
import type { PatchState } from '#manifests/schema';
import { type GateFacts, gateVerdict } from './gate.ts';

function decided(states: readonly (readonly [string, PatchState, boolean])[], more: Partial<Evaluation> = {}): Evaluation {
  return {
    at: '2026-03-01T12:00:00Z',
    product: 'debian-12',
    group: 'site',
    baselines: [],
    findings: states.map(([patch, state, compliant]) => ({
      patch,
      product: 'debian-12',
      state,
      compliant,
      level: 'high',
      packages: [],
      reasons: [],
      changesAt: null,
    })),
    counts: {} as Evaluation['counts'],
    nonCompliant: { critical: 0, security: 0, other: 0 },
    compliant: states.every(([, , compliant]) => compliant),
    next: { action: 'nothing', says: 'nothing is to be installed', at: null },
    install: [],
    packages: [],
    digest: '',
    blocked: [],
    window: ALWAYS_OPEN,
    lane: 'window',
    windows: { download: ALWAYS_OPEN, install: ALWAYS_OPEN, reboot: ALWAYS_OPEN },
    mayReboot: true,
    mayDownload: true,
    estimateMs: 0,
    held: [],
    urgent: [],
    overdue: [],
    rollback: null,
    rollbackWaits: null,
    halts: [],
    warnings: [],
    notices: [],
    hooks: [],
    site: { applied: [], refused: [] },
    notes: [],
    ...more,
  };
}

const held = [{ patch: 'a@1', product: 'debian-12', holds: [{ by: 'rollout' as const, says: 'not its turn', until: null }] }];
const waits = { action: 'wait' as const, says: 'window night opens', at: '2026-03-02T02:00:00Z' };
const ROWS: readonly (readonly [string, Partial<GateFacts>, number])[] = [
  ['everything is as required', { evaluation: decided([['a@1', 'INSTALLED', true]]) }, 0],
  ['excepted by a waiver', { evaluation: decided([['a@1', 'EXCEPTED', true]]) }, 0],
  ['missing, and a ring puts it off', { evaluation: decided([['a@1', 'MISSING', false]], { held }) }, 0],
  ['not approved yet, and open ones count', { evaluation: decided([['a@1', 'PENDING_APPROVAL', false]]) }, 0],
  ['missing, and a window is to come', { evaluation: decided([['a@1', 'MISSING', false]], { next: waits }) }, 4],
  ['another one is put off', { evaluation: decided([['b@1', 'MISSING', false]], { held }) }, 1],
  ['on hold on the host', { evaluation: decided([['a@1', 'HELD', false]]) }, 1],
  ['taken back before', { evaluation: decided([['a@1', 'ROLLED_BACK', false]]) }, 1],
  ['installed and recalled', { evaluation: decided([['a@1', 'RECALLED_INSTALLED', false]]) }, 1],
  ['installed, the reboot is owed', { evaluation: decided([['a@1', 'INSTALLED_PENDING_REBOOT', false]]) }, 1],
  [
    'a recall takes a run back',
    { evaluation: decided([], { rollback: { run: 'r', next: 'r', recall: 'c', patches: ['a@1'], says: 'x' } }) },
    4,
  ],
  ['no relay answered', { sync: 'unreachable' }, 8],
  ['every relay rests', { sync: 'paused' }, 8],
  ['no relay answered, and none was to be asked', { sync: 'unreachable', offline: true }, 0],
  ['a relay sent what is not genuine', { sync: 'refused' }, 5],
  ['the documents have expired', { hardExpired: true }, 5],
  ['nobody has approved this host', { evaluation: null }, 4],
  ['a run is under way', { openRun: true }, 4],
  ['a rollback failed', { handsNeeded: true, sync: 'unreachable' }, 7],
];

for (const [says, facts, exit] of ROWS) {
  test(`8.20 the gate, ${says}: exit ${exit}`, () => {
    const verdict = gateVerdict({
      evaluation: decided([]),
      sync: 'synced',
      offline: false,
      hardExpired: false,
      openRun: false,
      handsNeeded: false,
      ...facts,
    });
    assert.deepEqual([verdict.exit, verdict.ready], [exit, exit === 0]);
    assert.equal(verdict.says.length > 0, exit !== 0, 'it names what is in the way');
  });
}
