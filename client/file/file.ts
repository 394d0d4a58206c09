import { Command, LockFlags, WriteFlags } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import {
  fileAllInformation,
  fileDispositionInformation,
  fileEndOfFileInformation,
  fileNetworkOpenInformation,
  fileRenameInformation,
} from '../../smb/fscc/file-info.ts';
import { foldCase } from '../../smb/fscc/names.ts';
import { Status } from '../../smb/status.ts';
import { encodeFlushRequest } from '../../smb/wire/flush.ts';
import { encodeLockRequest } from '../../smb/wire/lock.ts';
import { decodeQueryInfoResponse } from '../../smb/wire/query-info.ts';
import { decodeReadResponse } from '../../smb/wire/read.ts';
import { decodeWriteResponse } from '../../smb/wire/write.ts';
import { SmbError } from '../errors.ts';
import { PIPELINED_IO } from './constants.ts';
import type { Durability } from './create-parameters.ts';
import { type FileStat, fileStat } from './file-stat.ts';
import type { Open } from './open.ts';
import type { Answer, Operations } from './operations.ts';
import { wirePath } from './paths.ts';
import { queryFileInfoRequest, readRequest, setFileInfoRequest, writeRequest } from './requests.ts';

export interface OperationOptions {
  signal?: AbortSignal;
}

export interface LockOptions extends OperationOptions {
  /** Others may hold shared locks on the same bytes. Default: exclusive. */
  shared?: boolean;
  /** Wait until the bytes are free. Default: fail at once with STATUS_LOCK_NOT_GRANTED. */
  wait?: boolean;
}

/** Limits of one request, in bytes, as they are on the link of now. */
export interface IoLimits {
  maxReadBytes: number;
  maxWriteBytes: number;
}

/**
 * An open file. Operations may be started side by side; each is carried out once, whatever happens to servers and
 * connections, or throws SmbError: the server's status, TIMED_OUT, HANDLE_LOST when the server has given the handle up.
 */
export class File {
  readonly #open: Open;
  readonly #operations: Operations;
  readonly #limits: () => IoLimits;
  /** Bytes when it was opened. */
  readonly sizeAtOpen: number;
  /** CreateAction.*: whether the file was there before. */
  readonly createAction: number;

  constructor(
    opened: { open: Open; createAction: number; size: number },
    operations: Operations,
    limits: () => IoLimits,
  ) {
    this.#open = opened.open;
    this.#operations = operations;
    this.#limits = limits;
    this.sizeAtOpen = opened.size;
    this.createAction = opened.createAction;
  }

  get path(): string {
    return this.#open.path;
  }

  /** What the server granted. */
  get durability(): Durability {
    return this.#open.durability;
  }

  /**
   * Reads up to `length` bytes at `position`; fewer, or none, at the end of the file. The result may share memory with
   * what else was received at the time: copy it if it is small and kept for long.
   */
  async read(position: number, length: number, options: OperationOptions = {}): Promise<Buffer> {
    const { maxReadBytes } = this.#limits();
    if (length <= maxReadBytes) return this.#readOnce(position, length, options.signal);
    const parts: Buffer[] = [];
    await inParallel(pieces(length, maxReadBytes), async ({ at, size }, i) => {
      parts[i] = await this.#readOnce(position + at, size, options.signal);
    });
    const end = parts.findIndex((part, i) => part.length < Math.min(maxReadBytes, length - i * maxReadBytes));
    return Buffer.concat(end === -1 ? parts : parts.slice(0, end + 1));
  }

