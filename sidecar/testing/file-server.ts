import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import koffi from 'koffi';
import {
  type Command,
  type FileState,
  HandlesClient,
  type HelloReply,
  OpenRecord,
  Outcome,
  type Reply,
  type Request,
  type ServerFrame,
  type ServerIdentity,
  type SidecarFrame,
} from '../../proto/generated/handles.ts';

const flock = koffi.load(null).func('int flock(int fd, int operation)') as (fd: number, operation: number) => number;

/** A machine that has much to do opens a store slowly. */
const STARTED_WITHIN_MS = 20_000;

type Body = NonNullable<Request['body']>;
type CommandBody = NonNullable<Command['body']>;

/** The file server's side of the Attach stream, for tests: it holds the lock file, beats, keeps what it was told, and answers commands. */
export class TestFileServer {
  readonly worker: string;
  readonly runDir: string;
  readonly lockPath: string;
  readonly commands: CommandBody[] = [];
  readonly interims: bigint[] = [];
  readonly records = new Map<bigint, OpenRecord>();
  /** Of files with locks, by the hexadecimal file id. */
  readonly states = new Map<string, FileState>();
  hello: HelloReply | undefined;
  deadlineNs = 0n;
  fenced = false;
  draining = false;
  /** Names its request for an identity; empty: each Hello is one of its own. */
  attempt = Buffer.alloc(0);
  /** What a Quiesce is answered with: opens with a change that has not returned. */
  unfinished: bigint[] = [];
  /** Answers a command; undefined: ok. A promise delays the answer. */
  onCommand: (command: CommandBody) => Promise<boolean> | boolean | undefined = () => undefined;
  #lock: number | undefined;
  #client: HandlesClient | undefined;
  #stream: ClientDuplexStream<ServerFrame, SidecarFrame> | undefined;
  #waiting = new Map<bigint, (reply: Reply) => void>();
  #nextId = 1n;
  #requests: Request[] = [];
  #scheduled = false;
  #beat: NodeJS.Timeout | undefined;

  constructor(runDir: string, worker = '0') {
    this.runDir = runDir;
    this.worker = worker;
    this.lockPath = join(runDir, `fileserver-${worker}.lock`);
  }

