// Whether a publication may carry what it would: with one approver it is signed at once; where several must sign, a change request
// is made, and until they have, everything but policy and catalogs is published, which stay as they are.
import { defineFaults, EXIT } from '#manifests/errors';
import { type Catalog, canonicalJson, type Kev, sha256Of } from '#manifests/schema';
import type { PublisherHome, Role } from '../home.ts';
import { ROLES } from '../home.ts';
import type { PolicySet, ResolvedPolicy } from '../policy/index.ts';
import {
  type Change,
  type ChangeStanding,
  changeDocuments,
  changeMetadata,
  readChanges,
  standingOf,
  writeNewChange,
} from './changes.ts';
import type { PolicyDocuments } from './differences.ts';
import { publishedDocuments, substance, type TargetDocument } from './documents.ts';
import type { Keyring, RoleKeys } from './keyring.ts';
import { type PlanInput, planMetadata, type RoleStep, unsignedRole } from './metadata.ts';
import type { Published } from './published.ts';

const fault = defineFaults('publish', {
  unapproved: {
    exit: EXIT.deferred,
    next: 'Look at it with `publisher change show`, have its approvers run `publisher change approve`, then publish again.',
  },
});

export interface Approval {
  readonly input: PlanInput;
  readonly steps: readonly RoleStep[];
  /** Metadata that approvers have signed, used as it is. */
  readonly approved: ReadonlyMap<Role, Uint8Array>;
  readonly change: {
    readonly request: Change;
    readonly state: ChangeStanding['state'];
    readonly signed: number;
    readonly threshold: number;
  } | null;
}

/** Without a question to anybody. */
export function freely(input: PlanInput): Approval {
  return { input, steps: planMetadata(input), approved: new Map(), change: null };
}

interface Question {
  readonly home: PublisherHome;
  readonly keyring: Keyring;
  readonly asked: PlanInput;
  readonly inputs: string;
  readonly says: readonly string[];
}

/** @throws publish.unapproved when nothing at all is published yet and the first policy waits for its approvers */
export async function askApprovers({ home, keyring, asked, inputs, says }: Question): Promise<Approval> {
  const free = freely(asked);
  const step = free.steps.find(({ role }) => role === 'policy');
  const keys = asked.register.roles.policy;
  if (step === undefined || !needsApproval(step, keys, keyring)) return free;
  const base = asked.published.files.get('policy')?.version ?? 0;
  const known = readChanges(home).find((one) => one.published === null && one.inputs === inputs && one.base === base);
  const request =
    known !== undefined && known.expires > asked.now && known.version >= (asked.reserved.policy ?? 0)
      ? known
      : writeNewChange(home, {
          inputs,
          base,
          version: step.version,
          expires: step.expires,
          says: says.length === 0 ? [`policy is signed anew: ${step.why}`] : says,
          documents: asked.documents.filter(({ role }) => role === 'policy' || role === 'catalog'),
          metadata: await unsignedRole(asked, step),
          now: asked.now,
        });
  const { state, signed, threshold } = standingOf(home, request, keys);
  const change = { request, state, signed: signed.length, threshold };
  if (state === 'approved') return { ...withApproved(home, asked, request), change };
  if (!asked.published.files.has('timestamp'))
    throw fault('unapproved', `change ${request.id} is ${state}: ${signed.length} of ${threshold} approvers have signed it`, {
      where: request.id,
    });
  return { ...(await withoutPolicy(asked)), change };
}

/** Several must agree; keys that are being changed sign along as ever, which is their holders' own act. */
function needsApproval({ why, former }: RoleStep, { keys, threshold }: RoleKeys, keyring: Keyring): boolean {
  if (threshold === 1 || former !== undefined) return false;
  if (why === 'content' || why === 'first') return true;
  return keyring.present('policy', keys) < threshold;
}

/** The request's own documents and signatures in place of what was made just now from the same inputs. */
function withApproved(home: PublisherHome, asked: PlanInput, request: Change): Omit<Approval, 'change'> {
  const others = asked.documents.filter(({ role }) => role !== 'policy' && role !== 'catalog');
  const documents = [...changeDocuments(home, request), ...others];
  const input = { ...asked, documents };
  const steps = planMetadata(input).map((step) =>
    step.role === 'policy' ? { ...step, version: request.version, expires: request.expires } : step,
  );
  return { input, steps, approved: new Map([['policy', changeMetadata(home, request)]]) };
}

/** Policy and catalogs as they are published; everything else goes on. */
async function withoutPolicy(asked: PlanInput): Promise<Omit<Approval, 'change'>> {
  const frozen = (await publishedDocuments(asked.published)).filter(({ role }) => role === 'policy' || role === 'catalog');
  const others = asked.documents.filter(({ role }) => role !== 'policy' && role !== 'catalog');
  const input = { ...asked, documents: [...frozen, ...others], only: ROLES.filter((role) => role !== 'policy') };
  return { input, steps: planMetadata(input), approved: new Map() };
}

/** Digest of what policy is made from: while it is the same, a request holds, whatever results and the clock say meanwhile. */
export function inputsOf(policy: PolicySet, catalogs: readonly Catalog[], kev: Kev | null, keys: RoleKeys): string {
  const authored = [policy.baselines, policy.windows, policy.groups, policy.rollouts, policy.recalls, policy.delegations].map(
    (kind) =>
      [...kind.values()].map(({ document }) => document).toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)),
  );
  const known = catalogs.map((catalog) => [catalog.product, sha256Of(substance(catalog))]);
  return sha256Of(canonicalJson({ authored, catalogs: known, kev: kev === null ? null : sha256Of(substance(kev)), keys }));
}

export function policyByName({ baselines, groups }: ResolvedPolicy): PolicyDocuments {
  return {
    baselines: new Map(baselines.map((one) => [one.name, one])),
    groups: new Map(groups.map((one) => [one.name, one])),
  };
}

/** Documents of the policy role beside baselines and groups: recalls and delegations that come, change or go. */
export function otherPolicy(published: Published, wanted: readonly TargetDocument[]): { path: string; state: string }[] {
  const other = (path: string) => /^policy\/(?:recalls|sites)\//.test(path);
  const paths = new Set(wanted.map(({ path }) => path));
  return [
    ...wanted.filter(({ path }) => other(path)).map(({ path, state }) => ({ path, state })),
    ...[...published.targets.keys()]
      .filter((path) => other(path) && !paths.has(path))
      .map((path) => ({ path, state: 'removed' })),
  ];
}
