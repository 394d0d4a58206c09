import { randomBytes } from 'node:crypto';
import { parseAddress } from '../../client/connect/address.ts';
import type { SmbError } from '../../client/errors.ts';
import { closeRequest, readRequest, setFileInfoRequest, writeRequest } from '../../client/file/requests.ts';
import { Connection, type OutgoingRequest, type Response } from '../../client/session/connection.ts';
import type { LivenessOptions } from '../../client/session/liveness.ts';
import { Session, type TreeConnect } from '../../client/session/session.ts';
import {
  Command,
  CreateDisposition,
  CreateOptions,
  DurableFlags,
  FileAccess,
  ImpersonationLevel,
  IoctlFlags,
  LockFlags,
  OplockLevel,
  ShareAccess,
} from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { fileDispositionInformation } from '../../smb/fscc/file-info.ts';
import { Status, statusName } from '../../smb/status.ts';
import { type CreateResponse, decodeCreateResponse, encodeCreateRequest } from '../../smb/wire/create.ts';
import {
  type CreateContext,
  CreateContextName,
  encodeDH2C,
  encodeDH2QRequest,
} from '../../smb/wire/create-contexts.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeIoctlRequest } from '../../smb/wire/ioctl.ts';
import { encodeLockRequest } from '../../smb/wire/lock.ts';
import { decodeOplockBreakResponse, type OplockBreakResponse } from '../../smb/wire/oplock-break.ts';
import { decodeReadResponse } from '../../smb/wire/read.ts';
import { eventually } from '../cluster/shell.ts';

export interface RawOptions {
  user: string;
  password: string;
  share: string;
  clientGuid: Buffer;
  previousSessionId: bigint;
  /** A server that is silent for too long is given up, as other clients do. */
  isWatched: boolean;
  /** How soon it is, where it is watched. */
  liveness: LivenessOptions;
}

export interface RawCreate {
  access?: number;
  shareAccess?: number;
  disposition?: number;
  options?: number;
  oplock?: number;
  /** Asks for a persistent handle under this GUID. */
  createGuid?: Buffer;
  /** How long the handle waits for its client. */
  timeoutMs?: number;
  /** Asks for this open back instead of a new one. */
  reclaim?: { fileId: FileId; createGuid: Buffer; persistent?: boolean };
  replay?: boolean;
  /** Further contexts, or all of them where no handle is asked for under a GUID. */
  contexts?: CreateContext[];
}

export interface RawOpen extends CreateResponse {
  createGuid: Buffer | undefined;
}

/** A silent server is not given up: tests say themselves when a connection is of no more use. */
const NEVER_MS = 600_000;
/** A watched server is asked so soon whether it is there, although nothing is outstanding. */
const WATCHED_IDLE_MS = 200;
export const READ_WRITE = FileAccess.FILE_GENERIC_READ | FileAccess.FILE_GENERIC_WRITE;
export const SHARE_ALL = ShareAccess.READ | ShareAccess.WRITE | ShareAccess.DELETE;
const ESTABLISH_WITHIN_MS = 15_000;

/** One connection, one session, one tree connect: every request is sent once, and every status is told by its name. */
export class RawClient {
  readonly connection: Connection;
  readonly session: Session;
  readonly tree: TreeConnect;
  readonly clientGuid: Buffer;
  readonly breaks: OplockBreakResponse[] = [];
  lost: SmbError | undefined;

  private constructor(session: Session, tree: TreeConnect, clientGuid: Buffer) {
    this.connection = session.connection;
    this.session = session;
    this.tree = tree;
    this.clientGuid = clientGuid;
    this.connection.listen({
      onBreak: (message) => this.breaks.push(decodeOplockBreakResponse(message)),
      onLost: (reason) => {
        this.lost = reason;
      },
    });
  }

