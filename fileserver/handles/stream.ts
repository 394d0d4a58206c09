import { randomBytes } from 'node:crypto';
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { ChurningMap } from '../../common/churning-map.ts';
import { reasonOf } from '../../common/errors.ts';
import type { Logger } from '../../common/logging.ts';
import { chunks, inSlices } from '../../common/slices.ts';
import {
  type Answer,
  type Command,
  type FileState,
  HandlesClient,
  type HelloReply,
  type OpenRecord,
  Outcome,
  type Reply,
  type Request,
  type ServerFrame,
  type ServerIdentity,
  type SidecarFrame,
} from '../../proto/generated/handles.ts';
import type { ChangeCommands, SidecarCommands } from './commands.ts';
import type { Waiter } from './waiter.ts';

export type RequestBody = NonNullable<Request['body']>;

const RECONNECT_FIRST_MS = 20;
const RECONNECT_MOST_MS = 200;
/** Requests that wait for a sidecar this long end with STORE_UNAVAILABLE. */
const AWAY_TOO_LONG_MS = 30_000;
/** How long an answer to Hello, or to a report, is waited for: twice as long each time that none came. */
const HELLO_TIMEOUT_MS = { first: 5000, most: 60_000 };
/** Opens in one ReportOpens; a record is a few hundred bytes, at most some 8 KiB. */
const OPENS_PER_REPORT = 256;
/** Reports under way: each is waited for from when it is sent, so that many opens need no longer wait than few. */
const REPORTS_AT_ONCE = 8;
/** Requests in one frame: keeps a frame in the order of a MiB. */
const REQUESTS_PER_FRAME = 2000;
const PROTOCOL = 1;

export interface HandlesStreamOptions {
  /** Path of the sidecar's Unix socket. */
  socketPath: string;
  worker: string;
  lockPath: string;
  smbAddress: string;
  log: Logger;
  commands: SidecarCommands & ChangeCommands;
  /** How long the first answer to Hello is waited for, and how long it is at most, ms. */
  helloTimeoutMs?: { first: number; most: number };
  /** Every open in memory, for a resumed stream. */
  records(): OpenRecord[];
  /** What is known of a file that has, or had, locks. */
  lockState(fileId: Uint8Array): FileState | undefined;
  /** Shares that cannot be served, and why. */
  troubles(): string[];
  /** Registered, or resumed: `reply` has the identity and the first deadline. */
  registered(reply: HelloReply & { identity: ServerIdentity }, resumed: boolean): void;
  renewed(deadlineNs: bigint): void;
  /** Fenced: everything under this epoch ends. Awaited before the next Hello. */
  fenced(reason: string): Promise<void>;
}

interface Pending {
  readonly body: RequestBody;
  readonly waiter: Waiter | undefined;
  /** What the one who asks gets of the reply. */
  readonly read: (reply: Reply) => unknown;
  readonly resolve: (answer: unknown) => void;
  isCancelled: boolean;
  onAbort: (() => void) | undefined;
}

type Stream = ClientDuplexStream<ServerFrame, SidecarFrame>;

/**
 * The stream to the sidecar: says Hello, keeps the heartbeat, puts the requests of one event-loop turn into one frame, and comes
 * back when the stream was lost: under the same identity, with what is open here, repeating what was not answered.
 */
export class HandlesStream {
  readonly #options: HandlesStreamOptions;
  readonly #client: HandlesClient;
  #stream: Stream | undefined;
  /** Hello was answered and the opens are reported: requests may be sent. */
  #isAttached = false;
  /** The log has it already. */
  #saidAway = false;
  #identity: ServerIdentity | undefined;
  /** Until when this process may serve, as it was last told. */
  #deadlineNs = 0n;
  #isFencing = false;
  #isStopped = false;
  #nextId = 1n;
  /** By request id: a number is found much faster than a bigint, and there are fewer than 2^53. */
  readonly #pending = new ChurningMap<number, Pending>();
  #requests: Request[] = [];
  #answers: Answer[] = [];
  #flushIsDue = false;
  #heartbeat: NodeJS.Timeout | undefined;
  #reconnect: NodeJS.Timeout | undefined;
  #reconnectMs = RECONNECT_FIRST_MS;
  readonly #helloTimeoutMs: { first: number; most: number };
  /** How long the next answer to Hello is waited for. */
  #patienceMs: number;
  /** Names the request for an identity until it is answered. */
  #attempt = randomBytes(16);
  #away: NodeJS.Timeout | undefined;

