// Every bound of bundles in one place, with its unit. What is larger is refused before memory, disk or time is spent on it.

export const BUNDLE_LIMITS = {
  /** Bytes of a chunk, the unit that is checked, resumed and fetched again. */
  chunkBytes: 4 * 1024 * 1024,
  /** Bounds of the chunk size that an index may state, bytes. */
  leastChunkBytes: 4 * 1024,
  mostChunkBytes: 16 * 1024 * 1024,
  /** Bytes of a part: by default 1 GiB, … */
  partBytes: 1024 * 1024 * 1024,
  /** … and never more than a FAT32 file holds (4 GiB - 1). Also the bound of a volume of a container. */
  mostPartBytes: 4 * 1024 * 1024 * 1024 - 1,
  /** Chunks of a bundle: 4 TiB at the default size; the leaves file has 32 bytes for each. */
  chunks: 1_048_576,
  /** Bytes of a signed index; version 1 carries its lists inside. */
  indexBytes: 16 * 1024 * 1024,
  /** Bytes of the list of entries, stored and unpacked. */
  listBytes: 64 * 1024 * 1024,
  listPlainBytes: 256 * 1024 * 1024,
  /** Files in a bundle. */
  entries: 500_000,
  /** Characters of a path inside, and folders deep. */
  pathLength: 400,
  pathDepth: 12,
  /** Files beside or inside one container: volumes, and members. */
  volumes: 2_000,
  members: 2_000,
  /** Names looked at on a medium before it is taken for something else. */
  namesOnMedium: 10_000,
  /** Recipients a bundle may be sealed to. */
  recipients: 20,
  /** Bytes of MEDIUM.json, RECEIPT.txt; and of a request. */
  noteBytes: 256 * 1024,
  requestBytes: 32 * 1024 * 1024,
  requestRows: 200_000,
  /** Bytes between two flushes of what was received. */
  flushBytes: 256 * 1024 * 1024,
  /** Bytes kept free on the receiving disk and on the medium. */
  reserveBytes: 8 * 1024 * 1024,
  /** Milliseconds 7-Zip may take to list; and for each GiB to pack or unpack, beside a fixed minute. */
  listMs: 60_000,
  packMsPerGiB: 600_000,
  /** Bytes of 7-Zip's listing that are read. */
  listingBytes: 2 * 1024 * 1024,
} as const;
