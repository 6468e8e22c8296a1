// What installers of Windows and macOS have in common: one payload, one program that is run quietly, an exit code that is read, and a
// look at what is installed afterwards. The systems themselves are tables in windows/ and macos/. Not run on such hosts.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { pause } from '#manifests/platform/clock';
import { type RunResult, run } from '#manifests/platform/process';
import { formatBytes } from '#manifests/platform/progress';
import type { InstalledPackage } from '#manifests/schema';
import { fault } from './host.ts';
import type { HostContext, InstallItem, InstallPlan, PackageSystem, Precheck, SystemFormat } from './system.ts';

const INSTALLER_LIMITS = {
  /** For one installer. */
  installMs: 60 * 60 * 1000,
  askMs: 60_000,
  outputBytes: 1024 * 1024,
  /** Between two tries while another installation runs. */
  busyStepMs: 5_000,
  busyMs: 120_000,
  /** Bytes an installer unpacks for each of its own. */
  expectedRatio: 4,
} as const;

/** Runs a program of the host. @throws process.missing */
export type Execute = (command: string, args: readonly string[], env?: Readonly<Record<string, string>>) => Promise<RunResult>;

/** What an exit code says. `reboot`: done, and the host has to start anew; `busy`: another installation runs. */
export interface InstallerSays {
  readonly kind: 'done' | 'reboot' | 'busy' | 'failed';
  readonly says: string;
}

/** One kind of installer, as a table. */
export interface InstallerKind {
  readonly format: SystemFormat;
  readonly platform: NodeJS.Platform;
  /** File name ending that its program insists on. */
  readonly ending: string;
  /** The program and its arguments. `log`: where it may write what it does. */
  command(file: string, log: string, extra: readonly string[]): readonly [string, ...string[]];
  read(result: RunResult): InstallerSays;
  /** Asks the host whether the vendor's signature of the file is good. @returns why not */
  signature(file: string, execute: Execute): Promise<string | undefined>;
  installed(execute: Execute): Promise<InstalledPackage[]>;
  /** What is in the way of any installation, a line each. */
  audit(execute: Execute): Promise<string[]>;
}

const execute: Execute = (command, args, env) =>
  run(command, args, {
    timeoutMs: INSTALLER_LIMITS.installMs,
    outputBytes: INSTALLER_LIMITS.outputBytes,
    ...(env === undefined ? {} : { env: { ...(process.env as Record<string, string>), ...env } }),
  });

/** The package system of one kind of installer. @param platform of this host; @param exec replaces running programs, for tests */
export function installerSystem(
  kind: InstallerKind,
  exec: Execute = execute,
  platform: NodeJS.Platform = process.platform,
): PackageSystem {
  const { format } = kind;
  const here = async (item: Pick<InstallItem, 'name' | 'to'>) =>
    (await kind.installed(exec)).some(({ name, version }) => name === item.name && version === item.to);
  return {
    format,
    available: async () => platform === kind.platform,
    indexPayloads: () => [],
    async plan(items, _policy, context): Promise<InstallPlan> {
      const present = new Map((await kind.installed(exec)).map(({ name, version }) => [name, version]));
      const wanted = items.filter((item) => item.format === format && present.get(item.name) !== item.to);
      const ids = new Set(wanted.map(({ patch }) => patch));
      const told = context.catalogs.flatMap(({ patches }) => patches.filter(({ id }) => ids.has(id)));
      const placements = Object.fromEntries(
        told.flatMap(({ id, placement }) => (placement === undefined ? [] : [[id, placement]])),
      );
      return {
        format,
        items: wanted,
        newPackages: [],
        removals: [],
        keptBack: [],
        ...(Object.keys(placements).length === 0 ? {} : { placements }),
        payloads: wanted.map(({ sha256, size, path }) => ({ sha256, size, path })),
        changes: wanted.map(({ name, arch, to }) => ({ name, arch, from: present.get(name) ?? null, to })),
        refused: null,
        diskBytes: wanted.reduce((sum, { size }) => sum + size * INSTALLER_LIMITS.expectedRatio, 0),
        touches: [],
      };
    },
    async precheck(plan, policy, context): Promise<Precheck[]> {
      const missing = plan.payloads.filter(
        ({ sha256, size }) => fs.statSync(context.payloadPath(sha256), { throwIfNoEntry: false })?.size !== size,
      );
      const { bavail, bsize } = fs.statfsSync(context.workFolder);
      const free = bavail * bsize;
      const wrong = await kind.audit(exec);
      const [healthy, needed] = [wrong.length === 0, plan.diskBytes + policy.freeBytes];
      return [
        { name: 'payloads', ok: missing.length === 0, says: `${missing.length} missing`, retryLater: true },
        {
          name: 'room',
          ok: free >= needed,
          says: `${formatBytes(free)} free, ${formatBytes(needed)} needed`,
          retryLater: false,
        },
        { name: 'package database', ok: healthy, says: healthy ? 'healthy' : wrong.join('; '), retryLater: true },
      ];
    },
    async install(plan, context, only) {
      const output: string[] = [];
      for (const item of plan.items.filter(({ patch }) => only === undefined || only.has(patch))) {
        if (await here(item)) continue;
        context.signal.throwIfAborted();
        context.onProgress?.(`Installing ${item.name} ${item.to}`);
        const { kind: how, says } = await installOne(kind, exec, item, plan.placements?.[item.patch]?.arguments ?? [], context);
        output.push(`${item.name} ${item.to}: ${says}`);
        const failed = { ok: false, output: output.join('\n'), broken: [item.name] };
        if (how === 'failed' || how === 'busy') return { ...failed, says: `${item.name}: ${says}` };
        if (how === 'done' && !(await here(item)))
          return { ...failed, says: `${item.name}: the installer ended well and the host does not have version ${item.to}` };
      }
      return { ok: true, says: `${plan.items.length} installers`, output: output.join('\n') };
    },
    async repair() {
      const wrong = await kind.audit(exec);
      return { ok: wrong.length === 0, says: wrong.length === 0 ? 'nothing is left open' : wrong.join('; ') };
    },
    audit: () => kind.audit(exec),
  };
}

async function installOne(
  kind: InstallerKind,
  exec: Execute,
  { name, to, sha256, path }: InstallItem,
  extra: readonly string[],
  context: HostContext,
): Promise<InstallerSays> {
  const payload = context.payloadPath(sha256);
  if (!fs.existsSync(payload)) throw fault('payload-missing', `payload ${sha256} (${path}) is not here`, { where: path });
  const file = join(context.workFolder, `${name}-${to}${kind.ending}`.replaceAll(/[^A-Za-z0-9._+-]/g, '_'));
  fs.copyFileSync(payload, file, fs.constants.COPYFILE_FICLONE);
  try {
    const unsigned = await kind.signature(file, exec);
    if (unsigned !== undefined) return { kind: 'failed', says: `the host does not accept its signature: ${unsigned}` };
    const [program, ...args] = kind.command(file, `${file}.log`, extra);
    const until = context.clock.monotonic() + (context.lockWaitMs ?? INSTALLER_LIMITS.busyMs);
    for (;;) {
      const result = await exec(program, args);
      const said = result.timedOut ? { kind: 'failed' as const, says: 'it did not end in time' } : kind.read(result);
      if (said.kind !== 'busy' || context.clock.monotonic() >= until) return said;
      context.onProgress?.(`waits: ${said.says}`);
      await pause(INSTALLER_LIMITS.busyStepMs, context.signal);
    }
  } finally {
    fs.rmSync(file, { force: true });
  }
}
