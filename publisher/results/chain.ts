// Pure: what the results of one agent say about its chain – how far it is whole, what is missing, where it splits in two.
// No store, no clock: rows in, verdict out, the same for every order of arrival.

/** One stored result, reduced to what the chain needs. */
export interface ChainLink {
  readonly sequence: number;
  /** Hash of the whole envelope. */
  readonly hash: string;
  /** Hash of the envelope before, as the agent named it. */
  readonly previous: string | null;
  /** Of the body without `previous`: equal in two envelopes when one result was sealed twice. */
  readonly contentSha256: string;
  /** Trusted time of the agent, `YYYY-MM-DDTHH:MM:SSZ`. */
  readonly at: string;
}

/** An enrolment envelope a chain may start from. */
export interface ChainRoot {
  readonly sequence: number;
  readonly hash: string;
}

/**
 * Where a chain has two continuations. `clone`: both went on at the same time, so two machines hold one key. `reverted`: one
 * ends before the other begins, so one machine was put back to an older image (or a clone that has spoken only once).
 */
export interface Fork {
  readonly sequence: number;
  readonly kind: 'clone' | 'reverted';
  /** Envelope hashes of the first result of each side, sorted. */
  readonly hashes: readonly string[];
}

export interface ChainVerdict {
  /** Last result that is covered without a gap and without a clone: what an ack names. Null when there is none. */
  readonly watermark: { readonly sequence: number; readonly hash: string } | null;
  /** Sequence numbers that never arrived, as closed ranges. */
  readonly gaps: ReadonlyArray<{ readonly from: number; readonly to: number }>;
  readonly forks: readonly Fork[];
}

interface Node {
  readonly sequence: number;
  readonly previous: string | null;
  /** All hashes it was sealed under, and all that its seals name as the one before. */
  readonly hashes: string[];
  readonly named: Set<string | null>;
  readonly children: Node[];
  parent: Node | undefined;
  rooted: boolean;
  first: string;
  last: string;
}

const hashOf = (node: Node): string => node.hashes[0] ?? '';

/** Whether a result may begin a chain: number 0 or 1, or the one right after the enrolment it names. */
export function startsChain(link: Pick<ChainLink, 'sequence' | 'previous'>, roots: readonly ChainRoot[]): boolean {
  if (link.sequence <= 1) return true;
  return roots.some((root) => root.hash === link.previous && root.sequence + 1 === link.sequence);
}

/** Judges all stored results of one agent. Linear in their number, but for the sort. */
export function judgeChain(links: readonly ChainLink[], roots: readonly ChainRoot[]): ChainVerdict {
  const nodes = buildNodes(links, roots);
  const forks = findForks(nodes);
  return { watermark: findWatermark(nodes, forks), gaps: findGaps(nodes), forks: forks.map(({ fork }) => fork) };
}

function buildNodes(links: readonly ChainLink[], roots: readonly ChainRoot[]): Node[] {
  const byContent = new Map<string, Node>();
  const byHash = new Map<string, Node>();
  const ordered = links.toSorted((a, b) => a.sequence - b.sequence || (a.hash < b.hash ? -1 : 1));
  for (const link of ordered) {
    const key = `${link.sequence}:${link.contentSha256}`;
    let node = byContent.get(key);
    if (node === undefined) {
      node = {
        sequence: link.sequence,
        previous: link.previous,
        hashes: [],
        named: new Set(),
        children: [],
        parent: undefined,
        rooted: false,
        first: link.at,
        last: link.at,
      };
      byContent.set(key, node);
    }
    node.hashes.push(link.hash);
    node.named.add(link.previous);
    byHash.set(link.hash, node);
  }
  const nodes = [...byContent.values()];
  for (const node of nodes) {
    const parents = [...node.named].flatMap((hash) => (hash === null ? [] : (byHash.get(hash) ?? [])));
    const parent = parents.find((candidate) => candidate.sequence < node.sequence);
    if (parent !== undefined) {
      node.parent = parent;
      parent.children.push(node);
    }
    node.rooted = node.parent === undefined ? startsChain(node, roots) : node.parent.rooted;
  }
  for (const node of nodes.toReversed()) {
    const { parent } = node;
    if (parent === undefined) continue;
    if (node.first < parent.first) parent.first = node.first;
    if (node.last > parent.last) parent.last = node.last;
  }
  return nodes;
}

interface FoundFork {
  readonly fork: Fork;
  readonly heads: ReadonlySet<Node>;
}

