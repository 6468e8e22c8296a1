// A lab: a private file system on a loop file with the stale tree on it, from which hosts are made in a moment, and which is
// given back whole (hosts stopped, namespaces deleted, unmounted, removed), also by the next lab when its process was killed.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, runOrThrow } from '#manifests/platform/process';
import { staleDebianTar, type TreeKind } from './base.ts';
import { TestHost } from './host.ts';

export interface LabOptions {
  /** Debian release of the hosts; `bookworm` unless told. */
  readonly release?: string;
  /** Which tree: `debian` unless told; `rpm` has the programs of an RPM host (see rpm.ts). */
  readonly tree?: TreeKind;
  readonly fileSystem?: 'btrfs' | 'ext4';
  /** Size of the loop file in MiB (it is sparse). */
  readonly sizeMiB?: number;
  readonly say?: (line: string) => void;
}

const REGISTER = '/run/patchferry-labs';
const COMMAND_MS = 300_000;

export class Lab {
  readonly folder: string;
  /** Mount point of the private file system. */
  readonly disk: string;
  readonly fileSystem: 'btrfs' | 'ext4';
  readonly #hosts: TestHost[] = [];
  readonly #register: string;

  private constructor(folder: string, fileSystem: 'btrfs' | 'ext4') {
    this.folder = folder;
    this.disk = join(folder, 'disk');
    this.fileSystem = fileSystem;
    this.#register = join(REGISTER, `${process.pid}-${folder.split('/').at(-1)}`);
  }

  /** Makes the lab: a few seconds when the stale tree is cached. */
  static async open(options: LabOptions = {}): Promise<Lab> {
    await removeAbandonedLabs();
    const say = options.say ?? (() => undefined);
    const tar = await staleDebianTar(options.release ?? 'bookworm', say, options.tree);
    const lab = new Lab(fs.mkdtempSync(join(tmpdir(), 'patchferry-lab-')), options.fileSystem ?? 'btrfs');
    fs.mkdirSync(REGISTER, { recursive: true });
    fs.writeFileSync(lab.#register, lab.folder);
    try {
      const image = join(lab.folder, 'disk.img');
      await runOrThrow('truncate', ['-s', `${options.sizeMiB ?? 12_288}M`, image], { timeoutMs: COMMAND_MS });
      await runOrThrow(lab.fileSystem === 'btrfs' ? 'mkfs.btrfs' : 'mkfs.ext4', ['-q', image], { timeoutMs: COMMAND_MS });
      fs.mkdirSync(lab.disk);
      await runOrThrow('mount', ['-o', 'loop', image, lab.disk], { timeoutMs: COMMAND_MS });
      const base = join(lab.disk, 'base');
      if (lab.fileSystem === 'btrfs') await runOrThrow('btrfs', ['subvolume', 'create', base], { timeoutMs: COMMAND_MS });
      else fs.mkdirSync(base);
      say('unpacking the stale Debian tree');
      const unpack = ['--extract', '--file', tar, '--directory', base, '--xattrs', '--xattrs-include=*', '--numeric-owner'];
      await runOrThrow('tar', unpack, { timeoutMs: COMMAND_MS });
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** A new host whose root is a copy (btrfs: a snapshot) of the stale tree; not booted yet. */
  async host(name: string): Promise<TestHost> {
    const root = join(this.disk, name);
    const base = join(this.disk, 'base');
    if (this.fileSystem === 'btrfs')
      await runOrThrow('btrfs', ['subvolume', 'snapshot', base, root], { timeoutMs: COMMAND_MS });
    else await runOrThrow('cp', ['-a', base, root], { timeoutMs: COMMAND_MS });
    fs.writeFileSync(join(root, 'etc/hostname'), `${name}\n`);
    fs.writeFileSync(join(root, 'etc/machine-id'), `${randomBytes(16).toString('hex')}\n`);
    const host = await TestHost.create(name, root, this.folder);
    this.#hosts.push(host);
    return host;
  }

  /** Stops all hosts and gives everything back. Never throws; may be called twice. */
  async close(): Promise<void> {
    for (const host of this.#hosts) await host.close();
    await dismantle(this.folder);
    fs.rmSync(this.#register, { force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function dismantle(folder: string): Promise<void> {
  const disk = join(folder, 'disk');
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const mounted = fs.readFileSync('/proc/self/mounts', 'utf8').includes(` ${disk} `);
    if (!mounted) break;
    const last = attempt === 9;
    await run('umount', last ? ['--lazy', disk] : [disk], { timeoutMs: COMMAND_MS });
    if (!last) await new Promise((resolve) => setTimeout(resolve, 200));
  }
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Clears what labs of killed processes left behind: hosts, namespaces, mounts, files. */
async function removeAbandonedLabs(): Promise<void> {
  for (const entry of fs.existsSync(REGISTER) ? fs.readdirSync(REGISTER) : []) {
    const pid = Number(entry.split('-')[0]);
    if (fs.existsSync(`/proc/${pid}`)) continue;
    const folder = fs.readFileSync(join(REGISTER, entry), 'utf8');
    for (const file of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
      if (!file.endsWith('.host.json')) continue;
      const host = JSON.parse(fs.readFileSync(join(folder, file), 'utf8')) as {
        pid?: number;
        namespace?: string;
        link?: string;
      };
      await TestHost.remove(host);
    }
    await dismantle(folder);
    fs.rmSync(join(REGISTER, entry), { force: true });
  }
}
