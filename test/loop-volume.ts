import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ended, run } from './cluster/shell.ts';

/** _IOR('X', 125, u32): the file system stops as if its disk were gone; everything fails with EIO. */
const EXT4_IOC_SHUTDOWN = 0x8004_587d;
const NO_LOG_FLUSH = 2;

/** Whether volumes can be made here: it takes root and loop devices. */
export const canMakeVolumes = process.getuid?.() === 0 && existsSync('/dev/loop-control');

/** A small file system in a file, mounted: one that can be filled, write-protected and broken. */
export class LoopVolume {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** ext4. @param inodes files and folders that it has room for, a dozen of which are taken */
  static make({ mib = 16, inodes = 256 } = {}): Promise<LoopVolume> {
    return LoopVolume.#formatted(mib, 'mkfs.ext4', ['-q', '-F', '-m', '0', '-N', String(inodes)]);
  }

  /** btrfs, which clones and compresses. */
  static btrfs(): Promise<LoopVolume> {
    return LoopVolume.#formatted(256, 'mkfs.btrfs', ['-q', '-f']);
  }

  /** btrfs, of which all files together may take no more than `quotaMib`: the one quota here that binds root too. */
  static async withQuota(quotaMib: number): Promise<LoopVolume> {
    const volume = await LoopVolume.btrfs();
    await run('btrfs', ['quota', 'enable', volume.path]);
    await run('btrfs', ['quota', 'rescan', '-w', volume.path]);
    await run('btrfs', ['qgroup', 'limit', `${quotaMib}M`, volume.path]);
    return volume;
  }

  static async #formatted(mib: number, format: string, options: readonly string[]): Promise<LoopVolume> {
    const volume = new LoopVolume(mkdtempSync(join(tmpdir(), 'holdfast-volume-')));
    const { folder, path } = volume;
    mkdirSync(path);
    await run('truncate', ['-s', `${mib}M`, join(folder, 'image')]);
    await run(format, [...options, join(folder, 'image')]);
    await run('mount', ['-o', 'loop', join(folder, 'image'), path]);
    return volume;
  }

  get path(): string {
    return join(this.folder, 'volume');
  }

  /** As an administrator would; nothing may be open for writing. */
  async remountReadOnly(): Promise<void> {
    await run('mount', ['-o', 'remount,ro', this.path]);
  }

  /** As ext4 does when it finds damage (errors=remount-ro), whatever is open. */
  async giveUpWriting(): Promise<void> {
    await run('mount', ['-o', 'remount,abort', this.path]);
  }

  async fail(): Promise<void> {
    const script = 'open(my $d, "<", $ARGV[0]) or die $!; ioctl($d, $ARGV[1], my $how = pack("L", $ARGV[2])) or die $!';
    await run('perl', ['-e', script, this.path, String(EXT4_IOC_SHUTDOWN), String(NO_LOG_FLUSH)]);
  }

  /**
   * From now on whatever changes something hangs in the kernel, as on a disk that does not answer: until it is thawed, or this process has
   * ended, however it does.
   */
  async freeze(): Promise<{ thaw(): Promise<void> }> {
    const script = 'fsfreeze --freeze "$1" && echo frozen && cat >/dev/null; fsfreeze --unfreeze "$1"';
    const holder = spawn('sh', ['-c', script, 'sh', this.path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const over = ended(holder);
    const frozen = new Promise<void>((resolve) => holder.stdout.once('data', () => resolve()));
    const failed = over.then((code) => {
      throw new Error(`fsfreeze ended with ${code}`);
    });
    await Promise.race([frozen, failed]);
    failed.catch(() => {});
    return {
      thaw: async () => {
        holder.stdin.end();
        await over;
      },
    };
  }

  async remove(): Promise<void> {
    await run('umount', ['--lazy', this.path]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
