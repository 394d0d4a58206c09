import { createHash, randomBytes } from 'node:crypto';
import { constants, openSync } from 'node:fs';
import type { VolumeConfig } from '../../common/config.ts';
import { HoldfastError, reasonOf } from '../../common/errors.ts';
import { type Abilities, abilitiesOf } from './abilities.ts';
import { Metadata } from './metadata.ts';
import { NameCache } from './name-cache.ts';
import {
  type ChangeGate,
  checked,
  type FileSystemStat,
  O,
  Posix,
  PosixError,
  RENAME_NOREPLACE,
  type Stat,
} from './posix.ts';
import { SideStore } from './side-store.ts';
import type { ThreadSlots } from './slots.ts';
import { Streams } from './streams.ts';
import { Tunnel } from './tunnel.ts';

/** How a volume's files are told apart: by the file system's own handles, or by inode and creation time where it gives none. */
type FileIdKind = 'handle' | 'inode';

interface Identity {
  /** 8 bytes. */
  id: Buffer;
  fileIds: FileIdKind;
}

/** File in the volume's root that says what was decided about it once. */
const IDENTITY_NAME = '.holdfast-volume';
const IDENTITY_MAXIMUM_SIZE = 4096;

/** Magic numbers of statfs(2) of file systems on a local disk or in memory: calls do not wait for a network. */
const localTypes = new Set([
  0xef53, // ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x01021994, // tmpfs
  0x794c7630, // overlay
  0x2fc12fc1, // zfs
]);
/** Those whose nodes all see a change at once. */
const coherentTypes = new Set([
  ...localTypes,
  0x00c36400, // ceph
  0x01161970, // gfs2
  0x7461636f, // ocfs2
  0x0bd00bd0, // lustre
  0x47504653, // gpfs
]);

const FUSE = 0x65735546;

/** Those that set a file's change time with every change of its extended attributes (on ZFS that depends on its settings). */
const changeTimeTypes = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630]);

/** A file system that is mounted by every server of the cluster. */
export class Volume {
  readonly name: string;
  readonly posix: Posix;
  readonly rootFd: number;
  readonly names: NameCache;
  readonly metadata: Metadata;
  /** What belongs to files and has no place in them. */
  readonly side: SideStore;
  readonly streams: Streams;
  readonly tunnel = new Tunnel();
  /** Whether a change made on one node is seen at once on the others (handle-state.md, "Between pods"). */
  readonly coherent: boolean;
  /** Local, and a file whose change time is the same has not changed: what was read of it may be kept. */
  readonly showsChanges: boolean;
  /** Of statfs(2). */
  readonly type: number;
  readonly abilities: Abilities;
  /** FILETIME. */
  readonly createdAt: bigint;
  readonly #identity: Identity;

  private constructor(
    config: VolumeConfig,
    opened: {
      posix: Posix;
      rootFd: number;
      type: number;
      identity: Identity;
      createdAt: bigint;
      abilities: Abilities;
    },
  ) {
    this.name = config.name;
    this.posix = opened.posix;
    this.rootFd = opened.rootFd;
    this.type = opened.type;
    this.createdAt = opened.createdAt;
    this.abilities = opened.abilities;
    this.showsChanges = !opened.posix.blocking && changeTimeTypes.has(opened.type);
    this.#identity = opened.identity;
    this.names = new NameCache(opened.posix);
    this.side = new SideStore(opened.posix, opened.rootFd);
    this.metadata = new Metadata(opened.posix, this.side);
    this.streams = new Streams(this.side);
    this.coherent = config.coherent ?? coherentTypes.has(opened.type);
  }

  /**
   * Opens the volume at its mount path and finds out who it is.
   * @throws HoldfastError with code VOLUME
   */
  static async open(config: VolumeConfig, services: { gate: ChangeGate; slots: ThreadSlots }): Promise<Volume> {
    try {
      const rootFd = openSync(config.path, O.PATH | constants.O_DIRECTORY);
      const slots = services.slots.forVolume();
      const careful = new Posix({ blocking: true, slots, gate: services.gate });
      const stats = await careful.statFileSystem(rootFd);
      if (typeof stats === 'number') throw new PosixError(-stats, 'statfs');
      // statfs gives a signed number of the platform's width.
      const type = Number(BigInt.asUintN(32, BigInt(stats.type)));
      const posix = localTypes.has(type) ? new Posix({ blocking: false, slots, gate: services.gate }) : careful;
      const identity = await identify(posix, rootFd, config.name, type);
      const root = await statOf(posix, rootFd);
      const createdAt = root.birthTime === 0n ? root.changeTime : root.birthTime;
      const abilities = await abilitiesOf(posix, rootFd, type);
      return new Volume(config, { posix, rootFd, type, identity, createdAt, abilities });
    } catch (error) {
      throw new HoldfastError(
        'VOLUME',
        `cannot use volume "${config.name}" at ${config.path}: ${reasonOf(error)}; mount it there, and let the file server read and write it`,
        { cause: error },
      );
    }
  }

