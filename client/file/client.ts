import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Command, CreateOptions, FileAccess, QueryDirectoryFlags } from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { decodeDirectoryList } from '../../smb/fscc/directory.ts';
import { Status } from '../../smb/status.ts';
import { CREDIT_SIZE } from '../../smb/wire/header.ts';
import { decodeQueryDirectoryResponse, encodeQueryDirectoryRequest } from '../../smb/wire/query-directory.ts';
import { addressText, parseAddresses, type ServerAddress } from '../connect/address.ts';
import { isConnectionLoss, SmbError } from '../errors.ts';
import type { LivenessOptions } from '../session/liveness.ts';
import type { NegotiateOffer } from '../session/negotiate.ts';
import { LIST_BUFFER_BYTES, MAX_IO_BYTES, OPERATION_TIMEOUT_MS } from './constants.ts';
import type { OpenOptions } from './create-parameters.ts';
import { Failover, type FailoverEvents } from './failover.ts';
import { File, type IoLimits, type OperationOptions } from './file.ts';
import { type FileStat, fileStat } from './file-stat.ts';
import { isContinuouslyAvailable, type Link } from './link.ts';
import type { Open } from './open.ts';
import { Operations } from './operations.ts';
import { listShares, type ShareInfo } from './shares.ts';

export interface ClientOptions {
  /** `host`, `host:port`, several with commas or as a list. All addresses of a name are used. */
  addresses: string | readonly (string | ServerAddress)[];
  user: string;
  domain?: string;
  /** Give one of password and passwordFile. A function and a file are asked anew at every logon. */
  password?: string | (() => string | Promise<string>);
  /** The file's first line is the password. */
  passwordFile?: string;
  share: string;
  /** Encrypt all, whether or not the server demands it. */
  encryption?: boolean;
  /** How long an operation may take, failover included. */
  operationTimeoutMs?: number;
  /** Ends connecting; of no effect afterwards. */
  signal?: AbortSignal;
  /** Dialects and algorithms to offer. */
  offer?: NegotiateOffer;
  /** How soon a silent server counts as dead. */
  liveness?: LivenessOptions;
}

export interface ListEntry extends FileStat {
  name: string;
}

/**
 * A share of a cluster of SMB3 servers. Whatever becomes of single servers, open files stay open, and operations take longer
 * instead of failing, until their time is up.
 */
export class Client extends EventEmitter<FailoverEvents> {
  readonly #failover: Failover;
  readonly #operations: Operations;
  readonly #operationTimeoutMs: number;
  readonly #lastLimits: IoLimits = { maxReadBytes: CREDIT_SIZE, maxWriteBytes: CREDIT_SIZE };

  private constructor(failover: Failover, operationTimeoutMs: number) {
    super();
    this.#failover = failover;
    this.#operationTimeoutMs = operationTimeoutMs;
    this.#operations = new Operations(failover, operationTimeoutMs);
    for (const event of ['failoverStarted', 'failoverEnded', 'handleLost', 'attemptFailed', 'failed'] as const) {
      failover.on(event, (...args: unknown[]) =>
        (this.emit as (event: string, ...args: unknown[]) => void)(event, ...args),
      );
    }
  }

  /** Connects to one of the servers. Throws SmbError: TIMED_OUT with what failed last, STATUS_LOGON_FAILURE, ... */
  static async connect(options: ClientOptions): Promise<Client> {
    const timeoutMs = options.operationTimeoutMs ?? OPERATION_TIMEOUT_MS;
    const limit = AbortSignal.timeout(timeoutMs);
    const failover = new Failover({
      addresses: addressesOf(options.addresses),
      clientGuid: randomBytes(16),
      user: options.user,
      domain: options.domain,
      password: passwordSource(options),
      share: options.share,
      encryption: options.encryption,
      offer: options.offer,
      liveness: options.liveness,
    });
    await failover.start(options.signal ? AbortSignal.any([options.signal, limit]) : limit);
    return new Client(failover, timeoutMs);
  }

  /** The connection, session and tree connect of now; undefined during a failover. For benchmarks and tests. */
  get link(): Link | undefined {
    return this.#failover.link;
  }

  /** The server of now. */
  get address(): string | undefined {
    return this.link && addressText(this.link.connection.address);
  }

  /** Whether the share is continuously available, as the server says. */
  get continuouslyAvailable(): boolean {
    return this.link !== undefined && isContinuouslyAvailable(this.link);
  }

