import fs from 'node:fs';
import { constants as osConstants } from 'node:os';
import koffi from 'koffi';
import { DirectoryChunk } from './directory-chunk.ts';
import type { Slots } from './slots.ts';

// The one file that knows libc. Every call comes in two forms: at once on the event loop (local file systems, where it takes
// about a microsecond), and in the thread pool (network file systems, where it may block). Results below 0 are -errno.

const libc = koffi.load('libc.so.6');

export const Errno = osConstants.errno;

const errnoNames = new Map<number, string>(Object.entries(Errno).map(([name, value]) => [value, name]));
// Those that Node does not name, and the usual ones of two names for one number.
errnoNames.set(11, 'EAGAIN');
errnoNames.set(95, 'EOPNOTSUPP');
errnoNames.set(112, 'EHOSTDOWN');
errnoNames.set(117, 'EUCLEAN');
errnoNames.set(121, 'EREMOTEIO');

/** A system call failed. `code` is the name of the errno, e.g. ENOENT. */
export class PosixError extends Error {
  readonly code: string;
  /** Positive. */
  readonly errno: number;

  constructor(errno: number, call: string) {
    const code = errnoNames.get(errno) ?? `E${errno}`;
    super(`${call}: ${code}`);
    this.name = 'PosixError';
    this.errno = errno;
    this.code = code;
  }
}

/** Gives `result` back, or throws what it says. */
export function checked(result: number, call: string): number {
  if (result < 0) throw new PosixError(-result, call);
  return result;
}

/** What Node's own `fs` threw, as a PosixError. Anything else is passed on. */
export function asPosixError(thrown: unknown): unknown {
  if (thrown instanceof PosixError || !(thrown instanceof Error)) return thrown;
  const { errno, syscall } = thrown as NodeJS.ErrnoException;
  return typeof errno === 'number' ? new PosixError(Math.abs(errno), syscall ?? 'fs') : thrown;
}

export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECTORY: process.arch === 'arm64' ? 0o40000 : 0o200000,
  NOFOLLOW: process.arch === 'arm64' ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

export const AT = {
  FDCWD: -100,
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  SYMLINK_FOLLOW: 0x400,
  EMPTY_PATH: 0x1000,
} as const;

export const RENAME_NOREPLACE = 1;
export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 0x10;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FICLONERANGE = 0x4020_940d;
const FS_IOC_GETFLAGS = 0x8008_6601;
const FS_IOC_SETFLAGS = 0x4008_6602;
const SIOCOUTQ = 0x5411;
/** FS_*_FL of FS_IOC_GETFLAGS. */
export const FileFlag = { compress: 0x4 } as const;

/** RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH: a name leads nowhere but below the descriptor, on its mount. */
const RESOLVE_BENEATH = 0x01 | 0x02 | 0x08;
const SYS_openat2 = 437;
const MAX_HANDLE_SIZE = 128;
const RWF_NOWAIT = 8;
const SYS_cachestat = 451;
/** Pages of the page cache, at least: where the machine has larger ones, more are asked for than there are, and none are sent. */
const PAGE_SIZE = 4096;
/** Of what is being read ahead, so much arrives together. */
const ARRIVES_TOGETHER = 128 * 1024;
/** MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE */
const SEND_MORE = 0x40 | 0x4000 | 0x8000;

type Native = ReturnType<typeof libc.func>;

