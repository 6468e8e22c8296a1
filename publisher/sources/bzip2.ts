// Decompression of bzip2, which older RPM repositories use and Node has not. Format: the decompressor of bzip2 1.0.8 (decompress.c,
// huffman.c), whose bounds are kept; every block's and stream's CRC is checked. "Randomised" blocks (bzip2 before 0.9.5) are refused.

const LIMITS = {
  /** Bytes of a block before its runs are unfolded, for each step of `BZh1` to `BZh9`. */
  blockStep: 100_000,
  /** Packed bytes that are at hand before a block is begun: more than 900,001 codes of 20 bits with their tables can have. */
  packedBlock: 3 * 1024 * 1024,
  /** Longest code, in bits. */
  codeBits: 20,
  /** Codes that one table is used for. */
  groupSize: 50,
  /** Bytes given on at once. */
  output: 64 * 1024,
} as const;

const BLOCK_MAGIC = 0x314159265359;
const END_MAGIC = 0x177245385090;

/** Why bytes are not bzip2; the caller says of which file. */
class Bzip2Error extends Error {
  override readonly name = 'Bzip2Error';
}

const bad = (says: string) => new Bzip2Error(`bzip2: ${says}`);

/** Packed bytes in front of the decoder, read by bits, the highest first. */
class BitReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** Bits of the last byte taken that are not used yet. */
  #held = 0;
  #heldBits = 0;

  /** Whole bytes not taken yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  add(chunk: Uint8Array): void {
    const rest = this.#bytes.subarray(this.#at);
    const all = new Uint8Array(rest.length + chunk.length);
    all.set(rest);
    all.set(chunk, rest.length);
    this.#bytes = all;
    this.#at = 0;
  }

  /** Up to 24 bits. */
  bits(count: number): number {
    while (this.#heldBits < count) {
      const next = this.#bytes[this.#at];
      if (next === undefined) throw bad('ends early');
      this.#at += 1;
      this.#held = ((this.#held & ((1 << this.#heldBits) - 1)) << 8) | next;
      this.#heldBits += 8;
    }
    this.#heldBits -= count;
    return (this.#held >>> this.#heldBits) & ((1 << count) - 1);
  }

  word(): number {
    return ((this.bits(16) << 16) | this.bits(16)) >>> 0;
  }

  magic(): number {
    return this.bits(24) * 0x1000000 + this.bits(24);
  }

  /** What is left of the byte begun is filling. */
  align(): void {
    this.#heldBits = 0;
  }
}

/** One table of codes, as canonical Huffman decoding needs it. */
interface CodeTable {
  readonly shortest: number;
  /** By length: the largest code of it, and what is taken off a code for its place in `symbols`. */
  readonly limit: Int32Array;
  readonly base: Int32Array;
  readonly symbols: readonly number[];
}

/**
 * The plain bytes of one or several bzip2 streams one after the other.
 * @throws Bzip2Error on anything that is not whole and right
 */
export async function* unbzip2(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const input = new BitReader();
  const chunks = source[Symbol.asyncIterator]();
  let ended = false;
  const fill = async () => {
    const pending: Uint8Array[] = [];
    let size = 0;
    while (!ended && input.left + size < LIMITS.packedBlock) {
      const next = await chunks.next();
      if (next.done === true) ended = true;
      else {
        pending.push(next.value);
        size += next.value.length;
      }
    }
    if (pending.length > 0) input.add(Buffer.concat(pending, size));
  };
  try {
    await fill();
    do {
      if (input.bits(24) !== 0x425a68) throw bad('does not begin with BZh');
      const level = input.bits(8) - 0x30;
      if (level < 1 || level > 9) throw bad('has no block size');
      let combined = 0;
      for (;;) {
        await fill();
        const magic = input.magic();
        const crc = input.word();
        if (magic === END_MAGIC) {
          if (crc !== combined) throw bad('has another sum than it says');
          break;
        }
        if (magic !== BLOCK_MAGIC) throw bad('has something that is no block');
        yield* readBlock(input, level * LIMITS.blockStep, crc);
        combined = (((combined << 1) | (combined >>> 31)) ^ crc) >>> 0;
      }
      input.align();
      await fill();
    } while (input.left > 0);
  } finally {
    await chunks.return?.();
  }
}

