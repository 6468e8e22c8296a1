// Error codes and bounds of what the owner of a host may say.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('owner', {
  'no-group': { exit: EXIT.usage, next: 'Wait for approval: `agent status` says when this host is in a group.' },
  'not-offered': { exit: EXIT.usage, next: '`agent window list` shows which windows this host may choose.' },
  deferral: {
    exit: EXIT.usage,
    next: 'Defer within the bound that is named, or ask for a waiver: `agent waiver request PATCH --until DATE --reason TEXT`.',
  },
  'waiver-bounds': { exit: EXIT.usage, next: 'Ask within the bound that is named; who approves is named in the policy group.' },
  moment: { exit: EXIT.usage, next: 'Write a day as 2026-03-01, or a moment in UTC as 2026-03-01T06:00:00Z.' },
});

export const OWNER_LIMITS = {
  /** Requests for waivers that are remembered, newest first. */
  requests: 200,
} as const;