const native = {
  openat2: libc.func('long syscall(long nr, int dfd, const char *path, uint8_t *how, size_t size)'),
  open: libc.func('int open(const char *path, int flags, int mode)'),
  statx: libc.func('int statx(int dfd, const char *path, int flags, uint32_t mask, uint8_t *out)'),
  nameToHandle: libc.func(
    'int name_to_handle_at(int dfd, const char *path, uint8_t *handle, uint8_t *mountId, int flags)',
  ),
  getxattr: libc.func('long getxattr(const char *path, const char *name, uint8_t *value, size_t size)'),
  lgetxattr: libc.func('long lgetxattr(const char *path, const char *name, uint8_t *value, size_t size)'),
  removexattr: libc.func('int removexattr(const char *path, const char *name)'),
  setxattr: libc.func('int setxattr(const char *path, const char *name, uint8_t *value, size_t size, int flags)'),
  renameat2: libc.func('int renameat2(int fromDir, const char *from, int toDir, const char *to, uint32_t flags)'),
  linkat: libc.func('int linkat(int fromDir, const char *from, int toDir, const char *to, int flags)'),
  unlinkat: libc.func('int unlinkat(int dfd, const char *name, int flags)'),
  mkdirat: libc.func('int mkdirat(int dfd, const char *name, uint32_t mode)'),
  fallocate: libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)'),
  copyFileRange: libc.func(
    'long copy_file_range(int from, uint8_t *fromOffset, int to, uint8_t *toOffset, size_t length, uint32_t flags)',
  ),
  utimensat: libc.func('int utimensat(int dfd, const char *path, uint8_t *times, int flags)'),
  getdents64: libc.func('long getdents64(int fd, uint8_t *into, size_t size)'),
  access: libc.func('int access(const char *path, int mode)'),
  lseek: libc.func('int64_t lseek(int fd, int64_t offset, int whence)'),
  close: libc.func('int close(int fd)'),
  ioctl: libc.func('int ioctl(int fd, unsigned long request, uint8_t *argument)'),
  cachestat: libc.func('long syscall(long nr, int fd, uint8_t *range, uint8_t *out, uint32_t flags)'),
  send: libc.func('long send(int fd, uint8_t *bytes, size_t size, int flags)'),
  sendfile: libc.func('long sendfile(int to, int from, uint8_t *offset, size_t size)'),
};

// preadv2 takes its buffer through an iovec; the address of a buffer's memory is asked for once.
const preadv2 = libc.func('long preadv2(int fd, uint8_t *iov, int count, int64_t offset, int flags)');
const iovec = Buffer.alloc(16);
const addresses = new WeakMap<ArrayBufferLike, bigint>();

function addressOf(buffer: Buffer): bigint {
  const memory = buffer.buffer;
  let base = addresses.get(memory);
  if (base === undefined) {
    base = BigInt(koffi.address(new Uint8Array(memory as ArrayBuffer)));
    addresses.set(memory, base);
  }
  return base + BigInt(buffer.byteOffset);
}

/** Bytes that the kernel has of a TCP socket and that the other side has not acknowledged; negative: they are not known. */
export function unsentBytes(fd: number): number {
  const bytes = Buffer.alloc(4);
  return native.ioctl(fd, SIOCOUTQ, bytes) < 0 ? -1 : bytes.readInt32LE(0);
}

/** Sends bytes on a TCP socket, or some of them, that more will follow right behind; the number of bytes, or -errno. Does not wait. */
export function sendMore(fd: number, bytes: Buffer): number {
  return callNow(native.send, [fd, bytes, bytes.length, SEND_MORE]);
}

/** Sends a part of a file on a TCP socket that does not block, or its beginning; the number of bytes, or -errno. Waits for pages that are not cached. */
export function sendFile(to: number, from: number, offset: number, size: number): number {
  scratch.writeBigInt64LE(BigInt(offset), 0);
  return callNow(native.sendfile, [to, from, scratch, size]);
}

const EPOCH_TICKS = 116_444_736_000_000_000n;

function filetime(seconds: number, nanoseconds: number): bigint {
  return BigInt(seconds) * 10_000_000n + BigInt(Math.floor(nanoseconds / 100)) + EPOCH_TICKS;
}