  async #readOnce(position: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    const { response } = await this.#operations.onOpen(this.#open, {
      command: Command.READ,
      doing: 'reading',
      body: (fileId) => readRequest(fileId, position, length),
      payloadBytes: length,
      signal,
    });
    if (response.status === Status.SUCCESS) return decodeReadResponse(response.message).data;
    if (response.status === Status.END_OF_FILE) return NOTHING;
    throw SmbError.fromStatus(response.status, `reading ${this.path}`);
  }

  /** Writes all of `data` at `position`. The buffer must not be changed until this is done. */
  async write(
    position: number,
    data: Buffer,
    options: OperationOptions & { writeThrough?: boolean } = {},
  ): Promise<void> {
    const { maxWriteBytes } = this.#limits();
    const flags = options.writeThrough ? WriteFlags.WRITE_THROUGH : 0;
    if (data.length <= maxWriteBytes) return this.#writeOnce(position, data, flags, options.signal);
    await inParallel(pieces(data.length, maxWriteBytes), ({ at, size }) =>
      this.#writeOnce(position + at, data.subarray(at, at + size), flags, options.signal),
    );
  }

  async #writeOnce(position: number, data: Buffer, flags: number, signal?: AbortSignal): Promise<void> {
    for (let done = 0; ; ) {
      const rest = done === 0 ? data : data.subarray(done);
      const at = position + done;
      const { response } = await this.#operations.onOpen(this.#open, {
        command: Command.WRITE,
        doing: 'writing',
        body: (fileId) => writeRequest(fileId, at, rest.length, flags),
        tail: rest,
        payloadBytes: rest.length,
        signal,
      });
      if (response.status !== Status.SUCCESS) throw SmbError.fromStatus(response.status, `writing ${this.path}`);
      const { count } = decodeWriteResponse(response.message);
      done += count;
      if (done >= data.length) return;
      if (count === 0)
        throw new SmbError(
          'PROTOCOL_VIOLATION',
          `writing ${this.path}: the server wrote nothing and called it success`,
        );
    }
  }

  /** All that was written is on stable storage when this is done. */
  async flush(options: OperationOptions = {}): Promise<void> {
    const { response } = await this.#operations.onOpen(this.#open, {
      command: Command.FLUSH,
      doing: 'flushing',
      body: (fileId) => encodeFlushRequest({ fileId }),
      signal: options.signal,
    });
    expectSuccess(response.status, `flushing ${this.path}`);
  }

  /** Locks a range of bytes, which need not exist. */
  async lock(offset: number, length: number, options: LockOptions = {}): Promise<void> {
    const kind = options.shared ? LockFlags.SHARED_LOCK : LockFlags.EXCLUSIVE_LOCK;
    const flags = kind | (options.wait ? 0 : LockFlags.FAIL_IMMEDIATELY);
    const { response } = await this.#lock(offset, length, flags, 'locking', options.signal);
    expectSuccess(response.status, `locking ${length} bytes at ${offset} of ${this.path}`);
  }

  /** Unlocks exactly what a `lock` locked. */
  async unlock(offset: number, length: number, options: OperationOptions = {}): Promise<void> {
    const { response, replayed } = await this.#lock(offset, length, LockFlags.UNLOCK, 'unlocking', options.signal);
    if (replayed && response.status === Status.RANGE_NOT_LOCKED) return;
    expectSuccess(response.status, `unlocking ${length} bytes at ${offset} of ${this.path}`);
  }

  async #lock(offset: number, length: number, flags: number, doing: string, signal?: AbortSignal): Promise<Answer> {
    const open = this.#open;
    const sequence = open.durability === 'none' ? NO_SEQUENCE : open.takeLockSequence();
    const locks = [{ offset: BigInt(offset), length: BigInt(length), flags }];
    try {
      return await this.#operations.onOpen(open, {
        command: Command.LOCK,
        doing,
        body: (fileId) => encodeLockRequest({ fileId, ...sequence, locks }),
        signal,
      });
    } finally {
      open.giveBackLockSequence(sequence.lockSequenceIndex);
    }
  }

  /** Sets the size, cutting off or adding zeros. */
  async truncate(size: number, options: OperationOptions = {}): Promise<void> {
    const { response } = await this.#setInfo(
      FileInfoClass.endOfFile,
      fileEndOfFileInformation.encode({ endOfFile: size }),
      'truncating',
      options.signal,
    );
    expectSuccess(response.status, `truncating ${this.path} to ${size} bytes`);
  }

  async stat(options: OperationOptions = {}): Promise<FileStat> {
    const { response } = await this.#operations.onOpen(this.#open, {
      command: Command.QUERY_INFO,
      doing: 'asking about',
      body: (fileId) => queryFileInfoRequest(fileId, FileInfoClass.networkOpen, 56),
      signal: options.signal,
    });
    expectSuccess(response.status, `asking about ${this.path}`);
    return fileStat(fileNetworkOpenInformation.decode(decodeQueryInfoResponse(response.message).output));
  }

  /** Marks the file for removal when its last handle is closed. Needs FileAccess.DELETE. */
  async deleteOnClose(options: OperationOptions = {}): Promise<void> {
    const { response, replayed } = await this.#setInfo(
      FileInfoClass.disposition,
      fileDispositionInformation.encode({ deletePending: true }),
      'removing',
      options.signal,
    );
    if (replayed && response.status === Status.DELETE_PENDING) return;
    expectSuccess(response.status, `removing ${this.path}`);
  }

  /** Renames or moves within the share. Needs FileAccess.DELETE. */
  async rename(to: string, options: OperationOptions & { replace?: boolean } = {}): Promise<void> {
    const fileName = wirePath(to);
    const { response, replayed } = await this.#setInfo(
      FileInfoClass.rename,
      fileRenameInformation.encode({ replaceIfExists: options.replace ?? false, rootDirectory: 0n, fileName }),
      'renaming',
      options.signal,
    );
    // The first request may have done it, and the replay found its own result in the way.
    const inTheWay = replayed && response.status === Status.OBJECT_NAME_COLLISION;
    if (inTheWay && foldCase(await this.#nameNow(options.signal)) === foldCase(fileName)) return;
    expectSuccess(response.status, `renaming ${this.path} to ${fileName}`);
  }

  /** The path of the file within the share, as the server has it now. */
  async #nameNow(signal?: AbortSignal): Promise<string> {
    const { response } = await this.#operations.onOpen(this.#open, {
      command: Command.QUERY_INFO,
      doing: 'asking about',
      body: (fileId) => queryFileInfoRequest(fileId, FileInfoClass.all, NAME_QUERY_BYTES),
      signal,
    });
    expectSuccess(response.status, `asking for the name of ${this.path}`);
    const { name } = fileAllInformation.decode(decodeQueryInfoResponse(response.message).output);
    return name.fileName.replace(/^\\/, '');
  }

  #setInfo(infoClass: number, input: Buffer, doing: string, signal?: AbortSignal): Promise<Answer> {
    return this.#operations.onOpen(this.#open, {
      command: Command.SET_INFO,
      doing,
      body: (fileId) => setFileInfoRequest(fileId, infoClass, input),
      payloadBytes: input.length,
      signal,
    });
  }

  /** Closes the handle; it is closed for the caller in any case. */
  async close(options: OperationOptions = {}): Promise<void> {
    await this.#operations.close(this.#open, options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const NOTHING = Buffer.alloc(0);
/** Room for FileAllInformation with a path of any length that Windows allows. */
const NAME_QUERY_BYTES = 65_536;
const NO_SEQUENCE = { lockSequenceIndex: 0, lockSequenceNumber: 0 };

function expectSuccess(status: number, what: string): void {
  if (status !== Status.SUCCESS) throw SmbError.fromStatus(status, what);
}

function pieces(length: number, most: number): { at: number; size: number }[] {
  const list: { at: number; size: number }[] = [];
  for (let at = 0; at < length; at += most) list.push({ at, size: Math.min(most, length - at) });
  return list;
}

/** Runs `work` for all items, PIPELINED_IO at once. Rejects with the first failure, once none runs any more. */
async function inParallel<T>(items: readonly T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  let failure: unknown;
  const worker = async () => {
    while (next < items.length && failure === undefined) {
      const index = next++;
      try {
        await work(items[index] as T, index);
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(PIPELINED_IO, items.length) }, worker));
  if (failure !== undefined) throw failure;
}
