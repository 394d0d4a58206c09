import { randomBytes, X509Certificate } from 'node:crypto';
import type { V1Secret } from '@kubernetes/client-node';
import { type Certificate, createAuthority, issueCertificate, notAfterMs } from '../../common/certificates.ts';
import { SIDECAR_IDENTITY, STORE_IDENTITY } from '../../common/tls.ts';
import type { FileServerCluster } from '../../crds/generated/fileservercluster.ts';
import { timeMs } from '../runtime/objects.ts';
import type { ClusterAuthority } from './authority.ts';
import { metadataOf, nameOf, namesOf } from './names.ts';

const AUTHORITY_DAYS = 3650;
const CERTIFICATE_DAYS = 90;
/** A certificate is made anew when it has less left than this. */
const RENEW_BEFORE_MS = 30 * 86_400_000;
/** An authority is replaced when it has less left: no certificate that it issues may outlive it. */
const REPLACE_BEFORE_MS = 2 * CERTIFICATE_DAYS * 86_400_000;
/** On a FileServerCluster: another text than the last one asks for another certificate authority. */
export const ROTATE_AUTHORITY_ANNOTATION = 'holdfast.dev/rotate-authority';
const SINCE_ANNOTATION = 'holdfast.dev/authority-step-since';
const MADE_FOR_ANNOTATION = 'holdfast.dev/authority-made-for';
/** Keys of the authority's Secret while it is being replaced. */
const TRUSTED_KEY = 'trusted.crt';
const NEXT_CERTIFICATE = 'next.crt';
const NEXT_KEY = 'next.key';
const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** A Secret's values as text. */
export function readSecret(secret: V1Secret | undefined, key: string): string | undefined {
  const value = secret?.data?.[key];
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
}

/** What such a Secret says; undefined where it holds no authority. One that is over is one still: it is to be replaced. */
export function authorityOf(secret: V1Secret | undefined): ClusterAuthority | undefined {
  const signer = readPair(secret, 'ca.crt', 'ca.key');
  if (!signer) return undefined;
  const annotations = secret?.metadata?.annotations ?? {};
  const trusted = (readSecret(secret, TRUSTED_KEY) ?? '').match(CERTIFICATES) ?? [];
  return {
    signer,
    trusted: trusted.length > 0 ? [...trusted] : [signer.certificate],
    next: readPair(secret, NEXT_CERTIFICATE, NEXT_KEY),
    sinceMs: timeMs(annotations[SINCE_ANNOTATION]),
    madeFor: annotations[MADE_FOR_ANNOTATION],
  };
}

/** Whether an authority ends so soon that another has to take its place while what it has issued is still good. */
export function isEnding({ signer }: ClusterAuthority, nowMs: number): boolean {
  return notAfterMs(signer.certificate) - nowMs < REPLACE_BEFORE_MS;
}

/** Whether the sidecars' certificate is missing, nearly over, another authority's, or not to be checked as is wanted now. */
export function needsCertificate(secret: V1Secret | undefined, { signer, trusted }: ClusterAuthority): boolean {
  const issued = readPair(secret, 'tls.crt', 'tls.key');
  return (
    readSecret(secret, 'ca.crt') !== bundle(trusted) ||
    issued === undefined ||
    notAfterMs(issued.certificate) - Date.now() <= RENEW_BEFORE_MS ||
    !new X509Certificate(issued.certificate).verify(new X509Certificate(signer.certificate).publicKey)
  );
}

/** A certificate with its key; undefined where that is missing, or something else: it is made anew. */
function readPair(secret: V1Secret | undefined, certificateKey: string, keyKey: string): Certificate | undefined {
  const certificate = readSecret(secret, certificateKey);
  const key = readSecret(secret, keyKey);
  if (certificate === undefined || key === undefined) return undefined;
  try {
    new X509Certificate(certificate);
    return { certificate, key };
  } catch {
    return undefined;
  }
}

/**
 * A new authority. Its name is its own: of two with the same name a certificate does not say which one it is of, and OpenSSL takes either.
 */
export function makeAuthority(cluster: FileServerCluster): Promise<Certificate> {
  return createAuthority(`Holdfast ${nameOf(cluster)} ${randomBytes(4).toString('hex')}`, AUTHORITY_DAYS);
}

/** The Secret of an authority. No pod mounts it. @param version refuses to replace any other (resourceVersion); undefined: it is new */
export function authoritySecret(cluster: FileServerCluster, authority: ClusterAuthority, version?: string): V1Secret {
  const { signer, trusted, next, sinceMs, madeFor } = authority;
  const annotations = {
    ...(sinceMs === undefined ? {} : { [SINCE_ANNOTATION]: new Date(sinceMs).toISOString() }),
    ...(madeFor === undefined ? {} : { [MADE_FOR_ANNOTATION]: madeFor }),
  };
  return {
    metadata: {
      ...metadataOf(cluster, namesOf(nameOf(cluster)).authority),
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
      ...(version === undefined ? {} : { resourceVersion: version }),
    },
    type: 'Opaque',
    data: {
      'ca.crt': base64(signer.certificate),
      'ca.key': base64(signer.key),
      ...(trusted.length > 1 ? { [TRUSTED_KEY]: base64(bundle(trusted)) } : {}),
      ...(next ? { [NEXT_CERTIFICATE]: base64(next.certificate), [NEXT_KEY]: base64(next.key) } : {}),
    },
  };
}

/** The certificate that all sidecars of the cluster present, and the authorities (without their keys) to check the others by. */
export function certificateSecret(cluster: FileServerCluster, authority: ClusterAuthority): Promise<V1Secret> {
  return issuedSecret(cluster, namesOf(nameOf(cluster)).certificate, authority, SIDECAR_IDENTITY);
}

/** What the members of an embedded store present, to sidecars and to each other. It is of no use to whoever wants to pass for a sidecar. */
export function redisCertificateSecret(cluster: FileServerCluster, authority: ClusterAuthority): Promise<V1Secret> {
  return issuedSecret(cluster, namesOf(nameOf(cluster)).redisCertificate, authority, STORE_IDENTITY);
}

async function issuedSecret(
  cluster: FileServerCluster,
  name: string,
  { signer, trusted }: ClusterAuthority,
  identity: string,
): Promise<V1Secret> {
  const issued = await issueCertificate(signer, [identity], CERTIFICATE_DAYS);
  return {
    metadata: metadataOf(cluster, name),
    type: 'Opaque',
    data: {
      'ca.crt': base64(bundle(trusted)),
      'tls.crt': base64(issued.certificate),
      'tls.key': base64(issued.key),
    },
  };
}

/** 192 random bits as letters and digits. */
export function newPassword(): string {
  return randomBytes(24).toString('hex');
}

/** Several certificates as one file has them. */
export const bundle = (certificates: readonly string[]): string =>
  certificates.map((text) => text.trimEnd()).join('\n');

const base64 = (text: string): string => Buffer.from(text).toString('base64');
