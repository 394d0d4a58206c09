import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import {
  type Answer,
  type Command,
  HandlesService,
  Outcome,
  type Reply,
  type Request,
  type ServerFrame,
  type SidecarFrame,
} from '../../proto/generated/handles.ts';

type Stream = ServerDuplexStream<ServerFrame, SidecarFrame>;

const LEASE_MS = 1000;

/**
 * The sidecar's end of the contract for tests: registers, renews while told to, and answers requests as a test decides. It keeps no
 * table: tests of what the table decides run against the real one.
 */
export class ScriptedSidecar {
  readonly #server = new Server();
  readonly #answers = new Map<bigint, (answer: Answer) => void>();
  #stream: Stream | undefined;
  #nextCommand = 1n;
  #timer: NodeJS.Timeout | undefined;
  epoch = 1n;
  /** Sends Renewed every third of a lease. */
  isRenewing = true;
  /** Answers Hello; false: keeps silent. */
  isTakingHello = true;
  /** Everything that came, in order. */
  readonly requests: Request[] = [];
  /** Decides on a request; undefined: no answer. The default grants everything. */
  decide: (request: Request) => Partial<Reply> | undefined = () => ({ outcome: Outcome.GRANTED });

  async start(socketPath: string): Promise<void> {
    this.#server.addService(HandlesService, { attach: (stream: Stream) => this.#attach(stream), drain: () => {} });
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
    this.#timer = setInterval(() => {
      if (this.isRenewing) this.send({ $case: 'renewed', value: { deadlineNs: this.#deadline() } });
    }, LEASE_MS / 3);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#server.forceShutdown();
  }

  /** Ends the stream, as far as the other side can tell like a sidecar that was killed. */
  cut(): void {
    this.#stream?.end();
    this.#stream = undefined;
  }

  renew(): void {
    this.send({ $case: 'renewed', value: { deadlineNs: this.#deadline() } });
  }

  /** Sends a command that expects no answer. */
  send(body: Command['body']): void {
    this.#stream?.write({ replies: [], commands: [{ id: 0n, body }] });
  }

  /** Sends a command; resolves with its answer. */
  command(body: Command['body']): Promise<Answer> {
    const id = this.#nextCommand++;
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#stream?.write({ replies: [], commands: [{ id, body }] });
    });
  }

  reply(reply: Partial<Reply> & { id: bigint }): void {
    this.#stream?.write({ replies: [complete(reply)], commands: [] });
  }

  #deadline(): bigint {
    return process.hrtime.bigint() + BigInt(LEASE_MS) * 1_000_000n;
  }

  #attach(stream: Stream): void {
    this.#stream = stream;
    stream.on('error', () => {});
    stream.on('data', (frame: ServerFrame) => {
      for (const answer of frame.answers) {
        this.#answers.get(answer.id)?.(answer);
        this.#answers.delete(answer.id);
      }
      const replies = frame.requests.flatMap((request) => this.#take(request) ?? []);
      if (replies.length > 0) stream.write({ replies, commands: [] });
    });
  }

  #take(request: Request): Reply | undefined {
    this.requests.push(request);
    if (request.body?.$case === 'heartbeat') return undefined;
    if (request.body?.$case === 'hello' && this.isTakingHello) {
      const { resume } = request.body.value;
      const decided = this.decide(request);
      if (decided?.outcome !== Outcome.GRANTED) return decided && complete({ id: request.id, ...decided });
      return complete({
        id: request.id,
        body: {
          $case: 'hello',
          value: {
            identity: resume ?? { serverId: 'scripted/0', epoch: this.epoch },
            clusterId: 'test',
            deadlineNs: this.#deadline(),
            leaseDurationMs: LEASE_MS,
            heartbeatIntervalMs: LEASE_MS / 5,
            draining: false,
          },
        },
      });
    }
    const decided = this.decide(request);
    return decided && complete({ id: request.id, ...decided });
  }
}

function complete(reply: Partial<Reply> & { id: bigint }): Reply {
  return { outcome: Outcome.GRANTED, interim: false, body: undefined, ...reply };
}
