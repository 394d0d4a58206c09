import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { issueCertificate } from '../common/certificates.ts';
import { HoldfastError } from '../common/errors.ts';
import { monotonicMs } from '../common/time.ts';
import { OPERATOR_IDENTITY, sidecarChannel, type TlsMaterial } from '../common/tls.ts';
import {
  ControlClient,
  type MigrateRequest,
  type MigrationProgress,
  type ServerEndedReply,
  type StatusReply,
  type StoreIsNewReply,
} from '../proto/generated/control.ts';
import type { ClusterAuthority } from './resources/authority.ts';
import { bundle } from './resources/certificates.ts';
import { PORTS } from './resources/names.ts';

const CERTIFICATE_DAYS = 7;
const REISSUE_AFTER_MS = 86_400_000;
/** A connection that nobody used for so long is closed. */
const IDLE_MS = 10 * 60_000;

interface Access {
  /** The certificates of who signs and who is trusted: another text, and a new certificate is due. */
  authority: string;
  tls: TlsMaterial;
  issuedMs: number;
}

interface Connection {
  client: ControlClient;
  /** What it was made with: a certificate ends, and a connection that is made anew would still show the old one. */
  tls: TlsMaterial;
  usedMs: number;
}

/** A call to a sidecar that failed. */
export class SidecarError extends HoldfastError {
  /** Whether nobody answered: the call may be tried again. */
  readonly unreachable: boolean;

  constructor(address: string, method: string, error: ServiceError) {
    super('SIDECAR', `the sidecar at ${address} did not carry out ${method}: ${error.details || error.message}`, {
      cause: error,
    });
    this.unreachable = error.code === 14 || error.code === 4; // UNAVAILABLE, DEADLINE_EXCEEDED
  }
}

/** Calls to the sidecars of all clusters, each with a certificate of that cluster's own authority. */
export class Sidecars {
  readonly #access = new Map<string, Access>();
  readonly #connections = new Map<string, Connection>();
  readonly #collector: string | undefined;

  /** @param collector where sidecars send spans of what nobody asks them for; base URL of an OpenTelemetry collector */
  constructor(collector: string | undefined) {
    this.#collector = collector;
  }

  /** Tells by which authority a cluster's sidecars know the operator, and it them. @param clusterUid UID of the FileServerCluster */
  async trust(clusterUid: string, { signer, trusted }: ClusterAuthority): Promise<void> {
    const authority = bundle([signer.certificate, ...trusted]);
    const before = this.#access.get(clusterUid);
    const fresh = before !== undefined && monotonicMs() - before.issuedMs < REISSUE_AFTER_MS;
    if (before?.authority === authority && fresh) return;
    const issued = await issueCertificate(signer, [OPERATOR_IDENTITY], CERTIFICATE_DAYS);
    this.#access.set(clusterUid, {
      authority,
      issuedMs: monotonicMs(),
      tls: {
        ca: Buffer.from(bundle(trusted)),
        certificate: Buffer.from(issued.certificate),
        key: Buffer.from(issued.key),
      },
    });
  }

  forget(clusterUid: string): void {
    this.#access.delete(clusterUid);
  }

  status(clusterUid: string, podAddress: string, timeoutMs: number): Promise<StatusReply> {
    return this.#unary(clusterUid, podAddress, 'GetStatus', timeoutMs, (client, options, done) =>
      client.getStatus({ collector: this.#collector }, options.metadata, options.call, done),
    );
  }

  prepare(
    clusterUid: string,
    podAddress: string,
    request: MigrateRequest,
    timeoutMs: number,
  ): Promise<MigrationProgress> {
    return this.#unary(clusterUid, podAddress, 'Prepare', timeoutMs, (client, options, done) =>
      client.prepare(request, options.metadata, options.call, done),
    );
  }

  cancel(clusterUid: string, podAddress: string, migrationId: string): Promise<MigrationProgress> {
    return this.#unary(clusterUid, podAddress, 'CancelMigration', 5000, (client, options, done) =>
      client.cancelMigration({ migrationId }, options.metadata, options.call, done),
    );
  }

  serverEnded(clusterUid: string, podAddress: string, podUid: string, pod: string): Promise<ServerEndedReply> {
    return this.#unary(clusterUid, podAddress, 'ServerEnded', 5000, (client, options, done) =>
      client.serverEnded({ podUid, pod }, options.metadata, options.call, done),
    );
  }

  /** @returns whether the sidecar waited for that */
  async storeIsNew(clusterUid: string, podAddress: string, timeoutMs: number): Promise<boolean> {
    const reply = await this.#unary<StoreIsNewReply>(
      clusterUid,
      podAddress,
      'StoreIsNew',
      timeoutMs,
      (client, options, done) => client.storeIsNew({}, options.metadata, options.call, done),
    );
    return reply.heard;
  }

  /** Migrates, and returns the last progress. @param report called for each progress */
  async migrate(
    clusterUid: string,
    podAddress: string,
    request: MigrateRequest,
    timeoutMs: number,
    signal: AbortSignal,
    report: (progress: MigrationProgress) => void,
  ): Promise<MigrationProgress> {
    const { client, address } = this.#connect(clusterUid, podAddress);
    const call = client.migrate(request, { deadline: Date.now() + timeoutMs });
    const abort = () => call.cancel();
    signal.addEventListener('abort', abort, { once: true });
    let last: MigrationProgress | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        call.on('data', (progress: MigrationProgress) => {
          last = progress;
          report(progress);
        });
        call.once('end', resolve);
        call.once('error', (error: ServiceError) => reject(new SidecarError(address, 'Migrate', error)));
      });
    } catch (error) {
      if (last?.done !== true) throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    if (!last?.done) throw new HoldfastError('SIDECAR', `the sidecar at ${address} ended Migrate without an outcome`);
    return last;
  }

  close(): void {
    for (const { client } of this.#connections.values()) client.close();
    this.#connections.clear();
  }

  #connect(clusterUid: string, podAddress: string): { client: ControlClient; address: string } {
    const access = this.#access.get(clusterUid);
    if (!access) throw new HoldfastError('NO_AUTHORITY', 'the certificate authority of the cluster is not known yet');
    const address = podAddress.includes(':') ? `[${podAddress}]:${PORTS.peer}` : `${podAddress}:${PORTS.peer}`;
    this.#closeIdle();
    const key = `${clusterUid} ${address}`;
    const before = this.#connections.get(key);
    if (before?.tls === access.tls) {
      before.usedMs = monotonicMs();
      return { client: before.client, address };
    }
    before?.client.close(); // what is under way goes on
    const { credentials, options } = sidecarChannel(access.tls);
    const client = new ControlClient(address, credentials, options);
    this.#connections.set(key, { client, tls: access.tls, usedMs: monotonicMs() });
    return { client, address };
  }

  #closeIdle(): void {
    const limitMs = monotonicMs() - IDLE_MS;
    for (const [key, connection] of this.#connections) {
      if (connection.usedMs > limitMs) continue;
      connection.client.close();
      this.#connections.delete(key);
    }
  }

  #unary<T>(
    clusterUid: string,
    podAddress: string,
    method: string,
    timeoutMs: number,
    call: (
      client: ControlClient,
      options: { metadata: Metadata; call: { deadline: number } },
      done: (error: ServiceError | null, reply: T) => void,
    ) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const { client, address } = this.#connect(clusterUid, podAddress);
      const options = { metadata: new Metadata(), call: { deadline: Date.now() + timeoutMs } };
      call(client, options, (error, reply) =>
        error ? reject(new SidecarError(address, method, error)) : resolve(reply),
      );
    });
  }
}