/** What statx(2) says. Times are FILETIME (100 ns since 1601), worked out only when they are asked for. */
export class Stat {
  /** S_IF* and permission bits. */
  mode: number;
  size: number;
  /** Bytes that the file takes on the volume. */
  allocated: number;
  readonly links: number;
  /** Its data is kept compressed. */
  readonly isCompressed: boolean;
  readonly hasBirthTime: boolean;
  readonly #inodeLow: number;
  readonly #inodeHigh: number;
  /** Seconds and nanoseconds of access, birth, change, write. */
  readonly #accessS: number;
  readonly #accessNs: number;
  readonly #birthS: number;
  readonly #birthNs: number;
  readonly #changeS: number;
  readonly #changeNs: number;
  readonly #writeS: number;
  readonly #writeNs: number;

  /** `words`: struct statx in 32-bit words; not kept. */
  constructor(words: Uint32Array) {
    this.mode = word(words, 28) & 0xffff;
    this.size = size(words, 40);
    this.allocated = size(words, 48) * 512;
    this.links = word(words, 16);
    this.isCompressed = (word(words, 8) & STATX_ATTR_COMPRESSED) !== 0;
    this.#inodeLow = word(words, 32);
    this.#inodeHigh = word(words, 36);
    this.hasBirthTime = (word(words, 0) & STATX_BTIME) !== 0;
    this.#accessS = seconds(words, 64);
    this.#accessNs = word(words, 72);
    this.#birthS = seconds(words, 80);
    this.#birthNs = word(words, 88);
    this.#changeS = seconds(words, 96);
    this.#changeNs = word(words, 104);
    this.#writeS = seconds(words, 112);
    this.#writeNs = word(words, 120);
  }

  /** Takes over the size of a stream of the file; everything else is the file's (MS-FSA 2.1.1.4, 2.1.1.5). */
  takeData(stream: Stat): this {
    // A directory's streams are no directories.
    if (isDirectory(this)) this.mode = stream.mode;
    this.size = stream.size;
    this.allocated = stream.allocated;
    return this;
  }

  /** Whether both are of one file: inodes are used again, but not within one instant of the file system's clock. */
  isSameFile(other: Stat): boolean {
    return (
      this.#inodeLow === other.#inodeLow &&
      this.#inodeHigh === other.#inodeHigh &&
      this.#birthNs === other.#birthNs &&
      this.#birthS === other.#birthS
    );
  }

  /** Of two of one file: whether nothing was changed in between, as far as the file system's clock can tell. */
  isUnchanged(other: Stat): boolean {
    return this.#changeNs === other.#changeNs && this.#changeS === other.#changeS;
  }

  /** Change time, milliseconds since 1970. */
  get changedAtMs(): number {
    return this.#changeS * 1000 + this.#changeNs / 1e6;
  }

