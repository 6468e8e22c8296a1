// A network of namespaces for tests: places behind lines of their own to one middle (this machine), where the lines' far ends
// listen. The kernel holds a line to its rate (tbf); delay, stalls and cuts are the line's own doing, see line.ts.
import { randomBytes } from 'node:crypto';
import { runOrThrow } from '#manifests/platform/process';
import { Holdings, networkTurn } from './holdings.ts';
import { freeSubnet } from './host.ts';

const COMMAND_MS = 60_000;

/** One namespace. */
export interface Place {
  readonly name: string;
  /** Its address on its line to the middle. */
  readonly address: string;
  /** The middle's end of that line: the only address beyond its own site that the place reaches. */
  readonly middle: string;
  /** Its address at its site; null when it stands alone. */
  readonly inner: string | null;
  /** Program and arguments that run a command there. */
  inside(command: readonly string[]): [string, string[]];
}

export interface PlacePlan {
  readonly name: string;
  /** Places of one site reach each other as on one switch. */
  readonly site?: string;
  /** Bits a second of the line to the middle; without, as fast as it goes. False: no line at all. */
  readonly rate?: number | false;
}

export class TestNetwork {
  readonly places: ReadonlyMap<string, Place>;
  /** Tests note here what they make beside the network, so that it is given back with it. */
  readonly holdings: Holdings;

  private constructor(places: ReadonlyMap<string, Place>, holdings: Holdings) {
    this.places = places;
    this.holdings = holdings;
  }

  static async open(plans: readonly PlacePlan[]): Promise<TestNetwork> {
    const tag = randomBytes(2).toString('hex');
    const places = new Map<string, Place>();
    const holdings = await Holdings.open();
    const network = new TestNetwork(places, holdings);
    try {
      const ip = (...args: string[]) => runOrThrow('ip', args, { timeoutMs: COMMAND_MS });
      const sites = [...new Set(plans.flatMap(({ site }) => site ?? []))];
      for (const site of sites) {
        holdings.add('namespaces', `pf${tag}-${site}`);
        await ip('netns', 'add', `pf${tag}-${site}`);
        await ip('-n', `pf${tag}-${site}`, 'link', 'add', 'switch', 'type', 'bridge');
        await ip('-n', `pf${tag}-${site}`, 'link', 'set', 'switch', 'up');
      }
      for (const [number, { name, site, rate }] of plans.entries()) {
        const namespace = `pf${tag}-${name}`;
        holdings.add('namespaces', namespace);
        await ip('netns', 'add', namespace);
        await ip('-n', namespace, 'link', 'set', 'lo', 'up');
        using turn = await networkTurn();
        const subnet = freeSubnet();
        if (rate !== false) {
          const link = `pf${tag}${number}`;
          holdings.add('links', link);
          await ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'line0', 'netns', namespace);
          await ip('address', 'add', `${subnet}.1/24`, 'dev', link);
          await ip('link', 'set', link, 'up');
          turn.release();
          await ip('-n', namespace, 'address', 'add', `${subnet}.2/24`, 'dev', 'line0');
          await ip('-n', namespace, 'link', 'set', 'line0', 'up');
          if (rate !== undefined) {
            const shape = ['root', 'tbf', 'rate', `${rate}bit`, 'burst', '8k', 'latency', '400ms'];
            await runOrThrow('tc', ['qdisc', 'add', 'dev', link, ...shape], { timeoutMs: COMMAND_MS });
            await runOrThrow('tc', ['-n', namespace, 'qdisc', 'add', 'dev', 'line0', ...shape], { timeoutMs: COMMAND_MS });
          }
        }
        const inner = site === undefined ? null : `10.214.${sites.indexOf(site)}.${number + 1}`;
        if (inner !== null) {
          const [port, home] = [`p${number}`, `pf${tag}-${site}`];
          await ip('-n', namespace, 'link', 'add', 'site0', 'type', 'veth', 'peer', 'name', port, 'netns', home);
          await ip('-n', namespace, 'address', 'add', `${inner}/24`, 'dev', 'site0');
          await ip('-n', namespace, 'link', 'set', 'site0', 'up');
          await ip('-n', home, 'link', 'set', port, 'master', 'switch', 'up');
        }
        places.set(name, {
          name,
          address: `${subnet}.2`,
          middle: `${subnet}.1`,
          inner,
          inside: (command) => ['ip', ['netns', 'exec', namespace, ...command]],
        });
      }
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  place(name: string): Place {
    const found = this.places.get(name);
    if (found === undefined) throw new Error(`there is no place ${name}`);
    return found;
  }

  /** Gives everything back. Never throws. */
  async close(): Promise<void> {
    await this.holdings.close();
  }
}
