import type { Socket } from 'node:net';
import { ChurningMap } from '../../common/churning-map.ts';
import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { whenSent } from '../../common/portions.ts';
import { Capabilities, Command, Dialect, Flags } from '../../smb/constants.ts';
import { CryptoError } from '../../smb/crypto/errors.ts';
import { preauthHashStart, preauthHashUpdate } from '../../smb/crypto/preauth.ts';
import { isError, Status } from '../../smb/status.ts';
import { WireError } from '../../smb/wire/errors.ts';
import { FrameReader } from '../../smb/wire/framing.ts';
import {
  decodeHeader,
  decodeTransformHeader,
  encodeHeader,
  HEADER_SIZE,
  joinCompound,
  messageKind,
  splitCompound,
  TRANSFORM_HEADER_SIZE,
  UNSOLICITED_MESSAGE_ID,
} from '../../smb/wire/header.ts';
import { answerSmb1Negotiate, negotiate } from '../commands/negotiate.ts';
import { sessionSetup } from '../commands/session-setup.ts';
import { BreakDelivery } from './break-delivery.ts';
import { Call, type CallHost, type Chain } from './call.ts';
import { FencedError } from './deadline-gate.ts';
import { dispatch, needsTree } from './dispatch.ts';
import type { Negotiated, ServerHost, SessionSetup } from './host.ts';
import {
  ARRIVAL_TIMEOUT_MS,
  LINGER_MS,
  LOGGED_OFF_TIMEOUT_MS,
  LOGON_TIMEOUT_MS,
  MAX_ASYNC,
  MAX_COMPOUND,
  MAX_FRAME,
  MAX_FRAME_BEFORE_LOGON,
  MAX_IN_FLIGHT,
  MAX_RETIRED,
  MAX_UNSENT,
  SMALL,
} from './limits.ts';
import { allocateMessage, receiving, releaseMessage } from './receiving.ts';
import { type Reply, type Services, StatusError, statusReply } from './request.ts';
import { framed, type Outgoing, outgoing, sealedFrame } from './seal.ts';
import { SendQueue } from './send-queue.ts';
import { MAX_CREDITS, MAX_CREDITS_BEFORE_LOGON, SequenceWindow } from './sequence-window.ts';
import type { Channel, Session } from './session.ts';
import type { Accounts, Usage } from './usage.ts';
import { weightOf } from './weight.ts';

/** Requests of a connection that begin to wait for something in one turn of the event loop. */
const WAITING_A_TURN = 16;

/** The server that a connection belongs to. */
export interface ConnectionOwner extends ServerHost {
  endSession(session: Session, reason: string, own?: number, by?: ServerConnection): Promise<void>;
  connectionClosed(connection: ServerConnection): void;
  /** Somebody is (or nobody is any more) logged on to the connection. */
  loggedOn(connection: ServerConnection, isLoggedOn: boolean): void;
}