  get inode(): bigint {
    return (BigInt(this.#inodeHigh) << 32n) | BigInt(this.#inodeLow);
  }

  get accessTime(): bigint {
    return filetime(this.#accessS, this.#accessNs);
  }

  get writeTime(): bigint {
    return filetime(this.#writeS, this.#writeNs);
  }

  get changeTime(): bigint {
    return filetime(this.#changeS, this.#changeNs);
  }

  /** 0n where the file system keeps none. */
  get birthTime(): bigint {
    return this.hasBirthTime ? filetime(this.#birthS, this.#birthNs) : 0n;
  }
}

export const isDirectory = (stat: Stat): boolean => (stat.mode & 0o170000) === 0o040000;
export const isRegular = (stat: Stat): boolean => (stat.mode & 0o170000) === 0o100000;
export const isSymlink = (stat: Stat): boolean => (stat.mode & 0o170000) === 0o120000;

/** STATX_BASIC_STATS | STATX_BTIME */
const STATX_WANTED = 0x7ff | 0x800;
const STATX_BTIME = 0x800;
const STATX_ATTR_COMPRESSED = 0x4;
const STATX_SIZE = 256;

// struct statx has the byte order of the machine, and so have typed arrays. Offsets are in bytes.

function word(words: Uint32Array, at: number): number {
  return words[at >>> 2] ?? 0;
}

function size(words: Uint32Array, at: number): number {
  return word(words, at + 4) * 0x1_0000_0000 + word(words, at);
}

function seconds(words: Uint32Array, at: number): number {
  return (word(words, at + 4) | 0) * 0x1_0000_0000 + word(words, at);
}

/** The name of an open descriptor, for calls that take only paths; the one magic link that is followed. */
export const procPath = (fd: number): string => `/proc/self/fd/${fd}`;

export type Eventually<T> = T | Promise<T>;

function then<T, U>(value: Eventually<T>, next: (value: T) => U): Eventually<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** Where calls on the event loop leave what they found; it is read before anything else runs. */
const scratch = Buffer.alloc(4096);
const scratchWords = new Uint32Array(scratch.buffer, scratch.byteOffset, 1024);

/** Whether this server may still change the volume; asked last before every change (the deadline of session/deadline-gate.ts). */
export interface ChangeGate {
  mayServe(): boolean;
  reopened(): Promise<void>;
}

/** A write that takes longer was held back by the kernel until the disk had caught up; one into the page cache takes 3 us to 1 ms. */
const SLOW_WRITE_MS = 10;
/** So many times as long all writes go through the thread pool then: others wait a twentieth of the time at most. */
const SLOW_WRITE_PAUSE = 20;

export interface PosixOptions {
  /** Calls may wait for a network and must not run on the event loop. */
  blocking: boolean;
  slots: Slots;
  gate: ChangeGate;
}

/**
 * The system calls on one volume. Names are relative to directory descriptors; results below 0 are -errno. What changes the
 * volume goes through `gate` right before its system call, and rejects as the gate does.
 */
export class Posix {
  readonly blocking: boolean;
  readonly #slots: Slots;
  readonly #gate: ChangeGate;
  #nowait = true;
  /** When writes at once are tried again, on the clock of performance.now(). */
  #writesNowFromMs = 0;

  constructor({ blocking, slots, gate }: PosixOptions) {
    this.blocking = blocking;
    this.#slots = slots;
    this.#gate = gate;
  }

  #call(call: Native, ...args: unknown[]): Eventually<number> {
    if (this.blocking) return this.#pooled(false, (done) => callAsync(call, args, done));
    return callNow(call, args);
  }

  #change(call: Native, ...args: unknown[]): Eventually<number> {
    if (this.blocking) return this.#pooled(true, (done) => callAsync(call, args, done));
    if (this.#gate.mayServe()) return callNow(call, args);
    return this.#openGate().then(() => callNow(call, args));
  }

  async #openGate(): Promise<void> {
    while (!this.#gate.mayServe()) await this.#gate.reopened();
  }

  /** Runs a call in the thread pool as soon as a thread is free for it. */
  #pooled(changes: boolean, start: (done: (result: number) => void) => void): Promise<number> {
    const waiting = this.#slots.acquire();
    if (waiting === undefined && (!changes || this.#gate.mayServe())) return this.#started(start);
    return this.#pooledLater(waiting, changes, start);
  }

  async #pooledLater(
    waiting: Promise<void> | undefined,
    changes: boolean,
    start: (done: (result: number) => void) => void,
  ): Promise<number> {
    if (waiting !== undefined) await waiting;
    if (changes && !this.#gate.mayServe()) {
      try {
        await this.#openGate();
      } catch (error) {
        this.#slots.release();
        throw error;
      }
    }
    return this.#started(start);
  }

  #started(start: (done: (result: number) => void) => void): Promise<number> {
    return new Promise((resolve) =>
      start((result) => {
        this.#slots.release();
        resolve(result);
      }),
    );
  }

  /** Opens `path` (components separated by "/", "." for the directory itself) beneath `dirFd` and never beyond. */
  openBeneath(dirFd: number, path: string, flags: number): Eventually<number> {
    if (this.blocking) return this.#call(native.openat2, SYS_openat2, dirFd, path, openHow(flags, 0), OPEN_HOW_SIZE);
    scratchHow.writeUInt32LE(flags | O.CLOEXEC, 0);
    const fd = Number(native.openat2(SYS_openat2, dirFd, path, scratchHow, OPEN_HOW_SIZE));
    return fd < 0 ? -koffi.errno() : fd;
  }

  /** Creates a regular file that must not exist yet, with `mode`, and opens it. `name` has no "/". */
  createFile(dirFd: number, name: string, flags: number, mode: number): Eventually<number> {
    const how = openHow(flags | O.CREAT | O.EXCL | O.NOFOLLOW, mode);
    return this.#change(native.openat2, SYS_openat2, dirFd, name, how, OPEN_HOW_SIZE);
  }

  /** Opens once more what `fd` (O_PATH) stands for, with other flags (not to truncate). */
  reopen(fd: number, flags: number): Eventually<number> {
    return this.#call(native.open, procPath(fd), flags | O.CLOEXEC, 0);
  }

  close(fd: number): Eventually<number> {
    if (this.blocking) return this.#call(native.close, fd);
    const result = Number(native.close(fd));
    return result < 0 ? -koffi.errno() : result;
  }

  stat(fd: number): Eventually<Stat | number> {
    return this.#stat(fd, '', AT.EMPTY_PATH);
  }

  /** Of a name in a directory; a symbolic link is not followed. */
  statAt(dirFd: number, name: string): Eventually<Stat | number> {
    return this.#stat(dirFd, name, AT.SYMLINK_NOFOLLOW);
  }

  #stat(fd: number, name: string, flags: number): Eventually<Stat | number> {
    if (!this.blocking) {
      const result = Number(native.statx(fd, name, flags, STATX_WANTED, scratch));
      return result < 0 ? -koffi.errno() : new Stat(scratchWords);
    }
    const out = new Uint32Array(STATX_SIZE / 4);
    return then(this.#call(native.statx, fd, name, flags, STATX_WANTED, out), (r) => (r < 0 ? r : new Stat(out)));
  }

  /** Type and bytes of the handle that the file system gives, or -EOPNOTSUPP and its like where it gives none. */
  handle(fd: number): Eventually<Buffer | number> {
    const out = this.blocking ? Buffer.allocUnsafe(16 + MAX_HANDLE_SIZE) : scratch;
    const mountId = out.subarray(8 + MAX_HANDLE_SIZE, 16 + MAX_HANDLE_SIZE);
    out.writeUInt32LE(MAX_HANDLE_SIZE, 0);
    return then(this.#call(native.nameToHandle, fd, '', out, mountId, AT.EMPTY_PATH), (r) =>
      r < 0 ? r : Buffer.from(out.subarray(4, 8 + out.readUInt32LE(0))),
    );
  }

  /** 0, or -EACCES and its like: whether this process may do `mode` (R_OK 4, W_OK 2, X_OK 1) with the file. */
  access(fd: number, mode: number): Eventually<number> {
    return this.#call(native.access, procPath(fd), mode);
  }

  /** A copy of the attribute, -ENODATA, or -ERANGE where it is larger than `maximumSize`. `fd` may be O_PATH. */
  getAttribute(fd: number, name: string, maximumSize: number): Eventually<Buffer | number> {
    const out = this.blocking || maximumSize > scratch.length ? Buffer.allocUnsafe(maximumSize) : scratch;
    return then(this.#call(native.getxattr, procPath(fd), name, out, maximumSize), (r) =>
      r < 0 ? r : Buffer.from(out.subarray(0, r)),
    );
  }

  /** Of a name in a directory; a symbolic link is not followed. */
  getAttributeAt(dirFd: number, entry: string, name: string, maximumSize: number): Eventually<Buffer | number> {
    const out = this.blocking ? Buffer.allocUnsafe(maximumSize) : scratch;
    return then(this.#call(native.lgetxattr, `${procPath(dirFd)}/${entry}`, name, out, maximumSize), (r) =>
      r < 0 ? r : Buffer.from(out.subarray(0, r)),
    );
  }

  setAttribute(fd: number, name: string, value: Buffer): Eventually<number> {
    return this.#change(native.setxattr, procPath(fd), name, value, value.length, 0);
  }

  removeAttribute(fd: number, name: string): Eventually<number> {
    return this.#change(native.removexattr, procPath(fd), name);
  }

  /** `flags`: RENAME_NOREPLACE or 0. */
  rename(fromDir: number, from: string, toDir: number, to: string, flags: number): Eventually<number> {
    return this.#change(native.renameat2, fromDir, from, toDir, to, flags);
  }

  link(fromDir: number, from: string, toDir: number, to: string): Eventually<number> {
    return this.#change(native.linkat, fromDir, from, toDir, to, 0);
  }

  /** Gives what `fd` (which may be O_PATH) stands for one more name. */
  linkFile(fd: number, toDir: number, to: string): Eventually<number> {
    return this.#change(native.linkat, AT.FDCWD, procPath(fd), toDir, to, AT.SYMLINK_FOLLOW);
  }

  unlink(dirFd: number, name: string, directory: boolean): Eventually<number> {
    return this.#change(native.unlinkat, dirFd, name, directory ? AT.REMOVEDIR : 0);
  }

  makeDirectory(dirFd: number, name: string, mode: number): Eventually<number> {
    return this.#change(native.mkdirat, dirFd, name, mode);
  }

  /** Sets access and write time (FILETIME); undefined leaves a time as it is. */
  setTimes(fd: number, accessTime: bigint | undefined, writeTime: bigint | undefined): Eventually<number> {
    const times = Buffer.alloc(32);
    writeTimespec(times, 0, accessTime);
    writeTimespec(times, 16, writeTime);
    return this.#change(native.utimensat, AT.FDCWD, procPath(fd), times, 0);
  }

  /** The next names of an open directory (its descriptor keeps the place); empty at the end. `size`: bytes to ask for. */
  nextNames(fd: number, size: number): Eventually<DirectoryChunk | number> {
    const out = Buffer.allocUnsafeSlow(size);
    return then(this.#call(native.getdents64, fd, out, size), (r) => (r < 0 ? r : new DirectoryChunk(out, r)));
  }

  /** Goes to a place in a directory: its start, or what DirectoryChunk.place says. 0 or -errno. */
  async seekNames(fd: number, place: bigint): Promise<number> {
    // The place is a number of the file system's own making, of up to 63 bits.
    return Math.min(await this.#call(native.lseek, fd, place, 0), 0);
  }

  // What moves data runs in the thread pool, except for reads that the page cache can answer, and writes that it takes at once.

  /**
   * Reads what is in the page cache, without waiting for a disk or a network: `length` bytes at `offset` of the file into
   * `into` from `at`. Fewer bytes mean that the rest is not cached or that the file ends; -EAGAIN that nothing is cached.
   */
  readCached(fd: number, into: Buffer, at: number, length: number, offset: number): number {
    if (!this.#nowait) return -Errno.EAGAIN;
    iovec.writeBigUInt64LE(addressOf(into) + BigInt(at), 0);
    iovec.writeUInt32LE(length, 8);
    const read = Number(preadv2(fd, iovec, 1, offset, RWF_NOWAIT));
    if (read >= 0) return read;
    const errno = koffi.errno();
    if (errno !== Errno.EOPNOTSUPP) return -errno;
    this.#nowait = false;
    return -Errno.EAGAIN;
  }

  /**
   * Whether the file has these bytes, all in the page cache, so that sendFile does not wait for a disk. False also where that is not known: on
   * volumes beyond a network, before Linux 6.5, and for who may not know it of the file.
   */
  isCached(fd: number, offset: number, length: number): boolean {
    if (this.blocking) return false;
    const end = offset + length;
    scratch.writeBigInt64LE(BigInt(offset), 0);
    scratch.writeBigInt64LE(BigInt(length), 8);
    const found = scratch.subarray(16, 56);
    if (callNow(native.cachestat, [SYS_cachestat, fd, scratch, found, 0]) < 0) return false;
    const pages = Math.ceil(end / PAGE_SIZE) - Math.floor(offset / PAGE_SIZE);
    if (found.readUInt32LE(0) < pages) return false;
    // Pages count from the moment on at which they are being read ahead; and the file may end in the last one.
    for (let at = offset; at < end - 1; at += ARRIVES_TOGETHER) if (!this.#isThere(fd, at)) return false;
    return this.#isThere(fd, end - 1);
  }

  #isThere(fd: number, offset: number): boolean {
    return this.readCached(fd, scratch, 0, 1, offset) === 1;
  }

  /** Reads on the event loop, whether it has to wait or not: what was cached a moment ago. False: the file does not have so many bytes. */
  readNow(fd: number, into: Buffer, at: number, length: number, offset: number): boolean {
    for (let done = 0; done < length; ) {
      const more = fs.readSync(fd, into, at + done, length - done, offset + done);
      if (more === 0) return false;
      done += more;
    }
    return true;
  }

  read(fd: number, into: Buffer, at: number, length: number, offset: number): Promise<number> {
    return this.#pooled(false, (done) =>
      fs.read(fd, into, at, length, offset, (error, bytes) => done(resultOf(error, bytes))),
    );
  }

  /**
   * Writes at once, into the page cache of a local file system: to wake a thread would cost many times as much. Bytes written or -errno;
   * undefined where the thread pool has to do it: the volume may wait for a network, the deadline has passed, or a disk that
   * cannot keep up has held back a write a moment ago (then others must not wait for it, too). Not for descriptors that write through.
   */
  writeNow(fd: number, from: Buffer, offset: number): number | undefined {
    if (this.blocking || !this.#gate.mayServe()) return undefined;
    const beganMs = performance.now();
    if (beganMs < this.#writesNowFromMs) return undefined;
    const result = writeSync(fd, from, offset);
    const endedMs = performance.now();
    const tookMs = endedMs - beganMs;
    if (tookMs > SLOW_WRITE_MS) this.#writesNowFromMs = endedMs + tookMs * SLOW_WRITE_PAUSE;
    return result;
  }

  write(fd: number, from: Buffer, offset: number): Promise<number> {
    return this.#pooled(true, (done) =>
      fs.write(fd, from, 0, from.length, offset, (error, bytes) => done(resultOf(error, bytes))),
    );
  }

  truncate(fd: number, size: number): Promise<number> {
    return this.#pooled(true, (done) => fs.ftruncate(fd, size, (error) => done(resultOf(error))));
  }

  sync(fd: number): Promise<number> {
    return this.#pooled(false, (done) => fs.fsync(fd, (error) => done(resultOf(error))));
  }

  syncData(fd: number): Promise<number> {
    return this.#pooled(false, (done) => fs.fdatasync(fd, (error) => done(resultOf(error))));
  }

  /** `mode`: FALLOC_KEEP_SIZE or 0. */
  allocate(fd: number, mode: number, offset: number, length: number): Promise<number> {
    return this.#pooled(true, (done) => callAsync(native.fallocate, [fd, mode, offset, length], done));
  }

  /** Copies within the kernel; the bytes copied, or -errno. */
  copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): Promise<number> {
    const offsets = Buffer.alloc(16);
    offsets.writeBigInt64LE(BigInt(fromOffset), 0);
    offsets.writeBigInt64LE(BigInt(toOffset), 8);
    const args = [from, offsets.subarray(0, 8), to, offsets.subarray(8), length, 0];
    return this.#pooled(true, (done) => callAsync(native.copyFileRange, args, done));
  }

  /** Lets a range of one file share the blocks of another's, where the file system can; 0 or -errno. */
  cloneRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): Promise<number> {
    const range = Buffer.alloc(32);
    range.writeBigInt64LE(BigInt(from), 0);
    range.writeBigUInt64LE(BigInt(fromOffset), 8);
    range.writeBigUInt64LE(BigInt(length), 16);
    range.writeBigUInt64LE(BigInt(toOffset), 24);
    return this.#pooled(true, (done) => callAsync(native.ioctl, [to, FICLONERANGE, range], done));
  }

  /** FileFlag of an open file or directory (not O_PATH), or -errno. */
  getFlags(fd: number): Eventually<number> {
    const flags = Buffer.alloc(8);
    return then(this.#call(native.ioctl, fd, FS_IOC_GETFLAGS, flags), (r) => (r < 0 ? r : flags.readInt32LE(0)));
  }

  setFlags(fd: number, flags: number): Eventually<number> {
    const value = Buffer.alloc(8);
    value.writeInt32LE(flags, 0);
    return this.#change(native.ioctl, fd, FS_IOC_SETFLAGS, value);
  }

  /** Where data (or a hole) begins at `offset` or behind it; -ENXIO when there is none up to the end of the file. */
  seek(fd: number, offset: number, what: 'data' | 'hole'): Eventually<number> {
    return this.#call(native.lseek, fd, offset, what === 'data' ? SEEK_DATA : SEEK_HOLE);
  }

  statFileSystem(fd: number): Promise<FileSystemStat | number> {
    let found: FileSystemStat | undefined;
    return this.#pooled(false, (done) =>
      fs.statfs(procPath(fd), (error, stats) => {
        if (!error) found = readFileSystemStat(stats);
        done(resultOf(error));
      }),
    ).then((result) => found ?? result);
  }
}

function writeSync(fd: number, from: Buffer, offset: number): number {
  try {
    return fs.writeSync(fd, from, 0, from.length, offset);
  } catch (error) {
    return (error as NodeJS.ErrnoException).errno ?? -Errno.EIO;
  }
}

function callNow(call: Native, args: unknown[]): number {
  const result = Number(call(...args));
  return result < 0 ? -koffi.errno() : result;
}

function callAsync(call: Native, args: unknown[], done: (result: number) => void): void {
  call.async(...args, (error: unknown, result: unknown) => {
    // koffi restores the errno of the pool's thread for this callback.
    if (error) done(-Errno.EIO);
    else done(Number(result) < 0 ? -koffi.errno() : Number(result));
  });
}

function resultOf(error: NodeJS.ErrnoException | null, bytes = 0): number {
  return error === null ? bytes : (error.errno ?? -Errno.EIO);
}

/** Of the file system that a descriptor lies on; sizes in bytes. */
export interface FileSystemStat {
  /** The magic number of statfs(2). */
  type: number;
  total: number;
  free: number;
  /** What those who are not root may take. */
  available: number;
}

function readFileSystemStat(stats: fs.StatsFs): FileSystemStat {
  return {
    type: stats.type,
    total: stats.blocks * stats.bsize,
    free: stats.bfree * stats.bsize,
    available: stats.bavail * stats.bsize,
  };
}

const OPEN_HOW_SIZE = 24;

function openHow(flags: number, mode: number): Buffer {
  const how = Buffer.alloc(OPEN_HOW_SIZE);
  how.writeUInt32LE(flags | O.CLOEXEC, 0);
  how.writeUInt32LE(mode, 8);
  how.writeUInt32LE(RESOLVE_BENEATH, 16);
  return how;
}

/** For calls on the event loop; only the flags vary. */
const scratchHow = openHow(0, 0);

const UTIME_OMIT = 0x3ffffffe;

function writeTimespec(into: Buffer, at: number, filetime: bigint | undefined): void {
  if (filetime === undefined) {
    into.writeBigInt64LE(BigInt(UTIME_OMIT), at + 8);
    return;
  }
  const ticks = filetime - EPOCH_TICKS;
  let seconds = ticks / 10_000_000n;
  let rest = ticks % 10_000_000n;
  if (rest < 0n) {
    rest += 10_000_000n;
    seconds -= 1n;
  }
  into.writeBigInt64LE(seconds, at);
  into.writeBigInt64LE(rest * 100n, at + 8);
}
