// `scan` and `explain`: what this host lacks and why, from the last verified state, or read-only from a catalog or a
// repository without being enrolled. Only what a decision needs is loaded: starting is most of the cost.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DecideInput, evaluate, explain, missing } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { CommandContext, Outcome } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import { type Catalog, DOCUMENT_LIMITS, decodeDocument, decodePlain, type Inventory } from '#manifests/schema';
import { type AgentSettings, decideInput, fault, inventoryOf, openAgentTrust, placesOf } from '../service/index.ts';
import { settingsFrom, table } from './frame.ts';
import { countsText } from './once.ts';

interface Known {
  readonly input: DecideInput;
  /** Where the catalogs are from, for a person. */
  readonly from: string;
  /** A group decides about this host; else only what is missing can be said. */
  readonly decided: boolean;
}

/** What is missing here. */
export async function scan(context: CommandContext): Promise<Outcome> {
  const { input, from, decided } = await whatIsKnown(context);
  const lacks = missing(input.catalogs, input.inventory);
  const evaluation = evaluate(input);
  const findings = evaluation.findings.filter(
    ({ state }) => context.options['all'] === true || !(state.startsWith('INSTALLED') || state === 'NOT_APPLICABLE'),
  );
  const compliant = decided ? evaluation.compliant : lacks.length === 0;
  const lines = [
    `${input.inventory.hostname} (${input.inventory.product ?? 'unknown product'}, ${input.inventory.packages.length} packages), by ${from}`,
    lacks.length === 0
      ? 'nothing is to be had newer than it is here'
      : table([
          ['package', 'here', 'newest', 'patch'],
          ...lacks.map(({ name, arch, from: here, to, patch }) => [`${name}:${arch}`, here ?? '-', to, patch]),
        ]),
  ];
  if (decided) {
    lines.push(`${compliant ? 'compliant' : 'not compliant'}: ${countsText(evaluation.counts)}`, evaluation.next.says);
    if (context.options['all'] === true) {
      lines.push(table(findings.map(({ patch, state, reasons }) => [patch, state, reasons[0] ?? ''])));
    }
  } else lines.push('no group decides about this host here: this is what is missing, not what will be installed');
  lines.push(...evaluation.notes);
  return {
    exit: compliant ? EXIT.done : EXIT.findings,
    text: lines.join('\n'),
    report: {
      schema: 'patchferry/agent-scan',
      schemaVersion: 1,
      hostname: input.inventory.hostname,
      product: input.inventory.product,
      from,
      decided,
      compliant,
      missing: lacks,
      counts: evaluation.counts,
      findings,
      next: evaluation.next,
      notes: evaluation.notes,
    },
  };
}

/** Why a patch, CVE or package is as it is on this host. */
export async function explainCommand(context: CommandContext): Promise<Outcome> {
  const query = String(context.args[0] ?? '');
  const { input } = await whatIsKnown(context);
  const explanation = explain(evaluate(input), input, query);
  if (explanation.foundBy === 'nothing') {
    throw fault('no-such-patch', `no catalog known here has a patch, CVE or package ${JSON.stringify(query)}`);
  }
  return {
    exit: EXIT.done,
    text: explanation.text,
    report: { schema: 'patchferry/agent-explain', schemaVersion: 1, ...explanation },
  };
}

/** The input of the decision: from --catalog, from --repository, or from the agent's own verified state. */
export async function whatIsKnown(context: Pick<CommandContext, 'options'>): Promise<Known> {
  const settings = await settingsFrom(context);
  const inventory = await inventoryOf(settings, systemClock, false);
  const { catalog, repository, root } = context.options;
  if (typeof catalog === 'string')
    return { ...bare([readCatalog(catalog)], inventory), from: `catalog ${catalog} (not verified)` };
  if (typeof repository === 'string') {
    if (typeof root !== 'string')
      throw fault('nothing-known', '--repository needs --root: the pinned root that it is verified with');
    return fromRepository(repository, root, inventory);
  }
  return fromState(settings, inventory);
}

/** Without policy there is no group: nothing is decided, only compared. */
function bare(catalogs: Catalog[], inventory: Inventory): Omit<Known, 'from'> {
  return {
    decided: false,
    input: {
      catalogs,
      baselines: [],
      group: null,
      inventory,
      memory: { installedByUs: [], failed: [], rolledBack: [] },
      at: systemClock.now(),
      freshness: { softExpired: false, hardExpired: false },
    },
  };
}

function readCatalog(file: string): Catalog {
  const bytes = readFileBounded(file, DOCUMENT_LIMITS.plainBytes);
  if (bytes === undefined) throw fault('nothing-known', `there is no file ${file}`, { where: file });
  return bytes[0] === 0x7b /* { */ ? decodePlain('catalog', bytes, file) : decodeDocument('catalog', bytes, file);
}

async function fromRepository(folder: string, rootFile: string, inventory: Inventory): Promise<Known> {
  const [{ openTrust }, { folderOrigin }] = await Promise.all([import('#manifests/trust'), import('#manifests/transfer')]);
  const state = fs.mkdtempSync(join(tmpdir(), 'patchferry-scan-'));
  try {
    const pinnedRoot = readFileBounded(rootFile, 4 * 1024 * 1024);
    if (pinnedRoot === undefined) throw fault('nothing-known', `there is no file ${rootFile}`, { where: rootFile });
    const trust = openTrust({ folder: state, pinnedRoot, now: () => systemClock.now() });
    const origin = folderOrigin(folder);
    await trust.refresh(origin);
    const catalogs: Catalog[] = [];
    for (const { path } of trust.targets().filter((target) => target.path.startsWith('catalogs/'))) {
      if (path !== `catalogs/${inventory.product}.json.zst`) continue;
      catalogs.push(decodeDocument('catalog', await trust.readTarget(path, origin), path));
    }
    return { ...bare(catalogs, inventory), from: `repository ${folder} (verified)` };
  } finally {
    fs.rmSync(state, { recursive: true, force: true });
  }
}

async function fromState(settings: AgentSettings, inventory: Inventory): Promise<Known> {
  const [{ readKeys }, { openDocuments }, { openJournal }] = await Promise.all([
    import('../outbox/index.ts'),
    import('../poll/index.ts'),
    import('../run/index.ts'),
  ]);
  const places = placesOf(settings);
  const keys = await readKeys(places.keys);
  if (keys === undefined)
    throw fault('not-enrolled', 'this host is not enrolled, so that there is no verified state to decide from');
  const view = openDocuments(places.documents).view(keys.id);
  if (view.damaged !== null) throw fault('nothing-known', `${view.damaged}; the next poll fetches it again`);
  if (view.member === null)
    throw fault('nothing-known', 'the publisher has not approved this host yet, so that nothing decides about it');
  const trust = openAgentTrust(settings, systemClock);
  using journal = openJournal(places.journal, { readOnly: true, now: systemClock.now() });
  const agent = { trust, journal, trustedNow: () => trust.freshness().trustedTime };
  const input = decideInput(agent, view, inventory, journal.runs.memory());
  return {
    input,
    decided: true,
    from: `the verified state of ${new Date(input.at).toISOString().slice(0, 10)}, group ${view.group?.name ?? '(none)'}`,
  };
}