  constructor(options: HandlesStreamOptions) {
    this.#options = options;
    this.#helloTimeoutMs = options.helloTimeoutMs ?? HELLO_TIMEOUT_MS;
    this.#patienceMs = this.#helloTimeoutMs.first;
    this.#client = new HandlesClient(`unix:${options.socketPath}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.min_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 200,
    });
  }

  get isAttached(): boolean {
    return this.#isAttached;
  }

  get identity(): ServerIdentity | undefined {
    return this.#identity;
  }

  start(): void {
    this.#connect();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#reconnect);
    clearTimeout(this.#away);
    clearInterval(this.#heartbeat);
    this.#endAll(Outcome.STORE_UNAVAILABLE);
    this.#stream?.cancel();
    this.#client.close();
  }

  /** Resolves with the last reply; never rejects. */
  ask(body: RequestBody, waiter?: Waiter): Promise<Reply> {
    return this.askFor(whole, body, waiter);
  }

  /** Resolves with what `read` makes of the last reply: it must not throw. Never rejects. */
  askFor<T>(read: (reply: Reply) => T, body: RequestBody, waiter?: Waiter): Promise<T> {
    if (this.#isFencing || this.#isOver(waiter)) return Promise.resolve(read(replyOf(Outcome.FENCED)));
    if (this.#isStopped) return Promise.resolve(read(replyOf(Outcome.STORE_UNAVAILABLE)));
    return new Promise<T>((resolve) => {
      const id = this.#nextId++;
      this.#pending.set(Number(id), {
        body,
        waiter,
        read,
        resolve: resolve as (answer: unknown) => void,
        isCancelled: false,
        onAbort: undefined,
      });
      if (this.#isAttached) this.#send({ id, body });
      else this.#startAwayTimer();
    });
  }

  /** It was begun under an identity that was fenced, and its client has gone on elsewhere. */
  #isOver(waiter: Waiter | undefined): boolean {
    return waiter?.epoch !== undefined && waiter.epoch !== this.#identity?.epoch;
  }

  /** Gives up this identity: what is open under it ends, and the next Hello asks for a new epoch. */
  async fence(reason: string): Promise<void> {
    if (this.#isFencing || this.#isStopped) return;
    this.#isFencing = true;
    this.#options.log.warn({ identity: identityFields(this.#identity), reason }, 'fenced');
    this.#identity = undefined;
    this.#attempt = randomBytes(16); // the one that was answered has had its identity
    this.#endAll(Outcome.FENCED);
    try {
      await this.#options.fenced(reason);
    } catch (error) {
      this.#options.log.error({ err: error }, 'cannot let go of everything after the fence');
    }
    this.#isFencing = false;
    if (this.#stream) this.#lost(this.#stream, 'fenced');
    else this.#connectSoon();
  }

  #connect(): void {
    if (this.#isStopped || this.#isFencing || this.#stream) return;
    const stream = this.#client.attach();
    this.#stream = stream;
    stream.on('data', (frame: SidecarFrame) => this.#take(stream, frame));
    stream.on('error', (error) => this.#lost(stream, reasonOf(error)));
    stream.on('end', () => this.#lost(stream, 'the sidecar ended the stream'));
    this.#hello(stream).catch((error) => this.#lost(stream, reasonOf(error)));
  }

  async #hello(stream: Stream): Promise<void> {
    const { worker, lockPath, smbAddress } = this.#options;
    const resume = this.#identity;
    const records = resume ? this.#options.records() : [];
    const reply = await this.#askNow(stream, {
      $case: 'hello',
      value: {
        worker,
        pid: process.pid,
        lockPath,
        protocol: PROTOCOL,
        resume,
        opensFollow: BigInt(records.length),
        smbAddress,
        deadlineNs: this.#deadlineNs,
        attempt: this.#attempt,
      },
    });
    if (reply.outcome === Outcome.FENCED && resume) {
      void this.fence('the sidecar knows that this identity was fenced');
      return;
    }
    const hello = reply.body?.$case === 'hello' ? reply.body.value : undefined;
    if (reply.outcome !== Outcome.GRANTED || !hello?.identity) throw new Error(`Hello was answered ${reply.outcome}`);
    const reports = await inSlices(chunks(records, OPENS_PER_REPORT), REPORTS_AT_ONCE, (opens) =>
      this.#askNow(stream, { $case: 'reportOpens', value: { opens, states: this.#lockStates(opens) } }),
    );
    const refused = reports.find(({ outcome }) => outcome !== Outcome.GRANTED);
    if (refused?.outcome === Outcome.FENCED) {
      void this.fence('fenced while what is open here was reported');
      return;
    }
    if (refused) throw new Error(`a report of opens was answered ${refused.outcome}`);
    if (stream !== this.#stream || this.#isFencing) return;
    this.#attached({ ...hello, identity: hello.identity }, resume !== undefined);
  }

  #lockStates(opens: readonly OpenRecord[]): FileState[] {
    const states = new Set(opens.map(({ fileId }) => this.#options.lockState(fileId)));
    return [...states].filter((state) => state !== undefined);
  }

  #attached(hello: HelloReply & { identity: ServerIdentity }, resumed: boolean): void {
    this.#identity = hello.identity;
    this.#deadlineNs = hello.deadlineNs;
    this.#isAttached = true;
    this.#saidAway = false;
    this.#reconnectMs = RECONNECT_FIRST_MS;
    this.#patienceMs = this.#helloTimeoutMs.first;
    clearTimeout(this.#away);
    this.#away = undefined;
    this.#options.log.info(
      { identity: identityFields(hello.identity), resumed, draining: hello.draining, repeated: this.#pending.size },
      'registered with the sidecar',
    );
    this.#options.registered(hello, resumed);
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(
      () =>
        this.#send({ id: this.#nextId++, body: { $case: 'heartbeat', value: { troubles: this.#options.troubles() } } }),
      Math.max(10, hello.heartbeatIntervalMs),
    );
    for (const [id, { body }] of this.#pending) this.#send({ id: BigInt(id), body });
  }

  /** A request that belongs to this stream only: it is not repeated on another. */
  #askNow(stream: Stream, body: RequestBody): Promise<Reply> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const patienceMs = this.#patienceMs;
      const timer = setTimeout(() => {
        // It may be at it: who asks it again and again only adds to what keeps it busy.
        this.#patienceMs = Math.min(this.#helloTimeoutMs.most, 2 * patienceMs);
        settle(reject, new Error(`no answer to ${body.$case} within ${patienceMs} ms`));
      }, patienceMs);
      const settle = <T>(how: (value: T) => void, value: T) => {
        clearTimeout(timer);
        this.#ownOfStream.delete(id);
        how(value);
      };
      this.#ownOfStream.set(id, {
        resolve: (reply) => settle(resolve, reply),
        reject: (error) => settle(reject, error),
      });
      stream.write({ requests: [{ id, body }], answers: [] });
    });
  }

  readonly #ownOfStream = new Map<bigint, { resolve(reply: Reply): void; reject(error: Error): void }>();

  #lost(stream: Stream, reason: string): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    if (this.#isAttached || !this.#saidAway) this.#options.log.warn({ reason }, 'the sidecar is away: trying again');
    this.#saidAway = true;
    this.#isAttached = false;
    clearInterval(this.#heartbeat);
    this.#requests = [];
    this.#answers = [];
    for (const own of [...this.#ownOfStream.values()]) own.reject(new Error(reason));
    stream.on('error', () => {});
    stream.cancel();
    if (this.#pending.size > 0) this.#startAwayTimer();
    this.#connectSoon();
  }

  #connectSoon(): void {
    if (this.#isStopped || this.#isFencing) return;
    clearTimeout(this.#reconnect);
    this.#reconnect = setTimeout(() => this.#connect(), this.#reconnectMs);
    this.#reconnectMs = Math.min(RECONNECT_MOST_MS, this.#reconnectMs * 2);
  }

  #startAwayTimer(): void {
    if (this.#away || this.#isStopped) return;
    this.#away = setTimeout(() => {
      this.#away = undefined;
      this.#endAll(Outcome.STORE_UNAVAILABLE);
    }, AWAY_TOO_LONG_MS);
  }

  #endAll(outcome: Outcome): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const one of pending) this.#settle(one, replyOf(outcome));
  }

  #settle(pending: Pending, reply: Reply): void {
    if (pending.onAbort) pending.waiter?.signal.removeEventListener('abort', pending.onAbort);
    pending.resolve(pending.read(reply));
  }

  #send(request: Request): void {
    this.#requests.push(request);
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushIsDue = false;
    const stream = this.#stream;
    if (!stream) return;
    const answers = this.#answers;
    this.#answers = [];
    let requests = this.#requests;
    this.#requests = [];
    if (requests.length > REQUESTS_PER_FRAME) {
      this.#requests = requests.slice(REQUESTS_PER_FRAME);
      requests = requests.slice(0, REQUESTS_PER_FRAME);
      this.#scheduleFlush();
    }
    if (requests.length > 0 || answers.length > 0) stream.write({ requests, answers });
  }

  #take(stream: Stream, frame: SidecarFrame): void {
    if (stream !== this.#stream) return;
    for (const reply of frame.replies) this.#takeReply(reply);
    for (const command of frame.commands) this.#takeCommand(command);
  }

  #takeReply(reply: Reply): void {
    const id = Number(reply.id);
    const pending = this.#pending.get(id);
    if (!pending) {
      this.#ownOfStream.get(reply.id)?.resolve(reply);
      return;
    }
    if (reply.interim) {
      this.#waits(id, pending);
      return;
    }
    if (reply.outcome === Outcome.FENCED) {
      void this.fence('a request was refused: fenced');
      return;
    }
    this.#pending.delete(id);
    this.#settle(pending, reply);
  }

  /** The decision takes time: the client is told, and may give up from now on. */
  #waits(id: number, pending: Pending): void {
    const { waiter } = pending;
    if (!waiter || pending.onAbort) return;
    waiter.goAsync();
    pending.onAbort = () => {
      if (!this.#pending.has(id) || pending.isCancelled) return;
      pending.isCancelled = true;
      this.#send({ id: this.#nextId++, body: { $case: 'cancel', value: { requestId: BigInt(id) } } });
    };
    if (waiter.signal.aborted) pending.onAbort();
    else waiter.signal.addEventListener('abort', pending.onAbort, { once: true });
  }

  #takeCommand(command: Command): void {
    const { body } = command;
    if (!body) return;
    if (body.$case === 'renewed') {
      this.#deadlineNs = body.value.deadlineNs;
      this.#options.renewed(body.value.deadlineNs);
      return;
    }
    if (body.$case === 'fenced') {
      void this.fence(body.value.reason);
      return;
    }
    this.#carryOut(body).then(
      (answer) => this.#answer(command.id, answer),
      (error) => {
        this.#options.log.error({ err: error, command: body.$case }, 'a command of the sidecar failed');
        this.#answer(command.id, false);
      },
    );
  }

  async #carryOut(body: NonNullable<Command['body']>): Promise<boolean | Answer['body']> {
    const { commands } = this.#options;
    switch (body.$case) {
      case 'fileState':
        return commands.fileState(body.value);
      case 'break':
        return commands.break(body.value);
      case 'dropSession':
        return commands.dropSession(body.value);
      case 'stopAccepting':
        return commands.stopAccepting();
      case 'quiesce':
        return { $case: 'quiesce', value: await commands.quiesce(body.value) };
      case 'release':
        return commands.release(body.value);
      case 'resume':
        return commands.resume(body.value);
      case 'warmUp':
        return commands.warmUp(body.value);
      case 'removeFile':
        return commands.removeFile(body.value);
      case 'dropOpen':
        return commands.dropOpen(body.value);
      case 'watched':
        return commands.watched(body.value);
      case 'changed':
        return commands.changed(body.value);
      default:
        return false;
    }
  }

  #answer(id: bigint, answer: boolean | Answer['body']): void {
    if (id === 0n || !this.#stream) return;
    const body = typeof answer === 'object' ? answer : undefined;
    this.#answers.push({ id, ok: answer !== false, body });
    this.#scheduleFlush();
  }
}

const whole = (reply: Reply): Reply => reply;

function replyOf(outcome: Outcome): Reply {
  return { id: 0n, outcome, interim: false, body: undefined };
}

function identityFields(identity: ServerIdentity | undefined): { serverId: string; epoch: string } | undefined {
  return identity && { serverId: identity.serverId, epoch: identity.epoch.toString() };
}
