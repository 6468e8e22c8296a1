// XML of a vendor as a stream of elements, bounded: no document type (and so no entities but the five of XML), no deep nesting,
// no endless text. Nothing of a file that breaks a bound or its form is believed by whoever reads it through here.
import { SaxesParser } from 'saxes';
import { isFault } from '#manifests/errors';
import { fault } from '../faults.ts';

export const XML_LIMITS = {
  /** Elements in each other; repository metadata has at most 8. */
  depth: 32,
  /** Characters between two tags, and of one tag with its attributes. An advisory's description is the longest, a few thousand. */
  text: 4 * 1024 * 1024,
  /** Attributes of one element. */
  attributes: 64,
} as const;

export interface XmlElement {
  /** Without its prefix: `sourcerpm` of `rpm:sourcerpm`. */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface XmlHandlers {
  /** @param path names of the elements around it, outermost first, its own last. */
  open?(element: XmlElement, path: readonly string[]): void;
  /** @param text all text directly inside the element, trimmed. */
  close?(name: string, text: string, path: readonly string[]): void;
}

const local = (name: string) => name.slice(name.indexOf(':') + 1);

/** Reads a whole file. @throws source.malformed, source.too-large, what the handlers throw */
export async function readXml(chunks: AsyncIterable<Uint8Array>, where: string, handlers: XmlHandlers): Promise<void> {
  const parser = new SaxesParser({ xmlns: false, position: true });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const path: string[] = [];
  const texts: string[] = [];
  let sinceEvent = 0;
  const bad = (says: string, cause?: unknown) =>
    fault('malformed', `${where}, line ${parser.line}: ${says}`, { where, ...(cause === undefined ? {} : { cause }) });
  parser.on('error', (error) => {
    throw bad(error.message.slice(0, 300), error);
  });
  parser.on('doctype', () => {
    throw bad('has a document type, which no repository metadata has');
  });
  parser.on('opentag', ({ name, attributes }) => {
    sinceEvent = 0;
    const entries = Object.entries(attributes);
    if (path.length >= XML_LIMITS.depth) throw bad(`nests deeper than ${XML_LIMITS.depth}`);
    if (entries.length > XML_LIMITS.attributes) throw bad(`<${name.slice(0, 60)}> has ${entries.length} attributes`);
    path.push(local(name));
    texts.push('');
    handlers.open?.({ name: local(name), attributes: Object.fromEntries(entries) }, path);
  });
  const text = (part: string) => {
    sinceEvent = 0;
    const at = texts.length - 1;
    if (at < 0) return;
    texts[at] += part;
    if ((texts[at]?.length ?? 0) > XML_LIMITS.text) throw fault('too-large', `${where}: a text is too long`, { where });
  };
  parser.on('text', text);
  parser.on('cdata', text);
  parser.on('closetag', ({ name }) => {
    sinceEvent = 0;
    handlers.close?.(local(name), (texts.pop() ?? '').trim(), path);
    path.pop();
  });
  const feed = (part: string) => {
    sinceEvent += part.length;
    parser.write(part);
    if (sinceEvent > XML_LIMITS.text) throw fault('too-large', `${where}: a tag or text is too long`, { where });
  };
  try {
    for await (const chunk of chunks) feed(decoder.decode(chunk, { stream: true }));
    feed(decoder.decode());
    parser.close();
  } catch (cause) {
    if (isFault(cause) || !(cause instanceof TypeError)) throw cause;
    throw bad('is not UTF-8', cause);
  }
}