  static async connect(
    address: string,
    options: Pick<RawOptions, 'user' | 'password' | 'share'> & Partial<RawOptions>,
  ): Promise<RawClient> {
    const { user, password, share, clientGuid = randomBytes(16), previousSessionId = 0n } = options;
    const { isWatched = false, liveness: watching } = options;
    const signal = AbortSignal.timeout(ESTABLISH_WITHIN_MS);
    const liveness = isWatched
      ? { ...watching, probeIdleMs: WATCHED_IDLE_MS }
      : { probeAfterMs: NEVER_MS, probeIdleMs: NEVER_MS };
    const where = parseAddress(address);
    const connection = await Connection.open(where, { clientGuid, serverName: where.host, liveness }, signal);
    try {
      const session = await Session.establish(connection, { user, password }, { previousSessionId, signal });
      return new RawClient(session, await session.treeConnect(share, signal), clientGuid);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  send(request: OutgoingRequest): Promise<Response> {
    return this.session.send({ treeId: this.tree.treeId, ...request });
  }

  /** The answer to any CREATE: the open, or the name of the status. */
  async tryOpen(path: string, create: RawCreate = {}): Promise<RawOpen | string> {
    const { status, message } = await this.send({
      command: Command.CREATE,
      body: createBody(path, create),
      replay: create.replay,
    });
    if (status !== Status.SUCCESS) return statusName(status);
    return { ...decodeCreateResponse(message), createGuid: create.createGuid ?? create.reclaim?.createGuid };
  }

  /** Opens, and throws when it is refused. By default a persistent handle, read and write, shared with all. */
  async open(path: string, create: RawCreate = {}): Promise<RawOpen> {
    const withGuid = create.reclaim ? create : { createGuid: randomBytes(16), ...create };
    const opened = await this.tryOpen(path, withGuid);
    if (typeof opened === 'string') throw new Error(`opening ${path}: ${opened}`);
    return opened;
  }

  /** Name of the status of a CREATE that is expected to be refused; an open that was granted is closed again. */
  async refusal(path: string, create: RawCreate = {}): Promise<string> {
    const opened = await this.tryOpen(path, create);
    if (typeof opened === 'string') return opened;
    await this.closeFile(opened);
    return 'STATUS_SUCCESS';
  }

  async write(open: RawOpen, offset: number, data: Buffer): Promise<string> {
    const { status } = await this.send({
      command: Command.WRITE,
      body: writeRequest(open.fileId, offset, data.length, 0),
      tail: data,
      payloadBytes: data.length,
    });
    return statusName(status);
  }

  async read(open: RawOpen, offset: number, length: number): Promise<Buffer | string> {
    const { status, message } = await this.send({
      command: Command.READ,
      body: readRequest(open.fileId, offset, length),
      payloadBytes: length,
    });
    return status === Status.SUCCESS ? decodeReadResponse(message).data : statusName(status);
  }

  /** Fails at once if the range is not free, unless `flags` says otherwise. */
  async lock(open: RawOpen, offset: number, length: number, flags?: number): Promise<string> {
    const { status } = await this.send({
      command: Command.LOCK,
      body: encodeLockRequest({
        fileId: open.fileId,
        lockSequenceIndex: 0,
        lockSequenceNumber: 0,
        locks: [
          {
            offset: BigInt(offset),
            length: BigInt(length),
            flags: flags ?? LockFlags.EXCLUSIVE_LOCK | LockFlags.FAIL_IMMEDIATELY,
          },
        ],
      }),
    });
    return statusName(status);
  }

  unlock(open: RawOpen, offset: number, length: number): Promise<string> {
    return this.lock(open, offset, length, LockFlags.UNLOCK);
  }

  async setDeletePending(open: RawOpen): Promise<string> {
    const info = fileDispositionInformation.encode({ deletePending: true });
    const body = setFileInfoRequest(open.fileId, FileInfoClass.disposition, info);
    const { status } = await this.send({ command: Command.SET_INFO, body, payloadBytes: info.length });
    return statusName(status);
  }

  async ioctl(open: RawOpen, ctlCode: number, input: Buffer): Promise<string> {
    const { status } = await this.send({
      command: Command.IOCTL,
      body: encodeIoctlRequest({
        ctlCode,
        fileId: open.fileId,
        input,
        output: Buffer.alloc(0),
        maxInputResponse: 0,
        maxOutputResponse: 4096,
        flags: IoctlFlags.IS_FSCTL,
      }),
    });
    return statusName(status);
  }

  async closeFile(open: RawOpen): Promise<string> {
    const { status } = await this.send({ command: Command.CLOSE, body: closeRequest(open.fileId) });
    return statusName(status);
  }

  /** Waits for a break notification that the server sends on its own. */
  brokenBy(withinMs: number): Promise<OplockBreakResponse> {
    return eventually('an oplock break', withinMs, () => this.breaks[0], 10);
  }

  /** Cuts the connection, as a client that is gone. */
  close(): void {
    this.connection.close();
  }
}

function createBody(path: string, create: RawCreate): Buffer {
  const contexts: CreateContext[] = [...(create.contexts ?? [])];
  if (create.reclaim) {
    const { fileId, createGuid, persistent = true } = create.reclaim;
    const data = encodeDH2C({ fileId, createGuid, flags: persistent ? DurableFlags.PERSISTENT : 0 });
    contexts.push({ name: CreateContextName.DURABLE_HANDLE_RECONNECT_V2, data });
  } else if (create.createGuid) {
    const { createGuid, timeoutMs = 0 } = create;
    const data = encodeDH2QRequest({ timeoutMs, flags: DurableFlags.PERSISTENT, createGuid });
    contexts.push({ name: CreateContextName.DURABLE_HANDLE_REQUEST_V2, data });
  }
  return encodeCreateRequest({
    requestedOplockLevel: create.oplock ?? OplockLevel.NONE,
    impersonationLevel: ImpersonationLevel.IMPERSONATION,
    desiredAccess: create.access ?? READ_WRITE,
    fileAttributes: 0,
    shareAccess: create.shareAccess ?? SHARE_ALL,
    createDisposition: create.disposition ?? CreateDisposition.OPEN_IF,
    createOptions: create.options ?? CreateOptions.NON_DIRECTORY_FILE,
    name: path,
    createContexts: contexts,
  });
}
