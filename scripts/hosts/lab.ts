// A lab: a private file system on a loop file with the stale tree on it, from which hosts are made in a moment, and which is
// given back whole (hosts stopped, namespaces deleted, unmounted, removed), also by the next lab when its process was killed.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runOrThrow } from '#manifests/platform/process';
import { staleDebianTar, type TreeKind } from './base.ts';
import { Holdings } from './holdings.ts';
import { TestHost } from './host.ts';

export interface LabOptions {
  /** Debian release of the hosts; `bookworm` unless told. */
  readonly release?: string;
  /** Which tree: `debian` unless told; `rpm` and `rpm5` have the programs of an RPM host (see rpm.ts). */
  readonly tree?: TreeKind;
  readonly fileSystem?: 'btrfs' | 'ext4';
  /** Size of the loop file in MiB (it is sparse). */
  readonly sizeMiB?: number;
  readonly say?: (line: string) => void;
}

const COMMAND_MS = 300_000;

export class Lab {
  readonly folder: string;
  /** Mount point of the private file system. */
  readonly disk: string;
  readonly fileSystem: 'btrfs' | 'ext4';
  /** Tests note here what they make beside the lab, so that it is given back with it. */
  readonly holdings: Holdings;
  readonly #hosts: TestHost[] = [];

  private constructor(folder: string, fileSystem: 'btrfs' | 'ext4', holdings: Holdings) {
    this.folder = folder;
    this.disk = join(folder, 'disk');
    this.fileSystem = fileSystem;
    this.holdings = holdings;
    holdings.add('folders', folder);
    holdings.add('mounts', this.disk);
  }

  /** Makes the lab: a few seconds when the stale tree is cached. */
  static async open(options: LabOptions = {}): Promise<Lab> {
    const holdings = await Holdings.open();
    const say = options.say ?? (() => undefined);
    const tar = await staleDebianTar(options.release ?? 'bookworm', say, options.tree);
    const lab = new Lab(fs.mkdtempSync(join(tmpdir(), 'patchferry-lab-')), options.fileSystem ?? 'btrfs', holdings);
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
    const host = await TestHost.create(name, root, this.folder, this.holdings);
    this.#hosts.push(host);
    return host;
  }

  /**
   * A new host whose root is mounted from the device at each boot, as a machine's is: by the name of its subvolume, or as the file
   * system's default subvolume (one such host a lab). btrfs alone; not booted yet.
   */
  async mountedHost(name: string, by: 'name' | 'default'): Promise<TestHost> {
    const subvolume = join(this.disk, `@${name}`);
    await runOrThrow('btrfs', ['subvolume', 'snapshot', join(this.disk, 'base'), subvolume], { timeoutMs: COMMAND_MS });
    fs.writeFileSync(join(subvolume, 'etc/hostname'), `${name}\n`);
    fs.writeFileSync(join(subvolume, 'etc/machine-id'), `${randomBytes(16).toString('hex')}\n`);
    if (by === 'default') await runOrThrow('btrfs', ['subvolume', 'set-default', subvolume], { timeoutMs: COMMAND_MS });
    const row = fs
      .readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .find((line) => line.includes(` ${this.disk} `));
    const mount = { device: row?.split(' ')[0] ?? '', options: by === 'name' ? `subvol=@${name}` : undefined };
    const host = await TestHost.create(name, join(this.folder, `root-${name}`), this.folder, this.holdings, mount);
    this.#hosts.push(host);
    return host;
  }

  /** Stops all hosts and gives everything back. Never throws; may be called twice. */
  async close(): Promise<void> {
    for (const host of this.#hosts) await host.close();
    await this.holdings.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