function* readBlock(input: BitReader, size: number, crc: number): Generator<Uint8Array> {
  if (input.bits(1) === 1) throw bad('has a randomised block');
  const origin = input.bits(24);
  const used = readUsed(input);
  const alphabet = used.length + 2;
  const tableCount = input.bits(3);
  if (tableCount < 2 || tableCount > 6) throw bad('has no tables');
  const selectors = readSelectors(input, tableCount);
  const tables = Array.from({ length: tableCount }, () => readTable(input, alphabet));
  const { words, counts, length } = readSymbols(input, used, selectors, tables, size);
  if (origin >= length) throw bad('has a block that begins nowhere');
  yield* unfold(order(words, counts, length), words[origin] ?? 0, length, crc);
}

/** The bytes that the block has at all. */
function readUsed(input: BitReader): number[] {
  const ranges = input.bits(16);
  const used: number[] = [];
  for (let range = 0; range < 16; range += 1) {
    if ((ranges & (0x8000 >> range)) === 0) continue;
    const inside = input.bits(16);
    for (let byte = 0; byte < 16; byte += 1) if ((inside & (0x8000 >> byte)) !== 0) used.push(range * 16 + byte);
  }
  if (used.length === 0) throw bad('has a block of nothing');
  return used;
}

/** Which table counts for each group of codes: moved to the front, and counted in ones. */
function readSelectors(input: BitReader, tableCount: number): Uint8Array {
  const selectors = new Uint8Array(input.bits(15));
  if (selectors.length === 0) throw bad('has no selectors');
  const recent = Array.from({ length: tableCount }, (_, at) => at);
  for (let at = 0; at < selectors.length; at += 1) {
    let place = 0;
    while (input.bits(1) === 1) {
      place += 1;
      if (place >= tableCount) throw bad('selects a table that is not there');
    }
    const [chosen = 0] = recent.splice(place, 1);
    recent.unshift(chosen);
    selectors[at] = chosen;
  }
  return selectors;
}

