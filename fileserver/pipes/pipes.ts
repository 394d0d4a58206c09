// Named pipes of IPC$ (MS-SMB2 3.3.5.9, 3.3.5.12, 3.3.5.13, 3.3.5.15.10): srvsvc for listing shares, wkssvc, lsarpc for the names
// of those who may do something with a file.
import {
  Command,
  CreateAction,
  FileAttributes,
  Fsctl,
  InfoType,
  OplockLevel,
  ShareFlags,
} from '../../smb/constants.ts';
import { FileInfoClass } from '../../smb/fscc/constants.ts';
import { type RpcAccounts, RpcServer, type RpcServerOptions, ShareType } from '../../smb/rpc/server.ts';
import { Status } from '../../smb/status.ts';
import { decodeCloseRequest, encodeCloseResponse } from '../../smb/wire/close.ts';
import { decodeCreateRequest, encodeCreateResponse } from '../../smb/wire/create.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { decodeFlushRequest, encodeFlushResponse } from '../../smb/wire/flush.ts';
import type { IoctlRequest } from '../../smb/wire/ioctl.ts';
import { encodeOutputBuffer } from '../../smb/wire/output-buffer.ts';
import { decodeQueryInfoRequest } from '../../smb/wire/query-info.ts';
import { decodeReadRequest, encodeReadResponse } from '../../smb/wire/read.ts';
import { decodeWriteRequest, encodeWriteResponse } from '../../smb/wire/write.ts';
import { ioctlReply } from '../commands/ioctl/reply.ts';
import { type PipeService, type Reply, type Request, reply, statusReply } from '../session/request.ts';
import type { TreeConnect } from '../session/session.ts';
import type { Accounts } from '../session/usage.ts';
import type { Shares } from '../shares.ts';
import { NamedPipe } from './named-pipe.ts';

/** Pipes that are served, in lower case. */
const NAMES = new Set(['srvsvc', 'wkssvc', 'lsarpc']);
/** What somebody without a name may not ask. */
const FOR_USERS = new Set(['lsarpc']);
const MAX_PIPES_PER_TREE = 256;
/** What Windows says of a pipe. */
const ALLOCATION_SIZE = 4096;

/** The pipes that are open, by tree connect. The dispatcher sends every request on IPC$ here. */
export class Pipes implements PipeService {
  readonly #rpcOptions: RpcServerOptions;
  readonly #usage: Accounts;
  readonly #open = new WeakMap<TreeConnect, Map<bigint, NamedPipe>>();
  #nextId = 1n;

