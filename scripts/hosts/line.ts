// A thin line for tests: takes connections at one end, makes them at the other, with a rate, a delay, stalls as lost packets
// make them, and cuts at chosen bytes or moments. Counts what went through. (The kernel of test machines has no netem.)
import * as net from 'node:net';
import { pause } from '#manifests/platform/clock';

export interface LineOptions {
  /** Where connections are taken. */
  readonly from: { readonly host: string; readonly port: number };
  readonly to: { readonly host: string; readonly port: number };
  /** Bytes a second in each direction. */
  readonly bytesPerSecond?: number;
  /** Milliseconds each way. */
  readonly delayMs?: number;
  /** Every so many pieces one is lost and comes again after a time-out. */
  readonly lossEvery?: number;
}

/** Bytes that go at once: what a cut loses at most of what was counted, with what the kernel still holds. */
const PIECE = 4_096;
/** First retransmission time-out of TCP in Linux, milliseconds. */
const RETRANSMIT_MS = 200;

export class Line {
  /** Bytes towards the taker of files, and the other way. */
  down = 0;
  up = 0;
  cuts = 0;
  /** While true, connections are refused and those there are end. */
  #closed = false;
  #cutAt: number[] = [];
  readonly #options: LineOptions;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** When the next piece may go, for each direction; all connections share the line. */
  readonly #freeAt = { down: 0, up: 0 };
  #pieces = 0;

  private constructor(options: LineOptions) {
    this.#options = options;
    this.#server = net.createServer({ allowHalfOpen: true }, (near) => this.#join(near));
  }

  static async open(options: LineOptions): Promise<Line> {
    const line = new Line(options);
    line.#server.listen(options.from.port, options.from.host);
    await new Promise<void>((resolve, reject) => {
      line.#server.once('listening', resolve);
      line.#server.once('error', reject);
    });
    return line;
  }

  get url(): string {
    const { address, port } = this.#server.address() as net.AddressInfo;
    return `http://${address}:${port}`;
  }

  /** Cuts each time so many more bytes have come down from now on, once for each number. */
  cutAfter(...bytes: readonly number[]): void {
    let at = this.down;
    this.#cutAt = bytes.map((more) => (at += more));
  }

  /** Everything under way is lost. */
  cut(): void {
    this.cuts += 1;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Takes the line away, or gives it back. */
  set closed(closed: boolean) {
    this.#closed = closed;
    if (closed) this.cut();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #join(near: net.Socket): void {
    if (this.#closed) return void near.resetAndDestroy();
    const far = net.connect({ ...this.#options.to, allowHalfOpen: true });
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    this.#carry(far, near, 'down').catch(() => near.destroy());
    this.#carry(near, far, 'up').catch(() => far.destroy());
  }

  async #carry(from: net.Socket, to: net.Socket, way: 'down' | 'up'): Promise<void> {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += PIECE) {
        const piece = chunk.subarray(at, at + PIECE);
        await this.#turn(piece.length, way);
        if (to.destroyed) return;
        this[way] += piece.length;
        if (!to.write(piece)) await new Promise<void>((resolve) => to.once('drain', resolve).once('close', () => resolve()));
        const [next] = this.#cutAt;
        if (way === 'down' && next !== undefined && this.down >= next) {
          this.#cutAt.shift();
          this.cut();
          return;
        }
      }
    }
    to.end();
  }

  /** Waits until this piece has gone over the line. */
  async #turn(bytes: number, way: 'down' | 'up'): Promise<void> {
    const { bytesPerSecond, delayMs = 0, lossEvery } = this.#options;
    const now = performance.now();
    this.#pieces += 1;
    const lost = lossEvery !== undefined && this.#pieces % lossEvery === 0 ? RETRANSMIT_MS : 0;
    const takes = bytesPerSecond === undefined ? 0 : (bytes * 1_000) / bytesPerSecond;
    this.#freeAt[way] = Math.max(now, this.#freeAt[way]) + takes + lost;
    const wait = this.#freeAt[way] - now + delayMs;
    if (wait > 1) await pause(wait);
  }
}