  /** The same in all servers of the cluster. 8 bytes. */
  get id(): Buffer {
    return this.#identity.id;
  }

  /** Whether the id of a file that is gone may become that of a new one: where files are told apart by their inode numbers. */
  get reusesIds(): boolean {
    return this.#identity.fileIds === 'inode';
  }

  /**
   * What names the file that `fd` stands for in the whole cluster; it survives renames, and is never used again for another file
   * (unless `reusesIds`).
   * `stat` is of the same descriptor.
   */
  async fileId(fd: number, stat: Stat): Promise<Buffer> {
    const { id, fileIds } = this.#identity;
    if (fileIds === 'handle') {
      const handle = await this.posix.handle(fd);
      if (typeof handle === 'number') throw new PosixError(-handle, 'name_to_handle_at');
      return Buffer.concat([id, handle]);
    }
    const inode = Buffer.alloc(16);
    inode.writeBigUInt64LE(stat.inode, 0);
    inode.writeBigInt64LE(stat.birthTime, 8);
    return Buffer.concat([id, inode]);
  }

  async space(): Promise<FileSystemStat> {
    const stats = await this.posix.statFileSystem(this.rootFd);
    if (typeof stats === 'number') throw new PosixError(-stats, 'statfs');
    return stats;
  }
}

/** Throws PosixError. */
export async function statOf(posix: Posix, fd: number): Promise<Stat> {
  return statted(await posix.stat(fd));
}

/** Gives what statx(2) said back, or throws what went wrong. */
export function statted(stat: Stat | number): Stat {
  if (typeof stat === 'number') throw new PosixError(-stat, 'statx');
  return stat;
}

async function identify(posix: Posix, rootFd: number, name: string, type: number): Promise<Identity> {
  const known = await readIdentity(posix, rootFd);
  // A handle of FUSE is a number that the daemon made up when it first saw the file: another at each mount, and of another file there.
  const isFuse = type === FUSE;
  if (known) return isFuse ? { ...known, fileIds: 'inode' } : known;
  const hasHandles = !isFuse && typeof (await posix.handle(rootFd)) !== 'number';
  const fileIds: FileIdKind = hasHandles ? 'handle' : 'inode';
  try {
    await writeIdentity(posix, rootFd, { id: randomBytes(8), fileIds });
  } catch (error) {
    if (!(error instanceof PosixError) || !['EROFS', 'EACCES', 'EPERM', 'ENOSPC'].includes(error.code)) throw error;
    // Nothing can be stored: all servers of the cluster derive the same from the volume's name.
    return { id: createHash('sha256').update(name).digest().subarray(0, 8), fileIds };
  }
  const decided = await readIdentity(posix, rootFd);
  if (!decided) throw new Error(`${IDENTITY_NAME} was written and is gone`);
  return decided;
}

async function readIdentity(posix: Posix, rootFd: number): Promise<Identity | undefined> {
  const fd = await posix.openBeneath(rootFd, IDENTITY_NAME, O.RDONLY);
  if (fd < 0) {
    if (new PosixError(-fd, 'open').code === 'ENOENT') return undefined;
    throw new PosixError(-fd, `open ${IDENTITY_NAME}`);
  }
  try {
    const bytes = Buffer.alloc(IDENTITY_MAXIMUM_SIZE);
    const size = checked(await posix.read(fd, bytes, 0, bytes.length, 0), `read ${IDENTITY_NAME}`);
    const { id, fileIds } = JSON.parse(bytes.toString('utf8', 0, size));
    if (!/^[0-9a-f]{16}$/.test(id) || (fileIds !== 'handle' && fileIds !== 'inode')) {
      throw new Error(`${IDENTITY_NAME} in the volume's root is damaged: restore it`);
    }
    return { id: Buffer.from(id, 'hex'), fileIds };
  } finally {
    await posix.close(fd);
  }
}

/** Whole or not at all; the first server's word stands. */
async function writeIdentity(posix: Posix, rootFd: number, { id, fileIds }: Identity): Promise<void> {
  const draft = `${IDENTITY_NAME}.${randomBytes(8).toString('hex')}`;
  const fd = checked(await posix.createFile(rootFd, draft, O.WRONLY, 0o644), `create ${IDENTITY_NAME}`);
  try {
    const bytes = Buffer.from(JSON.stringify({ id: id.toString('hex'), fileIds }));
    checked(await posix.write(fd, bytes, 0), `write ${IDENTITY_NAME}`);
    checked(await posix.sync(fd), `sync ${IDENTITY_NAME}`);
  } finally {
    await posix.close(fd);
  }
  const linked = await posix.link(rootFd, draft, rootFd, IDENTITY_NAME);
  if (linked === 0 || linked === -17 /* EEXIST */) {
    await posix.unlink(rootFd, draft, false);
    return;
  }
  const renamed = await posix.rename(rootFd, draft, rootFd, IDENTITY_NAME, RENAME_NOREPLACE);
  if (renamed === 0) return;
  await posix.unlink(rootFd, draft, false);
  if (renamed !== -17) throw new PosixError(-renamed, `rename ${IDENTITY_NAME}`);
}
