// A stick: a FAT32 image that is mounted now here, now there. The kernel's own vfat is used where it has one, else fusefat.
import * as fs from 'node:fs';
import { run, runOrThrow } from '#manifests/platform/process';

const COMMAND_MS = 120_000;

export class Stick {
  readonly image: string;
  #place: string | undefined;

  private constructor(image: string) {
    this.image = image;
  }

  /** Makes the image (sparse) with a FAT32 file system; not mounted yet. */
  static async make(image: string, megabytes: number): Promise<Stick> {
    await runOrThrow('truncate', ['-s', `${megabytes}M`, image], { timeoutMs: COMMAND_MS });
    // FAT32 has at least 65,525 clusters (Microsoft's specification, 3.5), so those of a small stick are two sectors each.
    const clusters = megabytes < 300 ? ['-s', '2'] : [];
    await runOrThrow('mkfs.vfat', ['-F', '32', ...clusters, image], { timeoutMs: COMMAND_MS });
    return new Stick(image);
  }

  /** Puts the stick in: what is on it is then below `place`, which is made when it is not there. */
  async putInto(place: string): Promise<void> {
    await this.pull();
    fs.mkdirSync(place, { recursive: true });
    const kernel = await run('mount', ['-t', 'vfat', '-o', 'loop', this.image, place], { timeoutMs: COMMAND_MS });
    if (kernel.code !== 0) await runOrThrow('fusefat', ['-o', 'rw+', this.image, place], { timeoutMs: COMMAND_MS });
    this.#place = place;
  }

  /** Takes it out; the mount point stays, empty. Never throws. */
  async pull(): Promise<void> {
    if (this.#place === undefined) return;
    const ended = await run('umount', [this.#place], { timeoutMs: COMMAND_MS });
    if (ended.code !== 0) await run('umount', ['--lazy', this.#place], { timeoutMs: COMMAND_MS });
    this.#place = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pull();
  }
}
