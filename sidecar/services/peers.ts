import { type ClientUnaryCall, Metadata, type ServiceError } from '@grpc/grpc-js';
import { HoldfastError } from '../../common/errors.ts';
import { sidecarChannel, type TlsMaterial } from '../../common/tls.ts';
import { PeerClient } from '../../proto/generated/peer.ts';
import { MAX_MESSAGE_BYTES } from '../constants.ts';
import { type Identity, identityText } from '../table/keys.ts';

/** The server that a call was for was fenced: it answers nobody any more, and nothing of it has to be waited for. */
export class PeerFencedError extends HoldfastError {
  constructor(server: string) {
    super('PEER_FENCED', `${server} was fenced before it answered; ask the table again`);
  }
}

/** A server, and where its sidecar is. */
export type Peer = Identity & { address: string };

type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: { deadline: Date },
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** Connections to the sidecars of other pods, one each, made when first needed. */
export class Peers {
  readonly #clients = new Map<string, { client: PeerClient; tls: TlsMaterial; usedMs: number }>();
  readonly #tls: () => TlsMaterial;
  readonly #fenceOf: (identity: string) => AbortSignal;

  /** @param tls the certificates of now: another object when they were rotated @param fenceOf aborted when that server is known to be fenced */
  constructor(tls: () => TlsMaterial, fenceOf: (identity: string) => AbortSignal) {
    this.#tls = tls;
    this.#fenceOf = fenceOf;
  }

  /**
   * Calls a method of a server's sidecar. Rejects with the gRPC error, after timeoutMs at the latest, and as soon as the server is known
   * to be fenced: its sidecar may be stopped too.
   * @throws PeerFencedError
   */
  call<Request, Response>(
    to: Peer,
    method: (client: PeerClient) => Unary<Request, Response>,
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const identity = identityText(to);
    const fence = this.#fenceOf(identity);
    if (fence.aborted) return Promise.reject(new PeerFencedError(identity));
    const client = this.#client(to.address);
    return new Promise((resolve, reject) => {
      // The deadline of a call is told by the wall clock in gRPC; only this one call is cut short or long when it jumps.
      const deadline = new Date(Date.now() + timeoutMs);
      const call = method(client).call(client, request, new Metadata(), { deadline }, (error, response) => {
        fence.removeEventListener('abort', end);
        if (error) reject(error);
        else resolve(response);
      });
      const end = () => {
        reject(new PeerFencedError(identity));
        call.cancel();
      };
      fence.addEventListener('abort', end, { once: true });
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
    const tls = this.#tls();
    if (known?.tls === tls) {
      known.usedMs = performance.now();
      return known.client;
    }
    known?.client.close(); // what is under way goes on
    const { credentials, options } = sidecarChannel(tls);
    const client = new PeerClient(address, credentials, {
      ...options,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    });
    this.#clients.set(address, { client, tls, usedMs: performance.now() });
    return client;
  }
}
