import { credentials, Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { HandlesClient, HandlesService, type ServerFrame, type SidecarFrame } from '../../proto/generated/handles.ts';

/** Between a file server and its sidecar: passes on what they say, and cuts a stream after so many reports of opens were answered. */
export class CuttingRelay {
  readonly #server = new Server();
  readonly #client: HandlesClient;
  /** Of the next streams, one after the other: how many reports come through before it is cut. */
  readonly cutAfter: number[] = [];
  /** Streams that were cut. */
  cut = 0;
  /** New streams are refused. */
  isRefusing = false;

  /** @param to socket of the sidecar */
  constructor(to: string) {
    this.#client = new HandlesClient(`unix:${to}`, credentials.createInsecure());
  }

  /** @param at socket for the file server */
  async start(at: string): Promise<void> {
    const attach = (call: ServerDuplexStream<ServerFrame, SidecarFrame>) => this.#relay(call);
    this.#server.addService(HandlesService, { attach, drain: () => {} });
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(`unix:${at}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
  }

  stop(): void {
    this.#server.forceShutdown();
    this.#client.close();
  }

  #relay(call: ServerDuplexStream<ServerFrame, SidecarFrame>): void {
    call.on('error', () => {});
    if (this.isRefusing) {
      call.end();
      return;
    }
    const sidecar = this.#client.attach();
    let left = Number.POSITIVE_INFINITY;
    const asked = new Set<bigint>();
    const end = () => {
      sidecar.cancel();
      call.end();
    };
    sidecar.on('error', end);
    sidecar.on('end', end);
    call.on('cancelled', () => sidecar.cancel());
    call.on('data', (frame: ServerFrame) => {
      for (const { id, body } of frame.requests) {
        // Only where there is something to report: those of before are not counted.
        if (body?.$case === 'hello' && body.value.opensFollow > 0n) left = this.cutAfter.shift() ?? left;
        if (body?.$case !== 'reportOpens') continue;
        if (left === 0) return;
        left--;
        asked.add(id);
      }
      sidecar.write(frame);
    });
    sidecar.on('data', (frame: SidecarFrame) => {
      call.write(frame);
      for (const { id } of frame.replies) asked.delete(id);
      if (left > 0 || asked.size > 0) return;
      this.cut++;
      end();
    });
  }
}
