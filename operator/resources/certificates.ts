import { randomBytes } from 'node:crypto';
import type { V1Secret } from '@kubernetes/client-node';
import { type Certificate, createAuthority, issueCertificate, notAfterMs } from '../../common/certificates.ts';
import { SIDECAR_IDENTITY } from '../../common/tls.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { metadataOf, nameOf, namesOf } from './names.ts';

const AUTHORITY_DAYS = 3650;
const CERTIFICATE_DAYS = 90;
/** A certificate is made anew when it has less left than this. */
const RENEW_BEFORE_MS = 30 * 86_400_000;

/** A Secret's values as text. */
export function readSecret(secret: V1Secret | undefined, key: string): string | undefined {
  const value = secret?.data?.[key];
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
}

/** The cluster's authority, if the Secret holds one that is good for long enough. */
export function authorityOf(secret: V1Secret | undefined): Certificate | undefined {
  return readCertificate(secret, 'ca.crt', 'ca.key');
}

export function needsCertificate(secret: V1Secret | undefined, authority: Certificate): boolean {
  return (
    readSecret(secret, 'ca.crt') !== authority.certificate ||
    readCertificate(secret, 'tls.crt', 'tls.key') === undefined
  );
}

function readCertificate(
  secret: V1Secret | undefined,
  certificateKey: string,
  keyKey: string,
): Certificate | undefined {
  const certificate = readSecret(secret, certificateKey);
  const key = readSecret(secret, keyKey);
  if (certificate === undefined || key === undefined) return undefined;
  try {
    return notAfterMs(certificate) - Date.now() > RENEW_BEFORE_MS ? { certificate, key } : undefined;
  } catch {
    return undefined; // not a certificate: made anew
  }
}

/** A new authority, in a Secret that no pod mounts. */
export async function authoritySecret(cluster: FileServerCluster): Promise<V1Secret> {
  const authority = await createAuthority(`Holdfast ${nameOf(cluster)}`, AUTHORITY_DAYS);
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).authority),
    type: 'Opaque',
    data: { 'ca.crt': base64(authority.certificate), 'ca.key': base64(authority.key) },
  };
}

/** The certificate that all sidecars of the cluster present, and the authority (without its key) to check the others by. */
export async function certificateSecret(cluster: FileServerCluster, authority: Certificate): Promise<V1Secret> {
  const issued = await issueCertificate(authority, [SIDECAR_IDENTITY], CERTIFICATE_DAYS);
  return {
    metadata: metadataOf(cluster, namesOf(nameOf(cluster)).certificate),
    type: 'Opaque',
    data: {
      'ca.crt': base64(authority.certificate),
      'tls.crt': base64(issued.certificate),
      'tls.key': base64(issued.key),
    },
  };
}

/** 192 random bits as letters and digits. */
export function newPassword(): string {
  return randomBytes(24).toString('hex');
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
