import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConnectionOptions, createSecureContext } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials, ServerCredentials } from '@grpc/grpc-js';

/**
 * The identities of a cluster's own certificate authority. A certificate carries one as a DNS name, so that both sides can check
 * who they talk to whatever the address: sidecars answer as SIDECAR_IDENTITY; the operator calls as OPERATOR_IDENTITY; the members of
 * an embedded store answer as STORE_IDENTITY.
 */
export const SIDECAR_IDENTITY = 'sidecar.holdfast.internal';
export const OPERATOR_IDENTITY = 'operator.holdfast.internal';
export const STORE_IDENTITY = 'store.holdfast.internal';

export interface TlsMaterial {
  ca: Buffer;
  certificate: Buffer;
  key: Buffer;
}

/** Reads ca.crt, tls.crt and tls.key of a folder (a mounted Secret). Read anew at each call. */
export function readTlsMaterial(folder: string): TlsMaterial {
  return {
    ca: readFileSync(join(folder, 'ca.crt')),
    certificate: readFileSync(join(folder, 'tls.crt')),
    key: readFileSync(join(folder, 'tls.key')),
  };
}

/** The same certificate, key and authority. */
function isSame(a: TlsMaterial, b: TlsMaterial): boolean {
  return a.ca.equals(b.ca) && a.certificate.equals(b.certificate) && a.key.equals(b.key);
}

/**
 * The certificates of a folder as they are now. A process outlives its certificate: the files are exchanged under it, and both what it
 * shows to others and what it calls others with has to follow.
 */
export class RotatedTls {
  readonly #folder: string;
  #material: TlsMaterial;
  #timer: NodeJS.Timeout | undefined;

  /** Throws where there are none. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#material = readTlsMaterial(folder);
  }

  /** The same object until the files have changed. */
  get material(): TlsMaterial {
    return this.#material;
  }

  /** Looks for others every so often, until `end`. @param changed called with what is new */
  watch(everyMs: number, changed: (tls: TlsMaterial) => void, failed: (error: unknown) => void): void {
    this.#timer = setInterval(() => {
      try {
        if (this.#refresh()) changed(this.#material);
      } catch (error) {
        failed(error);
      }
    }, everyMs);
    this.#timer.unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  /** Throws, and keeps what it has, where the files are no certificates or do not belong together: their exchange may be under way. */
  #refresh(): boolean {
    const now = readTlsMaterial(this.#folder);
    if (isSame(now, this.#material)) return false;
    new X509Certificate(now.ca);
    createSecureContext(contextOf(now));
    this.#material = now;
    return true;
  }
}

function contextOf({ ca, certificate, key }: TlsMaterial) {
  return { ca, cert: certificate, key };
}

/** Of a server whose callers must show a certificate of the same authority. */
export class PeerServerCredentials extends ServerCredentials {
  constructor(tls: TlsMaterial) {
    super({ requestCert: true, rejectUnauthorized: true }, contextOf(tls));
  }

  /** Who connects from now on is shown this certificate, and asked for one of this authority. */
  use(tls: TlsMaterial): void {
    this.updateSecureContextOptions(contextOf(tls));
  }

  _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

/** For a connection to a member of an embedded store at any address: its certificate must say STORE_IDENTITY. */
export function storeConnection(tls: TlsMaterial): ConnectionOptions {
  return { ...contextOf(tls), servername: STORE_IDENTITY };
}

/** Credentials and channel options for a call to a sidecar at any address: the certificate must say SIDECAR_IDENTITY. */
export function sidecarChannel(tls: TlsMaterial): { credentials: ChannelCredentials; options: ChannelOptions } {
  return {
    credentials: credentials.createSsl(tls.ca, tls.key, tls.certificate),
    options: {
      'grpc.ssl_target_name_override': SIDECAR_IDENTITY,
      'grpc.default_authority': SIDECAR_IDENTITY,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.keepalive_time_ms': 5000,
      'grpc.keepalive_timeout_ms': 2000,
    },
  };
}
