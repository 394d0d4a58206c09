import { ChurningMap } from '../../common/churning-map.ts';
import { Capabilities, Command, Flags } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { encodeCancelRequest } from '../../smb/wire/cancel.ts';
import { EMPTY } from '../../smb/wire/cursor.ts';
import { encodeEchoRequest } from '../../smb/wire/echo.ts';
import { FRAME_PREFIX_SIZE } from '../../smb/wire/framing.ts';
import {
  creditChargeOf,
  encodeHeader,
  HEADER_SIZE,
  type HeaderInit,
  messageKind,
  splitCompound,
  TRANSFORM_HEADER_SIZE,
} from '../../smb/wire/header.ts';
import { encodeNegotiateRequest } from '../../smb/wire/negotiate.ts';
import { addressText, type ServerAddress } from '../connect/address.ts';
import { Transport } from '../connect/transport.ts';
import { abortedError, SmbError } from '../errors.ts';
import { CREDIT_RESERVE, CREDIT_STEP, CREDIT_TARGET } from './constants.ts';
import { Liveness, type LivenessOptions } from './liveness.ts';
import {
  acceptNegotiateResponse,
  DEFAULT_OFFER,
  type Negotiated,
  type NegotiateOffer,
  negotiateRequest,
} from './negotiate.ts';
import type { SessionSecurity } from './session-security.ts';

/** One request of any command. */
export interface OutgoingRequest {
  /** Command.* */
  command: number;
  /** What follows the SMB2 header: what the encoders of smb/wire give. Copied before `send` returns. */
  body: Buffer;
  /** The rest of the body, for large payloads that would otherwise be copied twice. Copied before `send` returns. */
  tail?: Buffer;
  /** Bytes that the request carries or asks for, whichever is more; decides the CreditCharge. */
  payloadBytes?: number;
  treeId?: number;
  /** The server is told that this was sent before on a connection that was lost. */
  replay?: boolean;
  channelSequence?: number;
  /** Aborts with CANCEL. */
  signal?: AbortSignal;
  /** Told of an answer that came after the request was aborted, so that what it granted can be given back. */
  onLate?: (response: Response) => void;
}

export interface Response {
  /** NTSTATUS of any severity. */
  status: number;
  /** View at the SMB2 header, for the decoders of smb/wire. It stays valid. */
  message: Buffer;
}

export interface ConnectionOptions {
  clientGuid: Buffer;
  /** What the user called the server; for the netname context. */
  serverName: string;
  offer?: NegotiateOffer;
  liveness?: LivenessOptions;
}

/** What a connection tells the session on it. */
export interface ConnectionListener {
  /** OPLOCK_BREAK that the server sent on its own; the message begins at its header. */
  onBreak(message: Buffer): void;
  /** Called once. Every outstanding request has failed with this error too. */
  onLost(reason: SmbError): void;
}

class Pending {
  readonly command: number;
  readonly charge: number;
  readonly resolve: (response: Response) => void;
  readonly reject: (reason: SmbError) => void;
  readonly onLate: ((response: Response) => void) | undefined;
  messageId = -1;
  /** Set by an interim response. */
  asyncId: bigint | undefined;
  aborted = false;
  signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;
  /** The laid-out frame, while it waits for credits. */
  frame: Buffer | undefined;
  messageAt = 0;
  encrypt = false;

  constructor(
    request: OutgoingRequest,
    charge: number,
    resolve: (response: Response) => void,
    reject: (reason: SmbError) => void,
  ) {
    this.command = request.command;
    this.charge = charge;
    this.resolve = resolve;
    this.reject = reject;
    this.onLate = request.onLate;
  }

  release(): void {
    if (this.onAbort) this.signal?.removeEventListener('abort', this.onAbort);
    this.onAbort = undefined;
  }
}

/**
 * One SMB2 connection (MS-SMB2 3.2.1.2) with at most one session on it: message ids, credits, signing, encryption, interim
 * responses, CANCEL, and finding out that the server is dead.
 */
export class Connection {
  readonly address: ServerAddress;
  readonly options: ConnectionOptions;
  /** The two messages of NEGOTIATE as they were on the wire, which preauthentication integrity begins with. */
  negotiateExchange: { request: Buffer; response: Buffer } = { request: EMPTY, response: EMPTY };
  readonly #transport: Transport;
  readonly #pending = new ChurningMap<number, Pending>();
  /** Requests that wait for credits, oldest first. */
  #queue: Pending[] = [];
  #nextMessageId = 0;
  /** Credits that can be spent, and all that there are, spent ones included. */
  #credits = 1;
  #creditsInAll = 1;
  #listener: ConnectionListener | undefined;
  #security: SessionSecurity | undefined;
  #negotiated: Negotiated | undefined;
  #lost: SmbError | undefined;
  #liveness: Liveness | undefined;