function findForks(nodes: readonly Node[]): FoundFork[] {
  const bySequence = Map.groupBy(nodes, (node) => node.sequence);
  const found: FoundFork[] = [];
  const add = (heads: readonly Node[]) => {
    const hashes = heads.map(hashOf).toSorted();
    const sequence = Math.max(...heads.map((head) => head.sequence));
    found.push({ fork: { sequence, kind: kindOf(heads), hashes }, heads: new Set(heads) });
  };
  const starts = nodes.filter((node) => node.rooted && node.parent === undefined);
  if (starts.length > 1) add(starts);
  // Two results after one: the parent itself need not have arrived.
  const siblings = Map.groupBy(
    nodes.filter((node) => node.previous !== null && !starts.includes(node)),
    (node) => (node.parent === undefined ? (node.previous ?? '') : hashOf(node.parent)),
  );
  const inSiblings = new Set<Node>();
  for (const group of siblings.values()) {
    if (group.length < 2) continue;
    add(group);
    for (const node of group) inSiblings.add(node);
  }
  for (const [sequence, group] of bySequence) {
    const lost = group.filter((node) => node.parent === undefined && !node.rooted);
    // The one before is here, and it is not the one that is named.
    const before = bySequence.get(sequence - 1) ?? [];
    if (lost.length > 0 && before.length > 0) add([...before, ...lost]);
    else if (lost.length > 0 && group.length > 1 && !group.every((node) => inSiblings.has(node))) add(group);
  }
  return found.toSorted((a, b) => a.fork.sequence - b.fork.sequence || (a.fork.hashes.join() < b.fork.hashes.join() ? -1 : 1));
}

/** `clone` when any two sides overlap in time. Times are to the second, so sides that only touch count as overlapping. */
function kindOf(heads: readonly Node[]): Fork['kind'] {
  const ordered = heads.toSorted((a, b) => (a.first === b.first ? (a.last < b.last ? -1 : 1) : a.first < b.first ? -1 : 1));
  let end = '';
  for (const head of ordered) {
    if (end !== '' && head.first <= end) return 'clone';
    if (head.last > end) end = head.last;
  }
  return 'reverted';
}

function findGaps(nodes: readonly Node[]): { from: number; to: number }[] {
  const gaps: { from: number; to: number }[] = [];
  const start = nodes.find((node) => node.rooted)?.sequence ?? 1;
  let next = start;
  for (const { sequence } of nodes) {
    if (sequence > next) gaps.push({ from: next, to: sequence - 1 });
    if (sequence >= next) next = sequence + 1;
  }
  return gaps;
}

function findWatermark(nodes: readonly Node[], forks: readonly FoundFork[]): ChainVerdict['watermark'] {
  const numbers = new Set(nodes.map((node) => node.sequence));
  const clones = new Set(forks.filter(({ fork }) => fork.kind === 'clone').flatMap(({ heads }) => [...heads]));
  let tip: Node | undefined;
  for (const node of nodes) if (node.rooted && (tip === undefined || later(node, tip))) tip = node;
  // Time that went backwards inside a side must not hide what follows.
  while (tip !== undefined && tip.children.length > 0) tip = tip.children.reduce((a, b) => (later(b, a) ? b : a));
  const path: Node[] = [];
  for (let node = tip; node !== undefined; node = node.parent) path.push(node);
  path.reverse();
  let watermark: ChainVerdict['watermark'] = null;
  for (const [index, node] of path.entries()) {
    const before = path[index - 1];
    if (clones.has(node) || (before !== undefined && !allPresent(numbers, before.sequence + 1, node.sequence))) break;
    // Sealed twice: only the next one says which of the two the agent holds. Until then the ack passes over it.
    const named = path[index + 1]?.named ?? new Set<string | null>();
    const [hash] = node.hashes.length === 1 ? node.hashes : named.size === 1 ? named : [];
    if (typeof hash === 'string') watermark = { sequence: node.sequence, hash };
  }
  return watermark;
}

/** A machine that was put back may jump over numbers it knows to be used; the ack follows only over such as are here. */
function allPresent(numbers: ReadonlySet<number>, from: number, to: number): boolean {
  if (to - from > numbers.size) return false;
  for (let at = from; at < to; at += 1) if (!numbers.has(at)) return false;
  return true;
}

function later(a: Node, b: Node): boolean {
  if (a.last !== b.last) return a.last > b.last;
  if (a.sequence !== b.sequence) return a.sequence > b.sequence;
  return hashOf(a) > hashOf(b);
}
