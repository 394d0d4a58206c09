import { X509Certificate } from 'node:crypto';
import { type ServerUnaryCall, type ServerWritableStream, status } from '@grpc/grpc-js';
import { HoldfastError } from '../../common/errors.ts';

/** The caller's certificate is the cluster's, but not one of those that may ask this. */
export class NotAllowedError extends HoldfastError {
  readonly grpcCode = status.PERMISSION_DENIED;
  constructor(wanted: string[]) {
    super('NOT_ALLOWED', `the caller's certificate must say ${wanted.join(' or ')}`);
  }
}

/**
 * Checks who calls. That the certificate is of the cluster's own authority was checked by TLS.
 * @throws NotAllowedError
 */
export function requireIdentity<A, B>(
  call: ServerUnaryCall<A, B> | ServerWritableStream<A, B>,
  allowed: string[],
): void {
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  const names = raw ? (new X509Certificate(raw).subjectAltName ?? '') : '';
  const identities = names.split(', ').map((name) => name.replace(/^DNS:/, ''));
  if (!allowed.some((name) => identities.includes(name))) throw new NotAllowedError(allowed);
}