  /** Starts: takes the lock file (unless it is one that does not) and attaches. */
  async start(resume?: ServerIdentity, opensFollow = 0, locks = true): Promise<HelloReply> {
    if (locks && this.#lock === undefined) {
      this.#lock = openSync(this.lockPath, 'w');
      if (flock(this.#lock, 2 | 4) !== 0) throw new Error(`${this.lockPath} is held by somebody else`);
    }
    this.#client = new HandlesClient(`unix:${join(this.runDir, 'sidecar.sock')}`, credentials.createInsecure());
    const stream = this.#client.attach();
    this.#stream = stream;
    stream.on('data', (frame: SidecarFrame) => this.#frame(frame));
    stream.on('error', () => this.#stream === stream && this.#lost());
    stream.on('end', () => this.#stream === stream && this.#lost());
    const reply = await this.ask({
      $case: 'hello',
      value: {
        worker: this.worker,
        pid: process.pid,
        lockPath: this.lockPath,
        protocol: 1,
        resume,
        opensFollow: BigInt(opensFollow),
        smbAddress: '127.0.0.1:445',
        deadlineNs: resume ? this.deadlineNs : 0n,
        attempt: this.attempt,
      },
    });
    if (reply.body?.$case !== 'hello') throw new Error(`Hello was answered ${reply.outcome}`);
    this.hello = reply.body.value;
    this.deadlineNs = this.hello.deadlineNs;
    this.fenced = false;
    this.#beat = setInterval(
      () => this.send({ $case: 'heartbeat', value: { troubles: [] } }),
      this.hello.heartbeatIntervalMs,
    );
    return this.hello;
  }

  /** As a file server does: says hello again while the store is not open yet. */
  async startPatiently(): Promise<void> {
    for (const untilMs = performance.now() + STARTED_WITHIN_MS; ; ) {
      try {
        await this.start();
        return;
      } catch (error) {
        if (!String(error).includes(`answered ${Outcome.STORE_UNAVAILABLE}`) || performance.now() > untilMs)
          throw error;
        this.detach();
      }
    }
  }

  get epoch(): number {
    return Number(this.hello?.identity?.epoch ?? 0n);
  }

  get mayServe(): boolean {
    return !this.fenced && process.hrtime.bigint() < this.deadlineNs;
  }

  /** What a SIGSTOP does: nothing is sent any more, the lock stays. */
  freeze(): void {
    clearInterval(this.#beat);
    this.#stream?.removeAllListeners('data');
  }

  /** What a kill -9 does: the stream breaks, the kernel frees the lock. */
  kill(): void {
    this.detach();
    if (this.#lock !== undefined) closeSync(this.#lock);
    this.#lock = undefined;
  }

  /** The stream breaks; the process lives on. */
  detach(): void {
    clearInterval(this.#beat);
    this.#stream?.on('error', () => {});
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#client?.close();
    this.#waiting.clear();
  }

  /** Attaches again under the same identity and reports what it holds. */
  async resume(): Promise<void> {
    const records = [...this.records.values()];
    await this.start(this.hello?.identity, records.length);
    if (records.length > 0)
      await this.ask({ $case: 'reportOpens', value: { opens: records, states: this.#told(records) } });
  }

  /** What it was told last of the files with locks among them. */
  #told(records: readonly OpenRecord[]): FileState[] {
    const names = new Set(records.map(({ fileId }) => fileId.toString('hex')));
    return [...names].flatMap((name) => this.states.get(name) ?? []);
  }

  #tell(state: FileState | undefined): void {
    if (state?.locks.length) this.states.set(state.fileId.toString('hex'), state);
    else if (state) this.states.delete(state.fileId.toString('hex'));
  }

  send(body: Body): bigint {
    const id = this.#nextId++;
    this.#requests.push({ id, body });
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#stream?.write({ requests: this.#requests, answers: [] });
        this.#requests = [];
      });
    }
    return id;
  }

  ask(body: Body): Promise<Reply> {
    return new Promise((resolve) => this.#waiting.set(this.send(body), resolve));
  }

  /** Asks for an open and keeps what was granted. */
  async open(
    file: string,
    fields: Partial<OpenRecord> = {},
    truncates = false,
  ): Promise<{ outcome: Outcome; record: OpenRecord; reply: Reply }> {
    const reply = await this.ask({
      $case: 'open',
      value: { record: sampleRecord(file, fields), truncates, drop: undefined },
    });
    const record = reply.body?.$case === 'open' ? reply.body.value.record : undefined;
    if (record) this.records.set(record.openId, record);
    return { outcome: reply.outcome, record: record ?? OpenRecord.create(), reply };
  }

  async close(record: OpenRecord): Promise<Reply> {
    const reply = await this.ask({ $case: 'close', value: { fileId: record.fileId, openId: record.openId } });
    this.records.delete(record.openId);
    return reply;
  }

  async disconnect(record: OpenRecord): Promise<Reply> {
    return this.ask({ $case: 'disconnect', value: { fileId: record.fileId, openId: record.openId } });
  }

  async session(sessionId: bigint, user = 'alice'): Promise<Outcome> {
    const reply = await this.ask({ $case: 'storeSession', value: { sessionId, user, clientGuid: CLIENT } });
    return reply.outcome;
  }

  async reclaim(
    record: OpenRecord,
    fields: Partial<{
      user: string;
      sessionId: bigint;
      createGuid: Buffer;
      persistent: boolean;
      leaseKey: Buffer;
    }> = {},
  ) {
    const reply = await this.ask({
      $case: 'reclaim',
      value: {
        openId: record.openId,
        createGuid: record.createGuid,
        clientGuid: record.clientGuid,
        user: record.user,
        share: record.share,
        persistent: record.durability === 2,
        leaseKey: Buffer.alloc(0),
        sessionId: 99n,
        ...fields,
      },
    });
    const back = reply.body?.$case === 'open' ? reply.body.value.record : undefined;
    if (back) this.records.set(back.openId, back);
    return { outcome: reply.outcome, record: back };
  }

  async lock(
    record: OpenRecord,
    offset: number,
    length: number,
    fields: Partial<{
      exclusive: boolean;
      unlock: boolean;
      failImmediately: boolean;
      index: number;
      number: number;
    }> = {},
  ) {
    const { exclusive = true, unlock = false, failImmediately = true, index = 0, number = 0 } = fields;
    const element = { offset: BigInt(offset), length: BigInt(length), exclusive, unlock, failImmediately };
    return this.ask({
      $case: 'lock',
      value: {
        fileId: record.fileId,
        openId: record.openId,
        elements: [element],
        sequenceIndex: index,
        sequenceNumber: number,
        processKey: 0,
      },
    });
  }

  drain(timeoutMs: number): Promise<{ moved: bigint; released: bigint; left: bigint; message: string }> {
    return new Promise((resolve, reject) =>
      this.#client?.drain({ timeoutMs }, (error, reply) => (error ? reject(error) : resolve(reply))),
    );
  }

  /** The commands of a kind that came, in order. */
  got<T extends CommandBody['$case']>(kind: T): Extract<CommandBody, { $case: T }>['value'][] {
    return this.commands.filter((command) => command.$case === kind).map((command) => command.value as never);
  }

  #frame(frame: SidecarFrame): void {
    for (const reply of frame.replies) {
      if (reply.interim) {
        this.interims.push(reply.id);
        continue;
      }
      if (reply.body?.$case === 'fileState') this.#tell(reply.body.value);
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    }
    for (const { id, body } of frame.commands) if (body) void this.#command(id, body);
  }

  async #command(id: bigint, body: CommandBody): Promise<void> {
    if (body.$case === 'renewed') this.deadlineNs = body.value.deadlineNs;
    else this.commands.push(body);
    if (body.$case === 'fileState') this.#tell(body.value);
    if (body.$case === 'fenced') this.fenced = true;
    if (body.$case === 'stopAccepting') this.draining = true;
    const ok = (await this.onCommand(body)) ?? true;
    if (body.$case === 'dropOpen') this.records.delete(body.value.openId);
    if (body.$case === 'dropSession') {
      for (const record of this.records.values())
        if (record.sessionId === body.value.sessionId) await this.disconnect(record);
    }
    if (body.$case === 'release') for (const openId of body.value.openIds) this.records.delete(openId);
    if (id === 0n) return;
    const quiesce =
      body.$case === 'quiesce'
        ? {
            $case: 'quiesce' as const,
            value: { unfinishedOpenIds: this.unfinished, sessionIds: body.value.sessionIds },
          }
        : undefined;
    this.#stream?.write({ requests: [], answers: [{ id, ok, body: quiesce }] });
  }

  #lost(): void {
    clearInterval(this.#beat);
    for (const resolve of this.#waiting.values()) {
      resolve({ id: 0n, outcome: Outcome.OUTCOME_UNSPECIFIED, interim: false, body: undefined });
    }
    this.#waiting.clear();
  }
}

export const CLIENT = Buffer.alloc(16, 7);
let guids = 0;

/** An open as a file server would ask for it: persistent, read and write, shared with all. */
export function sampleRecord(file: string, fields: Partial<OpenRecord> = {}): OpenRecord {
  const createGuid = Buffer.alloc(16);
  createGuid.writeUInt32BE(++guids, 0);
  createGuid.writeUInt32BE(process.pid, 4);
  createGuid.writeUInt32BE(Math.floor(Math.random() * 2 ** 32), 8);
  return OpenRecord.create({
    fileId: Buffer.from(`volume:${file}`),
    share: 'projects',
    path: file,
    access: 0x12019f,
    shareAccess: 7,
    durability: 2,
    timeoutMs: 60_000,
    createGuid,
    clientGuid: CLIENT,
    user: 'alice',
    sessionId: 1n,
    attachment: Buffer.from('mine'),
    ...fields,
  });
}