/** One client's connection: takes its frames apart, has the requests done, and sends what comes back. */
export class ServerConnection implements CallHost {
  readonly id: number;
  readonly remote: string;
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly services: Services;
  readonly server: ConnectionOwner;
  readonly channels = new Map<bigint, Channel>();
  /** Authentication exchanges that have begun, by session. */
  readonly setups = new Map<bigint, SessionSetup>();
  readonly log: Logger;
  negotiated: Negotiated | undefined;
  /** Connection.PreauthIntegrityHashValue (3.3.1.7). */
  preauthHash: Buffer = preauthHashStart();
  /** A multi-protocol negotiate was answered with 0x02FF: one more NEGOTIATE comes. */
  #awaitsSecondNegotiate = false;
  isOpen = true;
  /** Resolves when nothing of the connection is left here. */
  readonly gone: Promise<void>;
  readonly #socket: Socket;
  readonly #reader = new FrameReader(MAX_FRAME_BEFORE_LOGON, (length) => this.#admitsFrame(length), allocateMessage);
  readonly #window = new SequenceWindow();
  #maxCredits = MAX_CREDITS_BEFORE_LOGON;
  readonly #pending = new ChurningMap<number, Call>();
  #begun = 0;
  /** Bytes of what is in #pending, see MAX_IN_FLIGHT. */
  #inFlightBytes = 0;
  /** Bytes of a message that has begun to arrive, and of replies that the client has not read yet; where they are many. */
  #arrivingBytes = 0;
  #unreadBytes = 0;
  readonly #accounts: Accounts;
  /** Of who has logged on last: what is in flight is on his account. */
  #usage: Usage | undefined;
  #asyncCount = 0;
  #nextAsyncId = 1n;
  readonly #queue: SendQueue;
  #retired: Session[] = [];
  #isDraining = false;
  /** Requests that this turn has begun and that wait for something. */
  #begunToWait = 0;
  #isQuiesced = false;
  /** Compounds of which a part was done while the connection was quiesced, and others are left. */
  #heldChains: Chain[] = [];
  /** Waits for the deadline gate, or for the client to read what was sent. */
  #waitsForGate = false;
  #waitsForClient = false;
  #waitsForRequests = false;
  #waitsForTurn = false;
  #waitsForRoom = false;
  readonly #breaks: BreakDelivery;
  #logonTimer: NodeJS.Timeout | undefined;
  #arrivalTimer: NodeJS.Timeout | undefined;

