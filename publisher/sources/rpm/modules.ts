// Reads modules.yaml: which packages belong to which stream of which module. Such packages are for hosts that have enabled that
// stream; dnf on the host holds to it (it reads the same file), and decisions do. Format: modulemd version 1 and 2 (libmodulemd,
// yaml_specs/modulemd_stream_v2.yaml). Defaults, obsoletes and translations say nothing about packages and are passed over.
import { parseDocument } from 'yaml';
import { moduleStream } from '#manifests/schema';
import { fault, SOURCE_LIMITS } from '../faults.ts';

export interface ModuleArtifacts {
  /** `nodejs:18` */
  readonly stream: string;
  /** `name-epoch:version-release.arch` */
  readonly packages: readonly string[];
}

const LIMITS = {
  /** Characters of one document; the largest of Red Hat's have 200 KB. */
  document: 4 * 1024 * 1024,
  /** Documents of one file; Red Hat's AppStream has about 1,000. */
  documents: 100_000,
} as const;

/** Kinds of documents besides streams (libmodulemd). */
const OTHERS = new Set(['modulemd-defaults', 'modulemd-obsoletes', 'modulemd-translations', 'modulemd-packager']);

/**
 * Calls `take` for every stream. Memory is bounded by one document.
 * @returns how many streams (a stream that was built several times counts as often)
 * @throws source.malformed, source.too-large
 */
export async function readModules(
  chunks: AsyncIterable<Uint8Array>,
  where: string,
  take: (found: ModuleArtifacts) => void,
): Promise<number> {
  let documents = 0;
  let streams = 0;
  for await (const text of documentsOf(chunks, where)) {
    documents += 1;
    if (documents > LIMITS.documents) throw fault('too-large', `${where}: more than ${LIMITS.documents} documents`, { where });
    const found = artifactsOf(text, `${where}, document ${documents}`);
    if (found === undefined) continue;
    streams += 1;
    take(found);
  }
  return streams;
}

/** The YAML documents of a stream, each as text, without anything of YAML being read yet. */
async function* documentsOf(chunks: AsyncIterable<Uint8Array>, where: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  let lines: string[] = [];
  let size = 0;
  const malformed = (cause: unknown) => fault('malformed', `${where} is not UTF-8`, { where, cause });
  const decode = (chunk?: Uint8Array) => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true });
    } catch (cause) {
      throw malformed(cause);
    }
  };
  const isMark = (line: string) => /^(?:---|\.\.\.)(?:\s|$)/.test(line);
  const give = function* (whole: readonly string[]): Generator<string> {
    for (const line of whole) {
      if (isMark(line)) {
        if (lines.some((one) => one.trim() !== '')) yield lines.join('\n');
        [lines, size] = [[], 0];
        continue;
      }
      lines.push(line);
      size += line.length + 1;
      if (size > LIMITS.document) throw fault('too-large', `${where}: a document is too long`, { where });
    }
  };
  for await (const chunk of chunks) {
    const whole = (rest + decode(chunk)).split('\n');
    rest = whole.pop() ?? '';
    if (rest.length > LIMITS.document) throw fault('too-large', `${where}: a line is too long`, { where });
    yield* give(whole);
  }
  yield* give([rest + decode(), '---']);
}

function artifactsOf(text: string, where: string): ModuleArtifacts | undefined {
  const bad = (says: string) => fault('malformed', `${where}: ${says}`, { where });
  const parsed = parseDocument(text, { schema: 'failsafe', uniqueKeys: true, version: '1.2' });
  const [error] = parsed.errors;
  if (error !== undefined) throw bad(error.message.slice(0, 300));
  let value: unknown;
  try {
    value = parsed.toJS({ maxAliasCount: 0 });
  } catch (cause) {
    throw bad((cause as Error).message.slice(0, 300));
  }
  const top = fieldsOf(value);
  if (top === undefined || typeof top['document'] !== 'string') throw bad('is no document of modulemd');
  if (OTHERS.has(top['document'])) return undefined;
  if (top['document'] !== 'modulemd') throw bad(`is of a kind that is not known: ${top['document'].slice(0, 60)}`);
  const data = fieldsOf(top['data']);
  const rpms = fieldsOf(data?.['artifacts'])?.['rpms'] ?? [];
  if (data === undefined || !Array.isArray(rpms)) throw bad('has no data, or artifacts that are no list');
  const { name, stream: own } = data;
  const stream = `${String(name)}:${String(own)}`;
  if (typeof name !== 'string' || typeof own !== 'string' || !moduleStream.safeParse(stream).success) {
    throw bad(`has the wrong name or stream ${JSON.stringify(stream.slice(0, 120))}`);
  }
  if (rpms.length > SOURCE_LIMITS.packages) throw fault('too-large', `${where}: too many packages`, { where });
  return { stream, packages: rpms.map((item) => nevraOf(item, bad)) };
}

/** `nodejs-1:18.19.0-1.el9.x86_64`; the epoch is always written. */
function nevraOf(item: unknown, bad: (says: string) => Error): string {
  if (typeof item === 'string' && /^[^\s:]+-\d+:[^\s:-]+-[^\s:-]+\.[a-z0-9_]+$/.test(item)) return item;
  throw bad(`lists ${JSON.stringify(item)?.slice(0, 200)}, which is no package with its epoch`);
}

function fieldsOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}