  private constructor(transport: Transport, options: ConnectionOptions) {
    this.#transport = transport;
    this.address = transport.address;
    this.options = options;
    transport.listen(
      (message) => this.#onMessage(message),
      (reason) => this.#onClosed(reason),
    );
  }

  /** Connects and negotiates. Throws SmbError; nothing stays open then. */
  static async open(address: ServerAddress, options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
    const connection = new Connection(await Transport.connect(address, signal), options);
    const onAbort = () => connection.close(abortedError(signal, `NEGOTIATE with ${addressText(address)}`));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await connection.#negotiate();
      return connection;
    } catch (error) {
      connection.close();
      throw error instanceof SmbError
        ? error
        : new SmbError('PROTOCOL_VIOLATION', `NEGOTIATE with ${addressText(address)}: ${(error as Error).message}`, {
            cause: error,
          });
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  get negotiated(): Negotiated {
    if (!this.#negotiated) throw new SmbError('CONNECTION_LOST', `${addressText(this.address)} has not negotiated yet`);
    return this.#negotiated;
  }

  /** Why the connection is gone, or undefined while it is there. */
  get lost(): SmbError | undefined {
    return this.#lost;
  }

  /** Requests that have no final answer yet, those that wait for credits included. */
  get outstanding(): number {
    return this.#pending.size + this.#queue.length;
  }

  /** Whether one request may carry or ask for more than 64 KiB. */
  get largeMtu(): boolean {
    return (this.negotiated.capabilities & Capabilities.LARGE_MTU) !== 0;
  }

  listen(listener: ConnectionListener): void {
    this.#listener = listener;
    if (this.#lost) listener.onLost(this.#lost);
  }

  /** From now on messages are signed or encrypted, and checked. Liveness is watched from here on. */
  secure(security: SessionSecurity): void {
    this.#security = security;
    this.#transport.allowLargeFrames();
    this.#liveness ??= new Liveness(
      {
        lastReceivedMs: () => this.#transport.lastReceivedMs,
        outstanding: () => this.outstanding,
        probe: () => this.#echo(),
        dead: (silentMs) =>
          this.close(
            new SmbError(
              'CONNECTION_LOST',
              `${addressText(this.address)} has not answered for ${Math.round(silentMs)} ms`,
            ),
          ),
      },
      this.options.liveness,
    );
  }

  /** Closes at once; outstanding requests fail with `reason`. */
  close(reason?: SmbError): void {
    this.#transport.destroy(reason);
  }

  /**
   * Sends a request as soon as credits allow, and resolves with the final response, whatever its status. Rejects with
   * SmbError: CONNECTION_LOST, or ABORTED or TIMED_OUT as the request's signal says.
   */
  send(request: OutgoingRequest): Promise<Response> {
    if (this.#lost) return Promise.reject(this.#lost);
    const { signal } = request;
    if (signal?.aborted) return Promise.reject(abortedError(signal, 'the request'));
    return new Promise((resolve, reject) => {
      const charge = this.#chargeOf(request.payloadBytes ?? 0);
      const pending = new Pending(request, charge, resolve, reject);
      this.#layOut(pending, request);
      if (signal) {
        pending.signal = signal;
        pending.onAbort = () => this.#abort(pending, signal);
        signal.addEventListener('abort', pending.onAbort, { once: true });
      }
      if (this.#queue.length === 0 && this.#affords(charge)) this.#transmit(pending);
      else this.#queue.push(pending);
    });
  }

  #chargeOf(payloadBytes: number): number {
    return this.#negotiated ? creditChargeOf(payloadBytes) : 1;
  }

  async #negotiate(): Promise<void> {
    const offer = this.options.offer ?? DEFAULT_OFFER;
    const body = encodeNegotiateRequest(negotiateRequest(this.options.clientGuid, this.options.serverName, offer));
    const { response, sent } = await this.sendRecorded({ command: Command.NEGOTIATE, body });
    if (response.status !== Status.SUCCESS) {
      throw SmbError.fromStatus(response.status, `NEGOTIATE with ${addressText(this.address)}`);
    }
    this.#negotiated = acceptNegotiateResponse(response.message, offer);
    this.negotiateExchange = { request: sent, response: Buffer.from(response.message) };
  }

  /** Sees each message as it was sent; only while preauthentication integrity needs it. */
  #onSent: ((message: Buffer) => void) | undefined;

  /** The same as `send`, and also gives the request's message as it was sent, for the preauthentication integrity hash. */
  async sendRecorded(request: OutgoingRequest): Promise<{ sent: Buffer; response: Response }> {
    let sent = EMPTY;
    this.#onSent = (message) => {
      sent = Buffer.from(message);
    };
    try {
      return { response: await this.send(request), sent };
    } finally {
      this.#onSent = undefined;
    }
  }

  /** Lays out prefix, room for a transform header where it is needed, header and body in one buffer. */
  #layOut(pending: Pending, request: OutgoingRequest): void {
    const security = this.#security;
    pending.encrypt = security?.encrypts ?? false;
    const messageAt = FRAME_PREFIX_SIZE + (pending.encrypt ? TRANSFORM_HEADER_SIZE : 0);
    const { body, tail } = request;
    const bodyAt = messageAt + HEADER_SIZE;
    const frame = Buffer.allocUnsafe(bodyAt + body.length + (tail?.length ?? 0));
    const header: HeaderInit = {
      command: request.command,
      messageId: 0,
      creditCharge: pending.charge,
      channelSequence: request.channelSequence ?? 0,
      flags: (request.replay ? Flags.REPLAY_OPERATION : 0) | (security && !pending.encrypt ? Flags.SIGNED : 0),
      treeId: request.treeId ?? 0,
      sessionId: security?.sessionId ?? this.sessionIdWhileSettingUp,
    };
    encodeHeader(header, frame, messageAt);
    frame.set(body, bodyAt);
    if (tail) frame.set(tail, bodyAt + body.length);
    pending.frame = frame;
    pending.messageAt = messageAt;
  }