  /** `accepted`: paused, see `receiving`. */
  constructor(server: ConnectionOwner, accepted: Socket, id: number) {
    this.server = server;
    this.services = server.services;
    this.#accounts = server.accounts;
    const socket = receiving(accepted, this.#reader, (bytes) => {
      this.services.metrics.bytesIn(bytes);
      this.#drain();
    });
    this.#socket = socket;
    this.#queue = new SendQueue(socket, {
      mayServe: () => this.services.deadline.mayServe(),
      waitForGate: () => this.#waitForGate(),
      unread: (bytes) => this.#keepsUnread(bytes),
      waitForClient: () => this.#waitForClient(),
      sent: (bytes) => this.services.metrics.bytesOut(bytes),
    });
    this.gone = new Promise((resolve) => socket.once('close', () => resolve()));
    this.#breaks = new BreakDelivery(this, () => this.close('a break does not reach the client', true));
    this.id = id;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.remote = `${socket.remoteAddress}:${socket.remotePort}`;
    this.localAddress = socket.localAddress ?? '';
    this.log = server.services.log.child({ connection: id, client: this.remote });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    socket.on('error', (error) => this.log.debug({ reason: error.message }, 'connection broke'));
    socket.on('close', () => this.#closed());
    this.#armLogonTimer(LOGON_TIMEOUT_MS);
  }

  // ---- what handlers see -------------------------------------------------------------------------------------------

  get dialect(): number {
    return this.negotiated?.dialect ?? 0;
  }
  get clientGuid(): Buffer {
    return this.negotiated?.clientGuid ?? Buffer.alloc(16);
  }
  get clientCapabilities(): number {
    return this.negotiated?.clientCapabilities ?? 0;
  }
  get serverCapabilities(): number {
    return this.negotiated?.serverCapabilities ?? 0;
  }
  get clientSecurityMode(): number | undefined {
    return this.negotiated?.clientSecurityMode;
  }
  get clientDialects(): Buffer | undefined {
    return this.negotiated?.clientDialects;
  }
  get maxTransactSize(): number {
    return this.negotiated?.maxIoSize ?? 0;
  }
  get maxReadSize(): number {
    return this.negotiated?.maxIoSize ?? 0;
  }
  get maxWriteSize(): number {
    return this.negotiated?.maxIoSize ?? 0;
  }

  /** Transport.written */
  get written(): number | undefined {
    return this.#queue.written;
  }

  /** Transport.acknowledged */
  get acknowledged(): number | undefined {
    return this.#queue.acknowledged;
  }

  /** Whether sessions of this connection can be encrypted. */
  get canEncrypt(): boolean {
    return this.negotiated?.cipherId !== undefined;
  }

  sendBreak(session: Session, body: Buffer, lost: () => void): void {
    if (!this.isOpen) return;
    this.#breaks.sent(() => session.channels.some(({ connection }) => connection !== this && connection.isOpen), lost);
    const lead = 4 + TRANSFORM_HEADER_SIZE;
    const bytes = Buffer.allocUnsafe(lead + HEADER_SIZE + body.length);
    bytes.set(body, lead + HEADER_SIZE);
    encodeHeader(
      { command: Command.OPLOCK_BREAK, flags: Flags.SERVER_TO_REDIR, messageId: UNSOLICITED_MESSAGE_ID },
      bytes,
      lead,
    );
    this.#push(session.encryptData && session.sealer ? sealedFrame({ bytes, at: lead }, session) : framed(bytes, lead));
  }

  endSession(session: Session, reason: string, own: number): Promise<void> {
    return this.server.endSession(session, reason, own, this);
  }

  close(reason: string, reset = false): void {
    if (!this.isOpen) return;
    this.#ends();
    this.log.debug({ reason }, 'closing connection');
    if (reset) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  /**
   * Ends the connection behind what was sent, and throws away for a moment what its client still sends: who is sending just now finds an
   * end when it next receives, where a reset would fail the write in the middle (Linux gives that to the program as ECONNABORTED).
   */
  leave(reason: string): void {
    if (!this.isOpen) return;
    this.#ends();
    this.log.debug({ reason }, 'leaving connection');
    this.#reader.end();
    this.#socket.end();
    this.#socket.resume();
    const linger = setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
    this.#socket.once('close', () => clearTimeout(linger));
  }

  // ---- holding back ------------------------------------------------------------------------------------------------

  /** Begins no more requests until `resume`: what arrives waits, unread, and so do the parts of a compound that are left. */
  quiesce(): void {
    this.#isQuiesced = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isQuiesced = false;
    const held = this.#heldChains;
    this.#heldChains = [];
    for (const chain of held) this.#continue(chain);
    this.#goOn();
  }

  #isHeld(): boolean {
    if (this.#isQuiesced || this.#waitsForClient || this.#waitsForTurn) return true;
    if (this.#queue.bytes > MAX_UNSENT) this.#queue.flush();
    if (this.#inFlightBytes > MAX_IN_FLIGHT) this.#waitForRequests();
    if (!this.#hasRoom()) this.#waitForRoom();
    if (this.#waitsForClient || this.#waitsForRequests || this.#waitsForRoom) return true;
    if (this.services.deadline.mayServe()) return false;
    this.#waitForGate();
    return true;
  }

  /**
   * Where the server (or the user) has much in flight, only who has nothing gets more: one request at a time for everybody. What has begun
   * to arrive has its memory and goes on.
   */
  #hasRoom(): boolean {
    const accounts = this.#accounts;
    if (!accounts.isFull(this.#usage) || this.#arrivingBytes > 0) return true;
    return this.#inFlightBytes === 0 && this.#unreadBytes === 0 && !accounts.isOverfull();
  }

  #waitForRoom(): void {
    if (this.#waitsForRoom) return;
    this.#waitsForRoom = true;
    this.#socket.pause();
    this.#accounts.whenFreed(() => {
      this.#waitsForRoom = false;
      this.#goOn();
    });
  }

  /** Memory for a large message that has begun to arrive. */
  #admitsFrame(length: number): boolean {
    if (length <= SMALL) return true;
    if (!this.#hasRoom()) {
      this.#waitForRoom();
      return false;
    }
    this.#arrivingBytes = length;
    this.#arrivalTimer = setTimeout(() => this.close('a message did not arrive in time'), ARRIVAL_TIMEOUT_MS);
    this.#arrivalTimer.unref();
    this.#accounts.addBytes(length, this.#usage);
    return true;
  }

  #hasArrived(): void {
    if (this.#arrivingBytes === 0) return;
    clearTimeout(this.#arrivalTimer);
    this.#accounts.addBytes(-this.#arrivingBytes, this.#usage);
    this.#arrivingBytes = 0;
  }

  /** What was begun reaches the sidecar before more is begun: it is waited for all the same, and decides meanwhile. */
  #waitForTurn(): void {
    this.#waitsForTurn = true;
    this.#socket.pause();
    whenSent(() => {
      this.#waitsForTurn = false;
      this.#goOn();
    });
  }

  /** Past the deadline: neither takes nor sends anything until a renewal (docs/decisions/0002). */
  #waitForGate(): void {
    if (this.#waitsForGate) return;
    this.#waitsForGate = true;
    this.#socket.pause();
    this.services.deadline.reopened().then(
      () => {
        this.#waitsForGate = false;
        this.#goOn();
      },
      () => this.close('fenced', true),
    );
  }

  #goOn(): void {
    if (!this.isOpen || this.#isQuiesced || this.#waitsForGate || this.#waitsForClient) return;
    if (this.#waitsForRequests || this.#waitsForRoom || this.#waitsForTurn) return;
    this.#socket.resume();
    this.#drain();
  }

  // ---- taking frames apart -----------------------------------------------------------------------------------------

  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#begunToWait = 0;
    try {
      while (this.isOpen && !this.#isHeld()) {
        const frame = this.#reader.next();
        if (!frame) break;
        this.#hasArrived();
        this.#takeFrame(frame);
        if (this.#begunToWait >= WAITING_A_TURN) this.#waitForTurn();
      }
    } catch (error) {
      this.#closeFor(error);
    } finally {
      this.#isDraining = false;
    }
    this.#queue.flush();
  }

  /** What was thrown where a message was taken apart ends the connection. */
  #closeFor(error: unknown): void {
    if (error instanceof WireError || error instanceof CryptoError) {
      this.log.info({ reason: error.message }, 'malformed message: closing the connection');
    } else {
      this.log.error({ err: error }, 'a request could not be taken: closing the connection');
    }
    this.close(reasonOf(error));
  }

  #takeFrame(frame: Buffer): void {
    switch (messageKind(frame)) {
      case 'smb2':
        this.#takeMessages(frame, undefined);
        return;
      case 'transform':
        this.#takeSealed(frame);
        return;
      case 'smb1':
        this.#takeSmb1(frame);
        return;
      default:
        this.close('not an SMB2 message');
    }
  }

  /** 3.3.5.2.1.1: the key may be of a session that is used on other connections; what is asked for is refused later then. */
  #takeSealed(frame: Buffer): void {
    const { sessionId, flags } = decodeTransformHeader(frame);
    const session = this.channels.get(sessionId)?.session ?? this.server.sessions.get(sessionId);
    if (flags !== 1 || !session?.opener || session.state === 'Ended') {
      this.close('an encrypted message of no session');
      return;
    }
    const message = session.opener.open(frame);
    if (messageKind(message) !== 'smb2') {
      this.close('not an SMB2 message within an encrypted one');
      return;
    }
    this.#takeMessages(message, session);
  }

  /** 3.3.5.3: a client that may also speak SMB1. */
  #takeSmb1(frame: Buffer): void {
    if (this.negotiated || this.#awaitsSecondNegotiate) {
      this.close('SMB1 after NEGOTIATE');
      return;
    }
    const answer = answerSmb1Negotiate(this, frame);
    if (!answer) {
      this.close('an SMB1 client that offers no SMB2');
      return;
    }
    this.#window.take(0, 1);
    this.#awaitsSecondNegotiate = answer.dialect === Dialect.SMB_2_WILDCARD;
    const header = { command: Command.NEGOTIATE, messageId: 0, flags: Flags.SERVER_TO_REDIR, credits: this.#grant(1) };
    const bytes = Buffer.allocUnsafe(4 + HEADER_SIZE + answer.body.length);
    bytes.set(answer.body, 4 + HEADER_SIZE);
    encodeHeader(header, bytes, 4);
    this.#push(framed(bytes, 4));
  }

  #takeMessages(frame: Buffer, sealedBy: Session | undefined): void {
    const arrivedMs = performance.now();
    const parts = splitCompound(frame, MAX_COMPOUND);
    if (parts.length === 1) {
      const call = this.#admit(frame, undefined, sealedBy, arrivedMs);
      if (call) this.#begin(call);
      return;
    }
    this.#run({
      parts,
      index: 0,
      sealedBy,
      arrivedMs,
      sessionId: 0n,
      treeId: 0,
      fileId: undefined,
      isAdrift: false,
      status: 0,
      command: -1,
      createStatus: 0,
      responses: [],
    });
  }

  /** Header, sequence number and order of NEGOTIATE: what ends the connection if it is wrong (3.3.5.2.2, 3.3.5.2.3, 3.3.5.2.6). */
  #admit(
    message: Buffer,
    chain: Chain | undefined,
    sealedBy: Session | undefined,
    arrivedMs: number,
  ): Call | undefined {
    const header = decodeHeader(message);
    const call = new Call(this, message, header, chain, sealedBy, arrivedMs);
    if ((header.flags & Flags.SERVER_TO_REDIR) !== 0) {
      this.close('a response, sent to a server');
      return undefined;
    }
    // 3.3.5.2.6; within a compound it is answered, as Windows does.
    if (header.command > Command.SERVER_TO_CLIENT_NOTIFICATION && !chain) {
      this.close(`command ${header.command} is none of SMB2`);
      return undefined;
    }
    if (header.command === Command.CANCEL) {
      this.#cancel(call);
      return undefined;
    }
    const charge = this.dialect > Dialect.SMB_2_0_2 ? Math.max(1, header.creditCharge) : 1;
    if (!this.#window.take(header.messageId, charge)) {
      this.close(`MessageId ${header.messageId} (charge ${charge}) is not the client's to use`);
      return undefined;
    }
    if ((header.command === Command.NEGOTIATE) !== (this.negotiated === undefined)) {
      this.close(this.negotiated ? 'a second NEGOTIATE' : 'a command before NEGOTIATE');
      return undefined;
    }
    return call;
  }

  /** 3.3.5.16: no response, no credits. The request that waits gets its own answer. */
  #cancel(call: Call): void {
    const { header } = call;
    const channel = this.channels.get(header.sessionId);
    if (channel && !call.sealedBy && channel.session.state !== 'InProgress') {
      if (call.isSigned ? !channel.signer?.verify(call.message) : channel.session.signingRequired) return;
    }
    for (const pending of this.#pending.values()) {
      const matches =
        header.asyncId === undefined
          ? pending.header.messageId === header.messageId
          : pending.asyncId === header.asyncId && pending.asyncId !== 0n;
      if (matches) pending.cancel();
    }
  }

  // ---- doing requests ----------------------------------------------------------------------------------------------

  #begin(call: Call): void {
    const result = this.#carryOut(call);
    if (result instanceof Promise) {
      this.#begunToWait++;
      this.#await(call, result, (reply) => this.#finish(call, reply));
    } else if (result) this.#finish(call, result);
  }

  #finish(call: Call, reply: Reply): void {
    this.#respond(call, reply);
    // Its data is on the volume; of all requests only these are often large.
    if (call.header.command === Command.WRITE) releaseMessage(call.message);
  }

  /** Undefined: the connection was closed instead of an answer. */
  #carryOut(call: Call): Reply | Promise<Reply> | undefined {
    try {
      switch (call.header.command) {
        case Command.NEGOTIATE:
          return call.chain ? this.#refuseChain('NEGOTIATE') : negotiate(call);
        case Command.SESSION_SETUP:
          return call.chain ? statusReply(Status.INVALID_PARAMETER) : sessionSetup(call);
        default:
          return dispatch(call);
      }
    } catch (error) {
      return this.#replyTo(error, call);
    }
  }

  #refuseChain(command: string): undefined {
    this.close(`${command} in a compound`);
    return undefined;
  }

  #await(call: Call, result: Promise<Reply>, then: (reply: Reply) => void): void {
    const session = call.knownSession;
    session?.begun();
    const usage = session?.usage;
    const accounts = this.#accounts;
    call.place = this.#begun++;
    this.#pending.set(call.place, call);
    call.weight = weightOf(call.header, call.message);
    this.#inFlightBytes += call.weight;
    accounts.addBytes(call.weight, usage);
    accounts.addRequests(1, usage);
    if (call.header.command === Command.CREATE) call.begunToOpen(usage);
    // It was told to wait before its handler had given a promise.
    if (call.asyncId !== 0n) this.#countAsWaiting(call);
    // 3.3.5.2.10: a request that was answered at once was never outstanding.
    const { channel } = call;
    const generation = channel?.begin() ?? 0;
    result.then(
      (reply) => {
        channel?.end(generation);
        this.#settled(call, session, usage);
        if (this.isOpen && !session?.isReleased) then(reply);
      },
      (error) => {
        channel?.end(generation);
        this.#settled(call, session, usage);
        const reply = this.#replyTo(error, call);
        if (reply && this.isOpen && !session?.isReleased) then(reply);
      },
    );
  }

  #settled(call: Call, session: Session | undefined, usage: Usage | undefined): void {
    const accounts = this.#accounts;
    this.#pending.delete(call.place);
    this.#inFlightBytes -= call.weight;
    accounts.addBytes(-call.weight, usage);
    call.opened(); // or not, and never will be
    if (call.asyncId !== 0n) this.#asyncCount--;
    if (call.countsAsWaiting) accounts.addWaiting(-1, usage);
    else accounts.addRequests(-1, usage);
    if (call.outlivesChannel) session?.adrift.delete(call);
    session?.finished(call.countsAsWaiting);
    this.#queue.scheduleFlush();
    if (this.#waitsForRequests && this.#inFlightBytes <= MAX_IN_FLIGHT / 2) {
      this.#waitsForRequests = false;
      setImmediate(() => this.#goOn());
    }
  }

  /** The status for what a handler threw; undefined, and the connection closed, where it is none. */
  #replyTo(error: unknown, call: Call): Reply | undefined {
    if (error instanceof StatusError) return statusReply(error.status);
    if (error instanceof WireError) {
      this.log.debug({ command: call.header.command, reason: error.message }, 'malformed request');
      return statusReply(Status.INVALID_PARAMETER);
    }
    if (error instanceof FencedError) {
      this.close('fenced', true);
      return undefined;
    }
    if (this.isOpen) {
      this.log.error({ err: error, command: call.header.command }, 'a request failed in a way that is a defect');
    }
    this.close('a defect');
    return undefined;
  }

  /** Goes on with a compound whose parts waited for something. */
  #continue(chain: Chain): void {
    try {
      this.#run(chain);
    } catch (error) {
      this.#closeFor(error);
    }
    this.#queue.flush();
  }

  /** The parts of a compound one after the other; comes back when one of them has to wait. */
  #run(chain: Chain): void {
    while (chain.index < chain.parts.length) {
      const part = chain.parts[chain.index];
      if (!part || !this.isOpen) return;
      if (this.#isQuiesced) {
        this.#heldChains.push(chain);
        return;
      }
      const call = this.#admit(part, chain, chain.sealedBy, chain.arrivedMs);
      if (!call) {
        if (!this.isOpen) return;
        chain.index++;
        continue;
      }
      const result = this.#carryOut(call);
      if (result instanceof Promise) {
        this.#await(call, result, (reply) => {
          this.#record(chain, call, reply);
          this.#continue(chain);
        });
        return;
      }
      if (!result) return;
      this.#record(chain, call, result);
    }
    this.#sendChain(chain);
  }

  #record(chain: Chain, call: Call, reply: Reply): void {
    chain.index++;
    chain.status = reply.status;
    chain.command = call.header.command;
    chain.sessionId = call.sessionId;
    chain.treeId = call.treeId;
    chain.isAdrift = !call.knownSession || (needsTree.has(call.header.command) && !call.hasTree);
    if (call.header.command === Command.CREATE) chain.createStatus = isError(reply.status) ? reply.status : 0;
    if (call.asyncId !== 0n) {
      // The client has had its interim response by itself; so comes the final one.
      this.#sendChain(chain);
      this.#respond(call, reply);
      return;
    }
    const out = outgoing(call, reply, this.#creditsFor(call));
    this.#count(call, reply.status);
    chain.responses.push({
      message: out.bytes.subarray(out.at),
      signing: call.wantsSignature ? call.signing : undefined,
    });
  }

  #sendChain(chain: Chain): void {
    const { responses } = chain;
    if (responses.length === 0) return;
    chain.responses = [];
    const lead = 4 + TRANSFORM_HEADER_SIZE;
    const { message, parts } = joinCompound(
      responses.map((one) => one.message),
      responses.length > 1,
    );
    const bytes = Buffer.allocUnsafe(lead + message.length);
    bytes.set(message, lead);
    const sealer = chain.sealedBy;
    if (sealer?.sealer) {
      this.#push(sealedFrame({ bytes, at: lead }, sealer));
      return;
    }
    let at = lead;
    parts.forEach((part, i) => {
      responses[i]?.signing?.signer?.sign(bytes, at, part.length);
      at += part.length;
    });
    this.#push(framed(bytes, lead));
  }

  // ---- answering ---------------------------------------------------------------------------------------------------

  #respond(call: Call, reply: Reply): void {
    if (!this.isOpen) return;
    this.#count(call, reply.status);
    const out = outgoing(call, reply, call.asyncId === 0n ? this.#creditsFor(call) : 0);
    if (!reply.file) this.#protectAndPush(call, out, true);
    else if (!this.#queue.sendWithFile(framed(out.bytes, out.at, reply.file.length), reply.file)) {
      this.close('a file became shorter while it was sent', true);
    }
  }

  isSendingAtOnce(): boolean {
    return this.#queue.isEmptied();
  }

  /**
   * STATUS_PENDING (3.3.4.2): carries the credits, and is not signed. Of a compound only the last request may wait for long; what comes
   * after it would wait too (3.3.5.2.7, as Windows does it: a CREATE that waits for a break is let).
   */
  sendInterim(call: Call): void {
    if (!this.isOpen) return;
    if (!call.isLast && call.header.command !== Command.CREATE) throw new StatusError(Status.INTERNAL_ERROR);
    const accounts = this.#accounts;
    const usage = call.knownSession?.usage;
    if (this.#asyncCount >= MAX_ASYNC || !accounts.hasRoomToWait(usage))
      throw new StatusError(Status.INSUFFICIENT_RESOURCES);
    this.#asyncCount++;
    call.asyncId = this.#nextAsyncId++;
    if (this.#pending.has(call.place)) this.#countAsWaiting(call);
    // What is done of its compound does not wait for it.
    if (call.chain) this.#sendChain(call.chain);
    const out = outgoing(call, statusReply(Status.PENDING), this.#creditsFor(call));
    this.#protectAndPush(call, out, false);
    this.#queue.scheduleFlush();
  }

  /** It is not being worked on any more. */
  #countAsWaiting(call: Call): void {
    const session = call.knownSession;
    if (!session) return;
    call.countsAsWaiting = true;
    session.waits();
    this.#accounts.addRequests(-1, session.usage);
    this.#accounts.addWaiting(1, session.usage);
  }

  #protectAndPush(call: Call, out: Outgoing, sign: boolean): void {
    const { sealedBy } = call;
    if (sealedBy?.sealer) {
      this.#push(sealedFrame(out, sealedBy));
      return;
    }
    if (sign && call.wantsSignature) call.signing?.signer?.sign(out.bytes, out.at);
    call.onResponse?.(out.bytes.subarray(out.at));
    this.#push(framed(out.bytes, out.at));
  }

  #creditsFor(call: Call): number {
    return this.#grant(call.creditsWanted);
  }

  #grant(wanted: number): number {
    return this.#window.grant(wanted, this.#maxCredits);
  }

  #count(call: Call, status: number): void {
    const cameAs = call.sealedBy ? 'encrypted' : call.isSigned ? 'signed' : 'plain';
    this.services.metrics.request(call.header.command, status, (performance.now() - call.arrivedMs) * 1000, cameAs);
  }

  #push(frame: Buffer): void {
    this.#queue.push(frame);
    if (!this.#isDraining) this.#queue.scheduleFlush();
  }

  #waitForRequests(): void {
    this.#waitsForRequests = true;
    this.#socket.pause();
  }

  #waitForClient(): void {
    if (this.#waitsForClient) return;
    this.#waitsForClient = true;
    this.#socket.pause();
  }

  /** So much was sent that the client has not read; once it has read all of it, it gets more. */
  #keepsUnread(bytes: number): void {
    if (bytes !== this.#unreadBytes) this.#accounts.addBytes(bytes - this.#unreadBytes, this.#usage);
    this.#unreadBytes = bytes;
    if (bytes > 0 || !this.#waitsForClient) return;
    this.#waitsForClient = false;
    this.#goOn();
  }

  // ---- life --------------------------------------------------------------------------------------------------------

  /** The session has ended, or its client has not become one. */
  dropChannel(sessionId: bigint): void {
    this.channels.delete(sessionId);
    this.setups.delete(sessionId);
    if (this.channels.size > 0 || !this.isOpen) return;
    this.#armLogonTimer(LOGGED_OFF_TIMEOUT_MS);
    this.server.loggedOn(this, false);
  }

  /** Somebody has logged on: larger messages and more credits from now on, on his account. */
  loggedOn(usage: Usage): void {
    clearTimeout(this.#logonTimer);
    this.server.loggedOn(this, true);
    this.#changeAccount(usage);
    this.#reader.maxFrameSize = MAX_FRAME;
    this.#maxCredits = MAX_CREDITS;
  }

  /** What is in flight for the connection itself is counted where it will be taken off again. */
  #changeAccount(usage: Usage): void {
    const own = this.#arrivingBytes + this.#unreadBytes;
    this.#accounts.addBytes(-own, this.#usage);
    this.#usage = usage;
    this.#accounts.addBytes(own, usage);
  }

  /** The NEGOTIATE exchange is over. */
  negotiationDone(negotiated: Negotiated): void {
    this.negotiated = negotiated;
    this.#awaitsSecondNegotiate = false;
  }

  hashForPreauth(message: Buffer): void {
    this.preauthHash = preauthHashUpdate(this.preauthHash, message);
  }

  #armLogonTimer(timeoutMs: number): void {
    clearTimeout(this.#logonTimer);
    this.#logonTimer = setTimeout(() => this.close('nobody logged on in time'), timeoutMs);
    this.#logonTimer.unref();
  }

  /** This connection is lost (3.3.7.1): what waits is aborted, unless its session goes on and its client will ask for it again. */
  #abandonPending(): void {
    for (const call of this.#pending.values()) {
      const session = call.knownSession;
      const hasOther = session?.channels.some(({ connection }) => connection !== this && connection.isOpen);
      if (call.outlivesChannel && hasOther && session?.state === 'Valid') session.adrift.add(call);
      else call.cancel();
    }
  }

  /** Aborts what waits on behalf of one session, or of all. */
  abortPending(session?: Session): void {
    for (const call of this.#pending.values()) if (!session || call.knownSession === session) call.cancel();
  }

  get hasLargeMtu(): boolean {
    return (this.serverCapabilities & Capabilities.LARGE_MTU) !== 0;
  }

  /** Frees the keys of a session that has ended, when nothing can be signed with them any more. */
  retire(session: Session): void {
    if (!this.isOpen) {
      session.closeKeys();
      return;
    }
    // The answer to LOGOFF is still to be signed: the latest few keep their keys.
    this.#retired.push(session);
    if (this.#retired.length > MAX_RETIRED) this.#retired.shift()?.closeKeys();
  }

  #ends(): void {
    this.isOpen = false;
    this.#queue.end();
  }

  #closed(): void {
    this.#ends();
    clearTimeout(this.#logonTimer);
    this.#hasArrived();
    this.#keepsUnread(0);
    this.#abandonPending();
    for (const session of this.#retired) session.closeKeys();
    this.#retired = [];
    this.#heldChains = [];
    this.server.connectionClosed(this);
    this.#breaks.ended();
  }
}
