// Row A2: the decision alone, in process. A host of 800 packages against catalogs of three sizes and more; how it grows.
import { type DecideInput, evaluate, resolveBaseline } from '#manifests/decide';
import { sampleBaseline, sampleFleetCase, sampleInput } from '../../manifests/decide/sample.ts';

export const name = 'decide';

const AT = Date.parse('2026-06-01T00:00:00Z');
/** Rounds of one measurement: as many as fit, within bounds. */
const ROUNDS = { least: 7, most: 101, ms: 2_000 } as const;
const INSTALLED = 800;
/** Of row A2: 3,000 binary packages by 800 installed (1,000 sources with three each), and 100,000 patches. */
const SIZES = [
  { patches: 1_000, perPatch: 3, targetMs: 10 },
  { patches: 10_000, perPatch: 3, targetMs: null },
  { patches: 100_000, perPatch: 3, targetMs: 300 },
] as const;

type Row = Record<string, string | number>;

/** Medians; `growth` is the exponent of time over patches since the row before. */
export function bench(): Promise<{ name: string; rows: Row[] }> {
  const rows: Row[] = [];
  let before: { patches: number; evaluateMs: number; resolveMs: number } | undefined;
  for (const { patches, perPatch, targetMs } of SIZES) {
    const { catalog, inventory } = sampleFleetCase(patches, perPatch, INSTALLED);
    const rules = [
      { name: 'critical', filters: { severity: ['critical'] }, approve: { afterDays: 7 }, complianceLevel: 'critical' },
      { name: 'rest', filters: { classification: ['*'] }, approve: { afterDays: 30 }, nonSecurity: true },
    ];
    const authored = sampleBaseline({ rules, rejected: ['source-7*'] });
    const catalogSha256 = '0'.repeat(64);
    const resolved = resolveBaseline(authored, catalog, AT, catalogSha256);
    const input: DecideInput = { ...sampleInput([], [], { baselines: [resolved], at: AT }), catalogs: [catalog], inventory };
    const { first, median: evaluateMs } = measure(() => evaluate(input));
    const { findings, install } = evaluate(input);
    const { median: resolveMs } = measure(() => resolveBaseline(authored, catalog, AT, catalogSha256));
    const exponent = (now: number, then: number | undefined) =>
      before === undefined || then === undefined
        ? ''
        : Number((Math.log(now / then) / Math.log(patches / before.patches)).toFixed(2));
    rows.push({
      patches,
      'binary packages': patches * perPatch,
      installed: inventory.packages.length,
      findings: findings.length,
      'to install': install.length,
      'first ms': round(first),
      'evaluate ms': round(evaluateMs),
      'evaluate growth': exponent(evaluateMs, before?.evaluateMs),
      'resolve ms': round(resolveMs),
      'resolve growth': exponent(resolveMs, before?.resolveMs),
      'target ms': targetMs ?? '',
      met: targetMs === null ? '' : String(evaluateMs < targetMs),
    });
    before = { patches, evaluateMs, resolveMs };
  }
  return Promise.resolve({ name, rows });
}

/** The first call, as a process that decides once has it, and the median of those after it. */
function measure(work: () => unknown): { first: number; median: number } {
  const times: number[] = [];
  const began = performance.now();
  while (times.length <= ROUNDS.least || (times.length <= ROUNDS.most && performance.now() - began < ROUNDS.ms)) {
    const started = performance.now();
    work();
    times.push(performance.now() - started);
  }
  const [first = 0, ...rest] = times;
  return { first, median: rest.toSorted((a, b) => a - b)[Math.floor(rest.length / 2)] ?? 0 };
}

function round(ms: number): number {
  return Number(ms.toFixed(2));
}
