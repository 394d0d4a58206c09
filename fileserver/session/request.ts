// What a command handler gets and gives. One handler a command, in fileserver/commands/; the dispatcher of session/ has
// checked header, signature, session, tree connect and credits before, and signs, encrypts and sends what comes back.
import type { Logger } from '../../common/logging.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { HEADER_SIZE, type Header } from '../../smb/wire/header.ts';
import type { IoctlRequest } from '../../smb/wire/ioctl.ts';
import type { Waiter } from '../handles/waiter.ts';
import type { Handles } from '../handles.ts';
import type { Metrics } from '../metrics.ts';
import type { Changes } from '../notify/changes.ts';
import type { ChannelSequence } from '../opens/channel-sequence.ts';
import type { Opens } from '../opens/opens.ts';
import type { Settings } from '../settings.ts';
import type { Shares } from '../shares.ts';
import type { DeadlineGate } from './deadline-gate.ts';
import type { FilePart } from './file-sending.ts';
import { replyBuffers } from './reply-buffers.ts';
import type { Connection, Session, TreeConnect } from './session.ts';
import type { Accounts } from './usage.ts';

/**
 * One request of a client. It is a Waiter, so that it can be handed to `handles` as it is: an interim reply of the sidecar
 * then becomes STATUS_PENDING, and a CANCEL of the client a Cancel to the sidecar.
 */
export interface Request extends Waiter {
  readonly header: Header;
  /**
   * The message: a view that begins at its SMB2 header and ends where the next of its compound begins. What the codecs of
   * smb/wire take. The bytes stay valid as long as anybody refers to them; nothing reuses them.
   */
  readonly message: Buffer;
  readonly connection: Connection;
  /** Of an authenticated session, for every command but NEGOTIATE and SESSION_SETUP (which have their own entrance). */
  readonly session: Session;
  /** For the commands that need one: CREATE and all behind it in the command's numbering except CANCEL and ECHO. TREE_CONNECT sets it. */
  tree: TreeConnect;
  readonly services: Services;
  /** SMB2_FLAGS_REPLAY_OPERATION of a 3.x dialect (MS-SMB2 3.3.5.2.3 and following); false in older dialects. */
  readonly isReplay: boolean;
  /** ChannelSequence of a 3.x dialect, 0 in older ones: checked where the open of a request is looked up (3.3.5.2.10). */
  readonly channelSequence: number;
  /**
   * Whether the answer may end with a part of a file that is not copied (fileReply): it is alone in its frame, neither signed nor encrypted,
   * and nothing that waits to be sent is before it. Holds until the handler returns or awaits something.
   */
  readonly mayAnswerWithFile: boolean;
  /** Of the open that the request is about: it is counted there while it is under way. */
  channel: ChannelSequence | undefined;
  /** It goes on when its connection is lost, if its session has another: who repeats it finds it under way. */
  outlivesChannel: boolean;
  /** Aborted by CANCEL, by the end of the connection or session. Made at first use: do not touch it where nothing waits. */
  readonly signal: AbortSignal;
  /** Sends the interim response STATUS_PENDING, once; later calls do nothing (MS-SMB2 3.3.4.2). */
  goAsync(): void;
  /**
   * The FileId that the request is about: `fromBody`, or in a related request of a compound the one of the request before
   * it (3.3.5.2.7.2).
   */
  fileIdOf(fromBody: FileId): FileId;
  /** CREATE calls this when its open is there: that counts from then on, and no longer the CREATE that makes it. */
  opened(): void;
  /** CREATE calls this when it succeeds, the others when they resolved an open: related requests that follow mean this one. */
  setCompoundFileId(fileId: FileId): void;
  /**
   * Whether CreditCharge pays for a payload (the larger of what is sent and what may be returned, in bytes): else the answer is
   * STATUS_INVALID_PARAMETER (3.3.5.2.5).
   */
  paysFor(payloadSize: number): boolean;
}

/** Named pipes of IPC$ (fileserver/pipes/): the dispatcher sends every request on IPC$ there by itself. */
export interface PipeService {
  handle(request: Request): Reply;
  ioctl(request: Request, ioctl: IoctlRequest): Reply;
  endTree(tree: TreeConnect): void;
}

export interface Services {
  readonly handles: Handles;
  readonly opens: Opens;
  readonly shares: Shares;
  readonly pipes: PipeService;
  readonly changes: Changes;
  readonly settings: Settings;
  readonly deadline: DeadlineGate;
  readonly metrics: Metrics;
  /** What is in use, and how much may be. */
  readonly accounts: Accounts;
  readonly log: Logger;
}

/** Bytes that lie before the body in a roomy reply: frame length, transform header, SMB2 header, rounded up. */
export const REPLY_ROOM = 128;
/** Where the body begins, counted from the SMB2 header: offsets in bodies (DataOffset, ...) count from there. */
export const BODY_OFFSET = HEADER_SIZE;

/** What a handler gives back. Made by the functions below only, so that all replies have one shape. */
export interface Reply {
  /** NTSTATUS. With an error status and an empty body the dispatcher sends the ERROR response (MS-SMB2 2.2.2). */
  readonly status: number;
  /** The body, from its StructureSize on; of a roomy reply REPLY_ROOM free bytes come first. */
  readonly body: Buffer;
  /** 0, or REPLY_ROOM. */
  readonly room: number;
  /** What comes behind the body. */
  readonly file: FilePart | undefined;
}

const NO_BODY = Buffer.alloc(0);

/** A reply whose body is copied behind its header: for bodies of up to a few KiB. */
export function reply(body: Buffer, status = 0): Reply {
  return { status, body, room: 0, file: undefined };
}

/** A reply with a status alone. */
export function statusReply(status: number): Reply {
  return { status, body: NO_BODY, room: 0, file: undefined };
}

/**
 * A buffer for a body that is not copied: write the body to bytes REPLY_ROOM and following, then give it to roomyReply. It may be
 * larger than asked for, and is used again once the reply is sent.
 */
export function allocateRoomy(bodySize: number): Buffer {
  return replyBuffers.take(REPLY_ROOM + bodySize);
}

/** A reply whose body lies in a buffer of allocateRoomy, `bodySize` bytes of it. READ, large QUERY_DIRECTORY. */
export function roomyReply(buffer: Buffer, bodySize: number, status = 0): Reply {
  const end = REPLY_ROOM + bodySize;
  const body = end === buffer.length ? buffer : buffer.subarray(0, end);
  return { status, body, room: REPLY_ROOM, file: undefined };
}

/**
 * A reply whose body ends with a part of a file, which the kernel takes from the page cache; only where the request `mayAnswerWithFile`, and
 * not by a promise. @param body what comes before that part
 */
export function fileReply(body: Buffer, file: FilePart): Reply {
  return { status: 0, body, room: 0, file };
}

/**
 * Does one command. Returns the reply itself where nothing has to be waited for: no promise on the hot path (READ, WRITE,
 * CLOSE). It may throw or reject: StatusError is answered with its status, WireError with STATUS_INVALID_PARAMETER, FencedError
 * ends the connection without an answer, anything else is a defect: logged, and the connection ends.
 */
export type Handler = (request: Request) => Reply | Promise<Reply>;

/** Ends a request with a status. For the rare ways out of deep calls; where it is cheap, return statusReply. */
export class StatusError extends Error {
  readonly code = 'STATUS';
  readonly status: number;

  constructor(status: number, message = '') {
    super(message);
    this.name = 'StatusError';
    this.status = status;
  }
}
