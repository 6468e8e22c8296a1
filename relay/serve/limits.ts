// All limits of the relay's own server, with units (row S24: slow or huge requests, many connections, header floods).

export const SERVE_LIMITS = {
  /** Milliseconds from a connection (or the request before) to the end of a request's headers. */
  headersMs: 15_000,
  /** Milliseconds from a request's first byte to the end of its body. */
  requestMs: 60_000,
  /** Bytes a second at which a body must come at least, beyond that time: a thin line may take long, a slow client may not. */
  uploadBytesPerSecond: 2_048,
  /** Milliseconds for a TLS handshake, and between two looks whether the certificate was renewed. */
  handshakeMs: 15_000,
  renewalMs: 60_000,
  /** Clients whose rate is kept apart; further ones share the room of the one seen least. */
  clients: 8_192,
  /** Milliseconds a connection may be idle between two requests. */
  keepAliveMs: 15_000,
  /** Milliseconds without any progress after which a connection is closed. */
  idleMs: 60_000,
  /** Milliseconds in which a client must have taken one piece of a large file. */
  pieceMs: 900_000,
  /** Milliseconds between two looks at those times. */
  checkEveryMs: 2_000,
  /** Bytes of a request's headers together. */
  headerBytes: 8_192,
  /** Header lines of a request. */
  headerLines: 50,
  /** Connections at a time, and of one address. */
  connections: 4_096,
  connectionsOfOne: 256,
  /** Requests on one connection. */
  requestsOfOne: 100_000,
  /** Bytes of a path. */
  pathBytes: 1_200,
  /** Bytes up to which a file is kept in memory, and of all kept files together. */
  smallFileBytes: 256 * 1024,
  memoryBytes: 64 * 1024 * 1024,
  /** Bytes of one read of a large file. */
  pieceBytes: 1024 * 1024,
  /** Milliseconds between two looks at which generation is current. */
  generationMs: 200,
  /** Milliseconds that requests in progress get when the relay is stopped. */
  graceMs: 5_000,
} as const;

export type ServeLimits = { readonly [K in keyof typeof SERVE_LIMITS]: number };

/** Bytes of one upload to the inbox at most; the inbox has the same as its own limit. */
export const INBOX_BYTES = 16 * 1024 * 1024;
