import type { ServerDuplexStream } from '@grpc/grpc-js';
import { HoldfastError } from '../../common/errors.ts';
import type { Answer, Command, Reply, ServerFrame, SidecarFrame } from '../../proto/generated/handles.ts';

/** The file server's stream ended before it answered a command. */
export class StreamLostError extends HoldfastError {
  constructor() {
    super('STREAM_LOST', 'the stream to the file server ended before it answered; it will attach again');
  }
}

/** The file server did not answer a command in time. */
export class CommandTimeoutError extends HoldfastError {
  constructor(what: string, timeoutMs: number) {
    super('COMMAND_TIMEOUT', `the file server did not answer ${what} within ${timeoutMs} ms`);
  }
}

type CommandBody = NonNullable<Command['body']>;

/** The sidecar's end of one Attach stream: what one turn of the event loop produces leaves as one frame. */
export class FileServerStream {
  readonly #call: ServerDuplexStream<ServerFrame, SidecarFrame>;
  #replies: Reply[] = [];
  #commands: Command[] = [];
  #scheduled = false;
  #nextCommand = 1n;
  #ended = false;
  readonly #asked = new Map<
    bigint,
    { resolve(answer: Answer): void; reject(error: Error): void; timer: NodeJS.Timeout }
  >();

  constructor(call: ServerDuplexStream<ServerFrame, SidecarFrame>) {
    this.#call = call;
  }

  get ended(): boolean {
    return this.#ended;
  }

  reply(reply: Reply): void {
    if (this.#ended) return;
    this.#replies.push(reply);
    this.#schedule();
  }

  /** A command that expects no answer. */
  tell(body: CommandBody): void {
    if (this.#ended) return;
    this.#commands.push({ id: 0n, body });
    this.#schedule();
  }

  /**
   * A command, and the file server's answer to it.
   * @throws StreamLostError, CommandTimeoutError
   */
  ask(body: CommandBody, timeoutMs: number): Promise<Answer> {
    if (this.#ended) return Promise.reject(new StreamLostError());
    const id = this.#nextCommand++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#asked.delete(id);
        reject(new CommandTimeoutError(body.$case, timeoutMs));
      }, timeoutMs);
      this.#asked.set(id, { resolve, reject, timer });
      this.#commands.push({ id, body });
      this.#schedule();
    });
  }

  answered(answer: Answer): void {
    const asked = this.#asked.get(answer.id);
    if (!asked) return;
    this.#asked.delete(answer.id);
    clearTimeout(asked.timer);
    asked.resolve(answer);
  }

  /** Waits for no answer any more: the file server was fenced. What is told it still leaves. */
  giveUp(): void {
    for (const asked of this.#asked.values()) {
      clearTimeout(asked.timer);
      asked.reject(new StreamLostError());
    }
    this.#asked.clear();
  }

  end(): void {
    if (this.#ended) return;
    this.#flush();
    this.#ended = true;
    this.giveUp();
    this.#call.end();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#ended || (this.#replies.length === 0 && this.#commands.length === 0)) return;
    const frame = { replies: this.#replies, commands: this.#commands };
    this.#replies = [];
    this.#commands = [];
    this.#call.write(frame);
  }
}