  async open(path: string, options: OpenOptions = {}): Promise<File> {
    return new File(await this.#operations.open(path, options), this.#operations, () => this.#limits());
  }

  /** Entries of a directory, without `.` and `..`. */
  async list(path = '', options: OperationOptions & { pattern?: string } = {}): Promise<ListEntry[]> {
    return this.#restarting(path, { kind: 'directory', signal: options.signal }, async (open) => {
      const entries: ListEntry[] = [];
      for (let first = true; ; first = false) {
        const page = await this.#listPage(open, options.pattern ?? '*', first, options.signal);
        if (page === undefined) return entries;
        entries.push(...page.filter(({ name }) => name !== '.' && name !== '..'));
      }
    });
  }

  async #listPage(
    open: Open,
    fileName: string,
    first: boolean,
    signal?: AbortSignal,
  ): Promise<ListEntry[] | undefined> {
    const fileInformationClass = FileInfoClass.idBothDirectory;
    const outputBufferLength = Math.min(LIST_BUFFER_BYTES, this.#limits().maxReadBytes);
    const { response } = await this.#operations.onOpen(open, {
      command: Command.QUERY_DIRECTORY,
      doing: 'listing',
      body: (fileId) =>
        encodeQueryDirectoryRequest({
          fileInformationClass,
          flags: first ? QueryDirectoryFlags.RESTART_SCANS : 0,
          fileIndex: 0,
          fileId,
          fileName,
          outputBufferLength,
        }),
      payloadBytes: outputBufferLength,
      signal,
    });
    const { status, message } = response;
    if (status === Status.NO_MORE_FILES || (first && status === Status.NO_SUCH_FILE)) return undefined;
    if (status !== Status.SUCCESS) throw SmbError.fromStatus(status, `listing ${open.path}`);
    const entries = decodeDirectoryList(fileInformationClass, decodeQueryDirectoryResponse(message).output);
    return entries.map((entry) => ({ name: entry.fileName, ...fileStat(entry) }));
  }

  async stat(path: string, options: OperationOptions = {}): Promise<FileStat> {
    const open = { access: FileAccess.READ_ATTRIBUTES, kind: 'any', signal: options.signal } as const;
    return this.#restarting(path, open, async (opened) => {
      const file = new File({ open: opened, createAction: 0, size: 0 }, this.#operations, () => this.#limits());
      return file.stat(options);
    });
  }

  async mkdir(path: string, options: OperationOptions = {}): Promise<void> {
    const directory = await this.open(path, { disposition: 'create', kind: 'directory', signal: options.signal });
    await directory.close(options);
  }

  /** Removes a file, or an empty directory. */
  async remove(path: string, options: OperationOptions = {}): Promise<void> {
    const file = await this.#openAny(path, FileAccess.DELETE | FileAccess.READ_ATTRIBUTES, options.signal);
    try {
      await file.deleteOnClose(options);
    } finally {
      await file.close(options);
    }
  }

  /** Renames or moves a file or directory within the share. */
  async rename(from: string, to: string, options: OperationOptions & { replace?: boolean } = {}): Promise<void> {
    const file = await this.#openAny(from, FileAccess.DELETE | FileAccess.READ_ATTRIBUTES, options.signal);
    try {
      await file.rename(to, options);
    } finally {
      await file.close(options);
    }
  }

  /** The shares that the server offers (srvsvc). */
  async shares(options: OperationOptions = {}): Promise<ShareInfo[]> {
    const limit = AbortSignal.timeout(OPERATION_TIMEOUT_MS);
    const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    for (;;) {
      const link = await this.#failover.linked(signal);
      try {
        return await listShares(link, signal);
      } catch (error) {
        // Asking changes nothing: whatever server the client goes on with is asked anew.
        if (!isConnectionLoss(error) || this.#failover.link === link) throw error;
      }
    }
  }

  /** Logs off. Opens that are left end with the session. */
  async close(): Promise<void> {
    await this.#failover.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Runs `work` on a handle that the server need not keep: when the handle is lost, all begins anew. */
  async #restarting<T>(path: string, options: OpenOptions, work: (open: Open) => Promise<T>): Promise<T> {
    const endsAtMs = performance.now() + this.#operationTimeoutMs;
    for (;;) {
      const { open } = await this.#operations.open(path, { ...options, persistent: false, durable: false });
      try {
        return await work(open);
      } catch (error) {
        if ((error as SmbError).code !== 'HANDLE_LOST' || performance.now() > endsAtMs) throw error;
      } finally {
        await this.#operations.close(open).catch(() => undefined);
      }
    }
  }

  /** Opens a file or directory for a change to itself: persistent where that is to be had, so that the change is done once. */
  async #openAny(path: string, access: number, signal?: AbortSignal): Promise<File> {
    return this.open(path, {
      access,
      kind: 'any',
      durable: false,
      createOptions: CreateOptions.OPEN_REPARSE_POINT,
      signal,
    });
  }

  #limits(): IoLimits {
    const link = this.#failover.link;
    if (!link) return this.#lastLimits;
    const { maxReadSize, maxWriteSize } = link.connection.negotiated;
    const most = link.connection.largeMtu ? MAX_IO_BYTES : CREDIT_SIZE;
    this.#lastLimits.maxReadBytes = Math.min(maxReadSize, most);
    this.#lastLimits.maxWriteBytes = Math.min(maxWriteSize, most);
    return this.#lastLimits;
  }
}

function addressesOf(addresses: ClientOptions['addresses']): ServerAddress[] {
  const list = typeof addresses === 'string' ? [addresses] : addresses;
  const parsed = list.flatMap((one) => (typeof one === 'string' ? parseAddresses(one) : [one]));
  if (parsed.length === 0) throw new SmbError('BAD_ADDRESS', 'no server address was given');
  return parsed;
}

function passwordSource({ password, passwordFile }: ClientOptions): () => string | Promise<string> {
  if (typeof password === 'function') return password;
  if (password !== undefined) return () => password;
  if (passwordFile !== undefined) return async () => (await readFile(passwordFile, 'utf8')).split(/\r?\n/)[0] ?? '';
  throw new SmbError('STATUS_LOGON_FAILURE', 'no password was given: pass password or passwordFile');
}