function readTable(input: BitReader, alphabet: number): CodeTable {
  const lengths = new Uint8Array(alphabet);
  let length = input.bits(5);
  for (let symbol = 0; symbol < alphabet; symbol += 1) {
    // Each step is two bits: a hostile file can have no more of them than packed bytes are at hand.
    for (;;) {
      if (length < 1 || length > LIMITS.codeBits) throw bad('has a code that is too long');
      if (input.bits(1) === 0) break;
      length += input.bits(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  const symbols: number[] = [];
  const limit = new Int32Array(LIMITS.codeBits + 2).fill(-1);
  const base = new Int32Array(LIMITS.codeBits + 2);
  let code = 0;
  for (let bits = 1; bits <= LIMITS.codeBits; bits += 1) {
    base[bits] = code - symbols.length;
    for (let symbol = 0; symbol < alphabet; symbol += 1) {
      if (lengths[symbol] !== bits) continue;
      symbols.push(symbol);
      code += 1;
    }
    limit[bits] = code - 1;
    code <<= 1;
  }
  return { shortest: Math.min(...lengths), limit, base, symbols };
}

interface Symbols {
  /** The block's bytes in the order of its sorted rotations. */
  readonly words: Uint32Array;
  /** How often each byte is there. */
  readonly counts: Uint32Array;
  readonly length: number;
}

/** Codes to bytes: Huffman, then runs of the byte in front (written in base 2 without a zero), then moves to the front. */
function readSymbols(
  input: BitReader,
  used: readonly number[],
  selectors: Uint8Array,
  tables: readonly CodeTable[],
  size: number,
): Symbols {
  const words = new Uint32Array(size);
  const counts = new Uint32Array(256);
  const recent = Uint8Array.from(used);
  const end = used.length + 1;
  let length = 0;
  let run = 0;
  let weight = 1;
  let group = -1;
  let left = 0;
  let table = tables[0];
  for (;;) {
    if (left === 0) {
      group += 1;
      table = tables[selectors[group] ?? -1];
      left = LIMITS.groupSize;
    }
    left -= 1;
    if (table === undefined) throw bad('has more codes than selectors');
    const symbol = readSymbol(input, table);
    if (symbol <= 1) {
      if (weight > size) throw bad('has a run that is too long');
      run += weight << symbol;
      weight <<= 1;
      continue;
    }
    if (run > 0) {
      if (length + run > size) throw bad('has a block that is too long');
      const front = recent[0] ?? 0;
      words.fill(front, length, length + run);
      counts[front] = (counts[front] ?? 0) + run;
      length += run;
      run = 0;
      weight = 1;
    }
    if (symbol === end) return { words, counts, length };
    if (length >= size) throw bad('has a block that is too long');
    const byte = recent[symbol - 1] ?? 0;
    recent.copyWithin(1, 0, symbol - 1);
    recent[0] = byte;
    words[length] = byte;
    counts[byte] = (counts[byte] ?? 0) + 1;
    length += 1;
  }
}

function readSymbol(input: BitReader, { shortest, limit, base, symbols }: CodeTable): number {
  let bits = shortest;
  let code = input.bits(bits);
  while (code > (limit[bits] ?? -1)) {
    bits += 1;
    if (bits > LIMITS.codeBits) throw bad('has a code that means nothing');
    code = (code << 1) | input.bits(1);
  }
  const symbol = symbols[code - (base[bits] ?? 0)];
  if (symbol === undefined) throw bad('has a code that means nothing');
  return symbol;
}

/** Puts beside each byte, above its 8 bits, where the one after it lies. */
function order(words: Uint32Array, counts: Uint32Array, length: number): Uint32Array {
  const starts = new Uint32Array(256);
  let sum = 0;
  for (let byte = 0; byte < 256; byte += 1) {
    starts[byte] = sum;
    sum += counts[byte] ?? 0;
  }
  for (let at = 0; at < length; at += 1) {
    const byte = (words[at] ?? 0) & 0xff;
    const place = starts[byte] ?? 0;
    starts[byte] = place + 1;
    words[place] = ((words[place] ?? 0) | (at << 8)) >>> 0;
  }
  return words;
}

/** Walks through the block; four equal bytes are followed by how many more of them there are. */
function* unfold(words: Uint32Array, origin: number, length: number, crc: number): Generator<Uint8Array> {
  let output = new Uint8Array(LIMITS.output);
  let filled = 0;
  let sum = 0xffffffff;
  let same = 0;
  let last = -1;
  let at = origin >>> 8;
  for (let done = 0; done < length; done += 1) {
    const word = words[at] ?? 0;
    const byte = word & 0xff;
    at = word >>> 8;
    let times = 1;
    let put = byte;
    if (same === 4) {
      times = byte;
      put = last;
      same = 0;
      last = -1;
    } else {
      same = byte === last ? same + 1 : 1;
      last = byte;
    }
    for (; times > 0; times -= 1) {
      output[filled] = put;
      filled += 1;
      sum = (sum << 8) ^ (CRC_TABLE[(sum >>> 24) ^ put] ?? 0);
      if (filled < LIMITS.output) continue;
      yield output;
      output = new Uint8Array(LIMITS.output);
      filled = 0;
    }
  }
  if (~sum >>> 0 !== crc) throw bad('has a block with another sum than it says');
  if (filled > 0) yield output.subarray(0, filled);
}

/** CRC-32 with the highest bit first (polynomial 04C11DB7), as bzip2 has it; zlib's is the other way round. */
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte << 24;
  for (let bit = 0; bit < 8; bit += 1) rest = rest < 0 ? (rest << 1) ^ 0x04c11db7 : rest << 1;
  return rest;
});
