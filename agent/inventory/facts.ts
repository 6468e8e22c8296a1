// Further facts about the machine through systeminformation: few, quick, and each left out when it cannot be had.
import * as os from 'node:os';
import si from 'systeminformation';

/** All facts together may take this long, in milliseconds; what is not there by then is left out. */
const FACTS_TIMEOUT_MS = 3_000;

export type Facts = Record<string, string | number | boolean>;

/** Text as a document may hold it: one line, no control characters. */
function clean(value: string): string | undefined {
  const text = value
    .toWellFormed()
    .replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .trim()
    .slice(0, 300);
  return text === '' || text === '-' ? undefined : text;
}

/** Collects facts of the machine this process runs on; never fails. */
export async function readFacts(): Promise<Facts> {
  const facts: Facts = {};
  const put = (name: string, value: string | number | boolean | undefined) => {
    const kept = typeof value === 'string' ? clean(value) : value;
    if (kept !== undefined && kept !== null && (typeof kept !== 'number' || Number.isFinite(kept))) facts[name] = kept;
  };
  put('cpu.cores', os.availableParallelism());
  put('cpu.model', os.cpus()[0]?.model);
  const ask = async (source: Promise<void>) => source.catch(() => undefined);
  const asked = Promise.all([
    ask(
      si.mem().then((memory) => {
        put('memory.bytes', memory.total);
        put('swap.bytes', memory.swaptotal);
      }),
    ),
    ask(
      si.system().then((system) => {
        put('machine.manufacturer', system.manufacturer);
        put('machine.model', system.model);
        put('machine.virtual', system.virtual);
        put('machine.hypervisor', system.virtualHost);
      }),
    ),
  ]);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, FACTS_TIMEOUT_MS);
  });
  await Promise.race([asked, late]);
  clearTimeout(timer);
  return { ...facts }; // what still comes in later does not reach the caller
}
