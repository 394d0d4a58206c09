import { Dialect, Flags } from '../../smb/constants.ts';
import type { Signer } from '../../smb/crypto/signer.ts';
import { Status } from '../../smb/status.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { creditChargeOf, type Header } from '../../smb/wire/header.ts';
import type { ChannelSequence } from '../opens/channel-sequence.ts';
import type { ConnectionHost } from './host.ts';
import { type Request, type Services, StatusError } from './request.ts';
import type { Channel, Session, TreeConnect } from './session.ts';
import type { Usage } from './usage.ts';

/** The messages of one compound, worked on one after the other (MS-SMB2 3.3.5.2.7). */
export interface Chain {
  readonly parts: readonly Buffer[];
  /** The part that is next. */
  index: number;
  readonly sealedBy: Session | undefined;
  readonly arrivedMs: number;
  /** What related requests take from the one before them. */
  sessionId: bigint;
  treeId: number;
  fileId: FileId | undefined;
  /** Whether the one before had a session and, if its command needs one, a tree connect. */
  isAdrift: boolean;
  /** Status of the one before, and its command. */
  status: number;
  command: number;
  /** Status of the CREATE that should have made the open that is meant now; 0 where there is none, or it succeeded. */
  createStatus: number;
  /** Responses that wait for the rest; they are signed where `signing` says with what. */
  responses: { message: Buffer; signing: Signing | undefined }[];
}

/** Where the key lies that a response is signed with: a channel, or a session that a channel is added to. */
export interface Signing {
  /** Undefined when the keys were freed. */
  readonly signer: Signer | undefined;
}

/** What a call needs of its connection beyond what commands see. */
export interface CallHost extends ConnectionHost {
  /** STATUS_PENDING (3.3.4.2). */
  sendInterim(call: Call): void;
  /** Sends what is to be sent. Whether nothing is left then that waits: what is sent next reaches the socket at once. */
  isSendingAtOnce(): boolean;
}

/** A Request as it lives in its connection. */
export class Call implements Request {
  readonly connection: CallHost;
  readonly message: Buffer;
  readonly header: Header;
  readonly chain: Chain | undefined;
  /** The session whose key decrypted the message. */
  readonly sealedBy: Session | undefined;
  /** performance.now() when the frame was taken up. */
  readonly arrivedMs: number;
  /** Ids in force, from the header or the compound. */
  sessionId: bigint;
  treeId: number;
  /** Credits to be granted with the next response. */
  creditsWanted: number;
  asyncId = 0n;
  /** Among the outstanding ones of its connection; -1: it never was one. */
  place = -1;
  isCancelled = false;
  channel: ChannelSequence | undefined;
  outlivesChannel = false;
  /** Its session was told that it waits. */
  countsAsWaiting = false;
  /** Bytes that it is counted for while it is worked on or waits. */
  weight = 0;
  /** The response is signed whatever the request was: the last of SESSION_SETUP. */
  mustSign = false;
  /** What the response is signed with, if it is. */
  signing: Signing | undefined;
  /** Called with the response message as it leaves, signed if it is: NEGOTIATE and SESSION_SETUP hash it (3.3.5.4, 3.3.5.5). */
  onResponse: ((message: Buffer) => void) | undefined;
  /** It is counted as a CREATE under way, of this user. */
  #isCreating = false;
  #creator: Usage | undefined;
  #session: Session | undefined;
  #tree: TreeConnect | undefined;
  #abort: AbortController | undefined;

  constructor(
    connection: CallHost,
    message: Buffer,
    header: Header,
    chain: Chain | undefined,
    sealedBy: Session | undefined,
    arrivedMs: number,
  ) {
    this.connection = connection;
    this.message = message;
    this.header = header;
    this.chain = chain;
    this.sealedBy = sealedBy;
    this.arrivedMs = arrivedMs;
    this.sessionId = header.sessionId;
    this.treeId = header.treeId;
    this.creditsWanted = header.credits;
  }

  get services(): Services {
    return this.connection.services;
  }

  get isRelated(): boolean {
    return (this.header.flags & Flags.RELATED_OPERATIONS) !== 0;
  }

  /** The session if there is one. */
  get knownSession(): Session | undefined {
    return this.#session;
  }

  get hasTree(): boolean {
    return this.#tree !== undefined;
  }

  get isSigned(): boolean {
    return (this.header.flags & Flags.SIGNED) !== 0;
  }

  /** The last of its compound, or the only one. */
  get isLast(): boolean {
    return this.chain === undefined || this.chain.index === this.chain.parts.length - 1;
  }

  /** Whether the response is to be signed: as the request was, or the session wants it (3.3.4.1.1). */
  get wantsSignature(): boolean {
    return this.mustSign || this.isSigned || this.#session?.signingRequired === true;
  }

  get mayAnswerWithFile(): boolean {
    if (this.chain || this.sealedBy || this.wantsSignature || this.asyncId !== 0n) return false;
    return this.connection.isSendingAtOnce();
  }

  /** It belongs to the session of this channel. */
  enter(channel: Channel): void {
    this.#session = channel.session;
    this.sessionId = channel.session.id;
    this.signing = channel;
  }

  get session(): Session {
    if (!this.#session) throw new StatusError(Status.USER_SESSION_DELETED);
    return this.#session;
  }

  get tree(): TreeConnect {
    if (!this.#tree) throw new StatusError(Status.NETWORK_NAME_DELETED);
    return this.#tree;
  }

  set tree(tree: TreeConnect) {
    this.#tree = tree;
    this.treeId = tree.id;
  }

  get epoch(): bigint | undefined {
    return this.#session?.epoch;
  }

  get isReplay(): boolean {
    return (this.header.flags & Flags.REPLAY_OPERATION) !== 0 && this.connection.dialect >= Dialect.SMB_3_0;
  }

  get channelSequence(): number {
    return this.connection.dialect >= Dialect.SMB_3_0 ? this.header.channelSequence : 0;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.isCancelled) this.#abort.abort();
    }
    return this.#abort.signal;
  }

  cancel(): void {
    this.isCancelled = true;
    this.#abort?.abort();
  }

  goAsync(): void {
    if (this.asyncId === 0n) this.connection.sendInterim(this);
  }

  fileIdOf(fromBody: FileId): FileId {
    const { chain } = this;
    if (!chain) return fromBody;
    if (!this.isRelated || !chain.fileId) chain.fileId = fromBody;
    return chain.fileId;
  }

  /** A CREATE is under way from now until `opened`, or its end. */
  begunToOpen(user: Usage | undefined): void {
    this.#isCreating = true;
    this.#creator = user;
    this.services.accounts.addCreates(1, user);
  }

  opened(): void {
    if (!this.#isCreating) return;
    this.#isCreating = false;
    this.services.accounts.addCreates(-1, this.#creator);
  }

  setCompoundFileId(fileId: FileId): void {
    if (this.chain) this.chain.fileId = fileId;
  }

  paysFor(payloadSize: number): boolean {
    // Only dialects with large MTU know charges; the older ones bound the payload by the maxima of NEGOTIATE.
    if (this.connection.dialect <= Dialect.SMB_2_0_2) return true;
    return creditChargeOf(payloadSize) <= Math.max(1, this.header.creditCharge);
  }
}