  constructor(shares: Shares, accounts: RpcAccounts, usage: Accounts, serverName: string) {
    this.#usage = usage;
    this.#rpcOptions = {
      serverName,
      accounts,
      shares: () =>
        shares.all().map(({ name, isPipe, config, accessBasedEnumeration }) => ({
          name,
          type: isPipe ? ShareType.ipc + ShareType.special : ShareType.disk,
          comment: config?.comment ?? (isPipe ? 'Remote IPC' : ''),
          flags: accessBasedEnumeration ? ShareFlags.ACCESS_BASED_DIRECTORY_ENUM : 0, // the same bit (MS-SRVS 2.2.4.29)
        })),
    };
  }

  /** Does what a request on IPC$ asks; IOCTL and TREE_DISCONNECT come their own way. */
  handle(request: Request): Reply {
    switch (request.header.command) {
      case Command.CREATE:
        return this.#create(request);
      case Command.READ:
        return this.#read(request);
      case Command.WRITE:
        return this.#write(request);
      case Command.CLOSE:
        return this.#close(request);
      case Command.FLUSH:
        return this.#flush(request);
      case Command.QUERY_INFO:
        return this.#queryInfo(request);
      default:
        return statusReply(Status.INVALID_DEVICE_REQUEST);
    }
  }

  /** 3.3.5.15.10; FSCTL_PIPE_WAIT finds its pipe at once, for an instance is made at each open. */
  ioctl(request: Request, ioctl: IoctlRequest): Reply {
    if (ioctl.ctlCode === Fsctl.PIPE_WAIT) return this.#wait(ioctl);
    const pipe = this.#find(request, ioctl.fileId);
    if (!pipe) return statusReply(Status.FILE_CLOSED);
    switch (ioctl.ctlCode) {
      case Fsctl.PIPE_TRANSCEIVE: {
        const written = pipe.write(ioctl.input);
        if (written !== Status.SUCCESS) return statusReply(written);
        const { status, data } = pipe.read(ioctl.maxOutputResponse);
        // No answer yet: the request is not complete, and more is to be written.
        return status === Status.PIPE_EMPTY ? statusReply(status) : ioctlReply(ioctl, data, status);
      }
      case Fsctl.PIPE_PEEK:
        return peek(pipe, ioctl);
      default:
        return statusReply(Status.INVALID_DEVICE_REQUEST);
    }
  }

  endTree(tree: TreeConnect): void {
    const pipes = this.#open.get(tree);
    if (!pipes) return;
    this.#open.delete(tree);
    this.#usage.addPipes(-pipes.size, tree.session.usage);
  }

  #create(request: Request): Reply {
    const name = decodeCreateRequest(request.message).name.replace(/^\\/, '').toLowerCase();
    if (!NAMES.has(name)) return statusReply(Status.OBJECT_NAME_NOT_FOUND);
    if (request.session.isAnonymous && FOR_USERS.has(name)) return statusReply(Status.ACCESS_DENIED);
    const pipes = this.#open.get(request.tree) ?? new Map<bigint, NamedPipe>();
    const { usage } = request.session;
    if (pipes.size >= MAX_PIPES_PER_TREE || !this.#usage.hasRoomForPipe(usage)) {
      return statusReply(Status.PIPE_NOT_AVAILABLE);
    }
    this.#usage.addPipes(1, usage);
    this.#open.set(request.tree, pipes);
    const id = this.#nextId++;
    pipes.set(id, new NamedPipe(new RpcServer(this.#rpcOptions)));
    const fileId = { persistent: id, volatile: id };
    request.setCompoundFileId(fileId);
    return reply(
      encodeCreateResponse({
        oplockLevel: OplockLevel.NONE,
        flags: 0,
        createAction: CreateAction.OPENED,
        creationTime: 0n,
        lastAccessTime: 0n,
        lastWriteTime: 0n,
        changeTime: 0n,
        allocationSize: ALLOCATION_SIZE,
        endOfFile: 0,
        fileAttributes: FileAttributes.NORMAL,
        fileId,
        createContexts: [],
      }),
    );
  }

  #find(request: Request, fromBody: FileId): NamedPipe | undefined {
    const { persistent, volatile } = request.fileIdOf(fromBody);
    return persistent === volatile ? this.#open.get(request.tree)?.get(volatile) : undefined;
  }

  #read(request: Request): Reply {
    const { fileId, length } = decodeReadRequest(request.message);
    const pipe = this.#find(request, fileId);
    if (!pipe) return statusReply(Status.FILE_CLOSED);
    if (length > request.connection.maxReadSize || !request.paysFor(length)) {
      return statusReply(Status.INVALID_PARAMETER);
    }
    const { status, data } = pipe.read(length);
    if (status === Status.PIPE_EMPTY) return statusReply(status);
    return reply(encodeReadResponse({ data, dataRemaining: 0, flags: 0 }), status);
  }

  #write(request: Request): Reply {
    const { fileId, data } = decodeWriteRequest(request.message);
    const pipe = this.#find(request, fileId);
    if (!pipe) return statusReply(Status.FILE_CLOSED);
    if (!request.paysFor(data.length)) return statusReply(Status.INVALID_PARAMETER);
    const status = pipe.write(data);
    return status === Status.SUCCESS ? reply(encodeWriteResponse({ count: data.length })) : statusReply(status);
  }

  /** What was written has been taken already. */
  #flush(request: Request): Reply {
    const { fileId } = decodeFlushRequest(request.message);
    return this.#find(request, fileId) ? reply(encodeFlushResponse()) : statusReply(Status.FILE_CLOSED);
  }

  #close(request: Request): Reply {
    const { fileId } = decodeCloseRequest(request.message);
    const pipe = this.#find(request, fileId);
    if (!pipe) return statusReply(Status.FILE_CLOSED);
    this.#open.get(request.tree)?.delete(request.fileIdOf(fileId).volatile);
    this.#usage.addPipes(-1, request.session.usage);
    return reply(encodeCloseResponse());
  }

  /** FileStandardInformation (MS-FSCC 2.4.47), which Windows asks of a pipe before it writes to it. */
  #queryInfo(request: Request): Reply {
    const query = decodeQueryInfoRequest(request.message);
    if (!this.#find(request, query.fileId)) return statusReply(Status.FILE_CLOSED);
    if (query.infoType !== InfoType.FILE || query.fileInfoClass !== FileInfoClass.standard) {
      return statusReply(Status.NOT_SUPPORTED);
    }
    const output = Buffer.alloc(24);
    if (query.outputBufferLength < output.length) return statusReply(Status.INFO_LENGTH_MISMATCH);
    output.writeUInt32LE(ALLOCATION_SIZE, 0);
    output.writeUInt32LE(1, 16); // one link
    output.writeUInt8(1, 20); // DeletePending, as Windows says of pipes
    return reply(encodeOutputBuffer({ output }));
  }

  #wait({ input }: IoctlRequest): Reply {
    // FSCTL_PIPE_WAIT (MS-FSCC 2.3.49): Timeout (8), NameLength (4), TimeoutSpecified (1), padding (1), Name.
    if (input.length < 14 || input.readUInt32LE(8) > input.length - 14) return statusReply(Status.INVALID_PARAMETER);
    const name = input.toString('utf16le', 14, 14 + input.readUInt32LE(8)).toLowerCase();
    return statusReply(NAMES.has(name.replace(/^\\/, '')) ? Status.SUCCESS : Status.OBJECT_NAME_NOT_FOUND);
  }
}

/** NamedPipeState of a pipe that both ends have open (MS-FSCC 2.3.46). */
const CONNECTED = 3;
const PEEK_FIXED_SIZE = 16;

/** FSCTL_PIPE_PEEK (MS-FSCC 2.3.46): as much of the next message as there is room for. */
function peek(pipe: NamedPipe, ioctl: IoctlRequest): Reply {
  if (ioctl.maxOutputResponse < PEEK_FIXED_SIZE) return statusReply(Status.INVALID_PARAMETER);
  const { unread, messages, next } = pipe.peek();
  const data = next.subarray(0, ioctl.maxOutputResponse - PEEK_FIXED_SIZE);
  const fixed = Buffer.alloc(PEEK_FIXED_SIZE);
  fixed.writeUInt32LE(CONNECTED, 0);
  fixed.writeUInt32LE(unread, 4);
  fixed.writeUInt32LE(messages, 8);
  fixed.writeUInt32LE(next.length, 12);
  const status = data.length < next.length ? Status.BUFFER_OVERFLOW : Status.SUCCESS;
  return ioctlReply(ioctl, Buffer.concat([fixed, data]), status);
}
