import { type ClientUnaryCall, Metadata, type ServiceError } from '@grpc/grpc-js';
import { sidecarChannel, type TlsMaterial } from '../../common/tls.ts';
import { PeerClient } from '../../proto/generated/peer.ts';
import { MAX_MESSAGE_BYTES } from '../constants.ts';

type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: { deadline: Date },
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** Connections to the sidecars of other pods, one each, made when first needed. */
export class Peers {
  readonly #clients = new Map<string, { client: PeerClient; usedMs: number }>();
  readonly #tls: () => TlsMaterial;

  /** @param tls reads the certificates; they are rotated in place */
  constructor(tls: () => TlsMaterial) {
    this.#tls = tls;
  }

  /** Calls a method of the sidecar at an address; rejects with the gRPC error, after timeoutMs at the latest. */
  call<Request, Response>(
    address: string,
    method: (client: PeerClient) => Unary<Request, Response>,
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const client = this.#client(address);
    return new Promise((resolve, reject) => {
      // The deadline of a call is told by the wall clock in gRPC; only this one call is cut short or long when it jumps.
      const deadline = new Date(Date.now() + timeoutMs);
      method(client).call(client, request, new Metadata(), { deadline }, (error, response) => {
        if (error) reject(error);
        else resolve(response);
      });
    });
  }

  /** Forgets connections to addresses that no server has any more. */
  keep(addresses: Set<string>): void {
    for (const [address, { client, usedMs }] of this.#clients) {
      if (addresses.has(address) || performance.now() - usedMs < 60_000) continue;
      client.close();
      this.#clients.delete(address);
    }
  }

  end(): void {
    for (const { client } of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #client(address: string): PeerClient {
    const known = this.#clients.get(address);
    if (known) {
      known.usedMs = performance.now();
      return known.client;
    }
    const { credentials, options } = sidecarChannel(this.#tls());
    const client = new PeerClient(address, credentials, {
      ...options,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    });
    this.#clients.set(address, { client, usedMs: performance.now() });
    return client;
  }
}