  /** SessionId of SESSION_SETUP requests after the first, before the session is secured. */
  sessionIdWhileSettingUp = 0n;

  #affords(charge: number): boolean {
    const reserve = this.#creditsInAll > 4 ? CREDIT_RESERVE : 0;
    return this.#credits - reserve >= charge;
  }

  #transmit(pending: Pending): void {
    const { frame, messageAt, charge } = pending;
    if (!frame) return;
    pending.frame = undefined;
    this.#credits -= charge;
    const messageId = this.#nextMessageId;
    this.#nextMessageId += charge;
    pending.messageId = messageId;
    this.#pending.set(messageId, pending);
    const wanted = charge + Math.min(Math.max(CREDIT_TARGET - this.#creditsInAll, 0), CREDIT_STEP);
    frame.writeUInt16LE(wanted, messageAt + 14);
    frame.writeUInt32LE(messageId % 0x1_0000_0000, messageAt + 24);
    frame.writeUInt32LE(Math.floor(messageId / 0x1_0000_0000), messageAt + 28);
    this.#sendOut(frame, messageAt, pending.encrypt);
  }

  #sendOut(frame: Buffer, messageAt: number, encrypt: boolean): void {
    const security = this.#security;
    this.#onSent?.(frame.subarray(messageAt));
    if (encrypt) security?.encrypt(frame, FRAME_PREFIX_SIZE);
    else security?.sign(frame.subarray(messageAt));
    this.#transport.sendFrame(frame);
  }

  #drainQueue(): void {
    let sent = 0;
    for (const pending of this.#queue) {
      if (!this.#affords(pending.charge)) break;
      sent++;
      this.#transmit(pending);
    }
    if (sent > 0) this.#queue = this.#queue.slice(sent);
  }

  #abort(pending: Pending, signal: AbortSignal): void {
    pending.release();
    pending.aborted = true;
    if (pending.frame) this.#queue = this.#queue.filter((queued) => queued !== pending);
    else if (this.#pending.has(pending.messageId)) this.#cancel(pending);
    pending.reject(abortedError(signal, 'the request'));
  }

  /** CANCEL carries the message id (and AsyncId) of what it cancels, no credits, and is not answered (MS-SMB2 3.2.4.24). */
  #cancel(pending: Pending): void {
    const security = this.#security;
    const encrypt = security?.encrypts ?? false;
    const messageAt = FRAME_PREFIX_SIZE + (encrypt ? TRANSFORM_HEADER_SIZE : 0);
    const body = encodeCancelRequest();
    const frame = Buffer.alloc(messageAt + HEADER_SIZE + body.length);
    const async = pending.asyncId !== undefined;
    encodeHeader(
      {
        command: Command.CANCEL,
        messageId: pending.messageId,
        flags: (async ? Flags.ASYNC_COMMAND : 0) | (security && !encrypt ? Flags.SIGNED : 0),
        asyncId: pending.asyncId,
        sessionId: security?.sessionId ?? 0n,
      },
      frame,
      messageAt,
    );
    frame.set(body, messageAt + HEADER_SIZE);
    this.#sendOut(frame, messageAt, encrypt);
  }

  /** Bypasses the queue: the reserve pays for it. False when there is no credit at all. */
  #echo(): boolean {
    if (this.#credits < 1) return false;
    const pending = new Pending({ command: Command.ECHO, body: EMPTY }, 1, ignore, ignore);
    this.#layOut(pending, { command: Command.ECHO, body: encodeEchoRequest() });
    this.#transmit(pending);
    return true;
  }

  #onClosed(reason: SmbError): void {
    this.#lost = reason;
    this.#liveness?.stop();
    this.#security?.close();
    const failed = [...this.#pending.values(), ...this.#queue];
    this.#pending.clear();
    this.#queue = [];
    for (const pending of failed) {
      pending.release();
      if (!pending.aborted) pending.reject(reason);
    }
    this.#listener?.onLost(reason);
  }

  #onMessage(received: Buffer): void {
    try {
      const kind = messageKind(received);
      let message = received;
      const encrypted = kind === 'transform';
      if (encrypted) {
        const opened = this.#security?.decrypt(received);
        if (!opened) throw violation('an encrypted message could not be decrypted');
        message = opened;
      } else if (kind !== 'smb2') {
        throw violation(`a message of another protocol (${kind})`);
      }
      if (message.length >= HEADER_SIZE && message.readUInt32LE(20) === 0) this.#onResponse(message, encrypted);
      else for (const part of splitCompound(message)) this.#onResponse(part, encrypted);
    } catch (error) {
      const code = error instanceof SmbError ? error.code : 'PROTOCOL_VIOLATION';
      this.close(new SmbError(code, `${addressText(this.address)}: ${(error as Error).message}`, { cause: error }));
    }
  }

  /** Reads the few header fields that matter here in place: this runs for every response. */
  #onResponse(message: Buffer, encrypted: boolean): void {
    const flags = message.readUInt32LE(16);
    const command = message.readUInt16LE(12);
    if ((flags & Flags.SERVER_TO_REDIR) === 0) throw violation('a request instead of a response');
    const low = message.readUInt32LE(24);
    const high = message.readUInt32LE(28);
    if (low === 0xffff_ffff && high === 0xffff_ffff) {
      if (command === Command.OPLOCK_BREAK) this.#listener?.onBreak(message);
      return;
    }
    const messageId = high * 0x1_0000_0000 + low;
    const pending = this.#pending.get(messageId);
    if (!pending || pending.command !== command)
      throw violation(`an answer to message ${messageId}, which was not sent`);
    const status = message.readUInt32LE(8);
    const interim = status === Status.PENDING && (flags & Flags.ASYNC_COMMAND) !== 0;
    if (!encrypted) this.#authenticate(pending, message, flags, status, interim);
    const granted = message.readUInt16LE(14);
    this.#credits += granted;
    this.#creditsInAll += granted;
    if (interim) {
      pending.asyncId = message.readBigUInt64LE(32);
    } else {
      this.#pending.delete(messageId);
      this.#creditsInAll -= pending.charge;
      pending.release();
      if (pending.aborted) pending.onLate?.({ status, message });
      else pending.resolve({ status, message });
    }
    if (this.#queue.length > 0) this.#drainQueue();
  }

  /**
   * What was asked under encryption is answered so; all else is signed, interim responses excepted. Other answers are not taken in, and
   * the connection ends, as it may (MS-SMB2 3.2.5.1.3). It does so as a lost one where the server says that it has no such session: then
   * it has no key to sign with either. Who forges that gains no more than by cutting the connection.
   */
  #authenticate(pending: Pending, message: Buffer, flags: number, status: number, interim: boolean): void {
    const security = this.#security;
    if (!security) return;
    if (!pending.encrypt && (interim || ((flags & Flags.SIGNED) !== 0 && security.verify(message)))) return;
    if (status === Status.USER_SESSION_DELETED)
      throw new SmbError('CONNECTION_LOST', 'the server has no such session (any more)', { status });
    if (pending.encrypt) throw violation('a plain answer to an encrypted request');
    throw violation((flags & Flags.SIGNED) !== 0 ? 'a response has a wrong signature' : 'a response is not signed');
  }
}

const ignore = () => undefined;

/** The server broke the protocol: nothing it says can be trusted any more. */
function violation(why: string): SmbError {
  return new SmbError('PROTOCOL_VIOLATION', why);
}
