import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChannelCredentials, type ChannelOptions, credentials, ServerCredentials } from '@grpc/grpc-js';

/**
 * The identities of a cluster's own certificate authority. A certificate carries one as a DNS name, so that both sides can check
 * who they talk to whatever the address: sidecars answer as SIDECAR_IDENTITY; the operator calls as OPERATOR_IDENTITY.
 */
export const SIDECAR_IDENTITY = 'sidecar.holdfast.internal';
export const OPERATOR_IDENTITY = 'operator.holdfast.internal';

export interface TlsMaterial {
  ca: Buffer;
  certificate: Buffer;
  key: Buffer;
}

/** Reads ca.crt, tls.crt and tls.key of a folder (a mounted Secret). Read anew at each call: certificates are rotated in place. */
export function readTlsMaterial(folder: string): TlsMaterial {
  return {
    ca: readFileSync(join(folder, 'ca.crt')),
    certificate: readFileSync(join(folder, 'tls.crt')),
    key: readFileSync(join(folder, 'tls.key')),
  };
}

export function serverCredentials(tls: TlsMaterial): ServerCredentials {
  return ServerCredentials.createSsl(tls.ca, [{ cert_chain: tls.certificate, private_key: tls.key }], true);
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
