// Waivers of a home, brought together: authored documents, signatures, requests from the store, answers, what is excepted now.

import type { WaiverNotice } from '#manifests/decide';
import type { Roster, SignedWaiver, Waiver, WaiverAnswer } from '#manifests/schema';
import type { PublisherHome } from '../home.ts';
import type { PolicySet } from '../policy/index.ts';
import { openKnowledge, type WaiverRequest } from '../results/index.ts';
import { readRoster } from '../roster/index.ts';
import {
  groupsOf,
  noticesOf,
  publishedAnswers,
  publishedWaivers,
  type RevokedWaiver,
  readAnswers,
  readApprovals,
  readRevoked,
  type WaiverGroup,
  type WaiverState,
  waiverState,
} from '../waivers/index.ts';
import { policyOf } from './policy.ts';

export interface Exceptions {
  readonly documents: ReadonlyMap<string, Waiver>;
  readonly states: readonly WaiverState[];
  /** Nobody has answered them yet. */
  readonly requests: readonly WaiverRequest[];
  /** What ends soon, and what has just ended. */
  readonly notices: readonly WaiverNotice[];
  readonly answers: readonly WaiverAnswer[];
  readonly revoked: readonly RevokedWaiver[];
  readonly groups: readonly WaiverGroup[];
  readonly roster: Roster;
  /** What hosts last reported as EXCEPTED. */
  readonly excepted: { readonly findings: number; readonly hosts: number };
}

/** @param at milliseconds @throws policy-folder.missing, waiver.damaged, roster.missing, results.store-* */
export function readExceptions(home: PublisherHome, at: number): Exceptions {
  const policy = policyOf(home);
  const roster = readRoster(home.rosterFile);
  const groups = waiverGroups(policy);
  const answers = readAnswers(home.waiversFolder);
  const documents = new Map([...policy.waivers].map(([name, { document }]) => [name, document]));
  const states = statesOf(home, policy, roster, at);
  const knowledge = openKnowledge(home.storeFile);
  try {
    const known = new Set([...answers.map(({ request }) => request), ...states.map(({ request }) => request)]);
    const requests = knowledge.waiverRequests().filter(({ body }) => !known.has(body.request));
    let findings = 0;
    const hosts = new Set<string>();
    for (const { agent, state } of knowledge.states()) {
      if (state !== 'EXCEPTED') continue;
      findings += 1;
      hosts.add(agent);
    }
    const excepted = { findings, hosts: hosts.size };
    const notices = noticesOf(states, at);
    return {
      documents,
      states,
      requests,
      notices,
      answers,
      revoked: readRevoked(home.waiversFolder),
      groups,
      roster,
      excepted,
    };
  } finally {
    knowledge.close();
  }
}

/** What the waivers role signs. @param at milliseconds */
export function exceptionsToSign(
  home: PublisherHome,
  policy: PolicySet,
  roster: Roster,
  at: number,
): { waivers: SignedWaiver[]; answers: WaiverAnswer[] } {
  const states = statesOf(home, policy, roster, at);
  return {
    waivers: publishedWaivers(states, at),
    answers: publishedAnswers(readAnswers(home.waiversFolder), states, at),
  };
}

function statesOf(home: PublisherHome, policy: PolicySet, roster: Roster, at: number): WaiverState[] {
  const groups = waiverGroups(policy);
  return [...policy.waivers.values()].map(({ document }) =>
    waiverState(
      document,
      readApprovals(home.waiversFolder, document.metadata.name),
      groupsOf(document.spec.scope, groups, roster),
      at,
    ),
  );
}

function waiverGroups(policy: PolicySet): WaiverGroup[] {
  return [...policy.groups].map(([name, { document }]) => ({ name, policy: document.spec.waivers }));
}

/** Groups that a document is about. */
export function groupsFor({ groups, roster }: Exceptions, document: Waiver): WaiverGroup[] {
  return groupsOf(document.spec.scope, groups, roster);
}
