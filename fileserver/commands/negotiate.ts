// NEGOTIATE (MS-SMB2 3.3.5.3, 3.3.5.4).
import { createHash, randomBytes } from 'node:crypto';
import type { SecurityConfig } from '../../common/config.ts';
import { serverNegotiateToken } from '../../smb/auth/server.ts';
import {
  Capabilities,
  CipherId,
  Dialect,
  Flags,
  HashAlgorithm,
  SecurityMode,
  SigningAlgorithmId,
} from '../../smb/constants.ts';
import { cipherIdOf } from '../../smb/crypto/cipher.ts';
import { signingAlgorithmOf } from '../../smb/crypto/signer.ts';
import { filetimeFromUnixNs } from '../../smb/fscc/filetime.ts';
import { Status } from '../../smb/status.ts';
import { decodeNegotiateRequest, encodeNegotiateResponse, type NegotiateRequest } from '../../smb/wire/negotiate.ts';
import type { NegotiateContext } from '../../smb/wire/negotiate-contexts.ts';
import { decodeSmb1Negotiate, isSmb1Negotiate, Smb1Dialect } from '../../smb/wire/smb1-negotiate.ts';
import type { Call } from '../session/call.ts';
import type { ConnectionHost, Negotiated } from '../session/host.ts';
import { MAX_IO_SIZE } from '../session/limits.ts';
import { type Reply, reply, statusReply } from '../session/request.ts';

/** Ours, best first. */
const DIALECTS = [Dialect.SMB_3_1_1, Dialect.SMB_3_0_2, Dialect.SMB_3_0, Dialect.SMB_2_1, Dialect.SMB_2_0_2];
const MIN_DIALECT: Record<SecurityConfig['minDialect'], number> = {
  '2.0.2': Dialect.SMB_2_0_2,
  '2.1': Dialect.SMB_2_1,
  '3.0': Dialect.SMB_3_0,
  '3.0.2': Dialect.SMB_3_0_2,
  '3.1.1': Dialect.SMB_3_1_1,
};
/** GCM first: it is several times as fast as CCM. The client's order counts among equals only, as the server chooses. */
const CIPHERS: number[] = [CipherId.AES_128_GCM, CipherId.AES_256_GCM, CipherId.AES_128_CCM, CipherId.AES_256_CCM];
const SIGNING_ALGORITHMS: number[] = [
  SigningAlgorithmId.AES_GMAC,
  SigningAlgorithmId.AES_CMAC,
  SigningAlgorithmId.HMAC_SHA256,
];
/** Without large MTU, as Windows (3.3.5.4). */
const MAX_IO_SIZE_2_0_2 = 64 * 1024;
const SALT_SIZE = 32;

/** A choice that could not be made: the status to answer with. */
export type NegotiateChoice = { status: number } | { negotiated: Negotiated; contexts: NegotiateContext[] };

/** Decides what a NEGOTIATE request gets. Pure but for the salt. */
export function chooseDialect(request: NegotiateRequest, security: SecurityConfig): NegotiateChoice {
  if (request.dialects.length === 0) return { status: Status.INVALID_PARAMETER };
  const least = MIN_DIALECT[security.minDialect];
  const dialect = DIALECTS.find((one) => one >= least && request.dialects.includes(one));
  if (dialect === undefined) return { status: Status.NOT_SUPPORTED };
  const signing = security.signing === 'Required' ? SecurityMode.SIGNING_REQUIRED : 0;
  const negotiated: Negotiated = {
    dialect,
    clientGuid: dialect === Dialect.SMB_2_0_2 ? Buffer.alloc(16) : Buffer.from(request.clientGuid),
    clientCapabilities: dialect >= Dialect.SMB_3_0 ? request.capabilities : 0,
    serverCapabilities: 0,
    clientSecurityMode: request.securityMode,
    serverSecurityMode: SecurityMode.SIGNING_ENABLED | signing,
    clientDialects: dialect === Dialect.SMB_3_1_1 ? undefined : digestOf(request.dialects),
    cipherId: undefined,
    signingAlgorithm: signingAlgorithmOf(dialect),
    maxIoSize: dialect === Dialect.SMB_2_0_2 ? MAX_IO_SIZE_2_0_2 : MAX_IO_SIZE,
  };
  if (dialect !== Dialect.SMB_3_1_1) {
    const encrypts = (request.capabilities & Capabilities.ENCRYPTION) !== 0;
    negotiated.cipherId = encrypts ? cipherIdOf(dialect) : undefined;
    negotiated.serverCapabilities = capabilitiesOf(negotiated);
    return { negotiated, contexts: [] };
  }
  return chooseContexts(request, negotiated);
}

const digestOf = (dialects: readonly number[]): Buffer =>
  createHash('sha256').update(Uint16Array.from(dialects)).digest();

/** The negotiate contexts of 3.1.1. */
function chooseContexts(request: NegotiateRequest, negotiated: Negotiated): NegotiateChoice {
  const contextsOf = <T extends NegotiateContext['type']>(type: T) =>
    request.negotiateContexts.filter((one): one is Extract<NegotiateContext, { type: T }> => one.type === type);
  const [preauth, ...morePreauth] = contextsOf('preauthIntegrity');
  const [encryption, ...moreEncryption] = contextsOf('encryption');
  const [signing, ...moreSigning] = contextsOf('signing');
  const isRepeated = morePreauth.length > 0 || moreEncryption.length > 0 || moreSigning.length > 0;
  if (!preauth || preauth.hashAlgorithms.length === 0 || isRepeated) return { status: Status.INVALID_PARAMETER };
  if (encryption?.ciphers.length === 0 || signing?.algorithms.length === 0) return { status: Status.INVALID_PARAMETER };
  if (!preauth.hashAlgorithms.includes(HashAlgorithm.SHA_512)) {
    return { status: Status.SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP };
  }
  const contexts: NegotiateContext[] = [
    { type: 'preauthIntegrity', hashAlgorithms: [HashAlgorithm.SHA_512], salt: randomBytes(SALT_SIZE) },
  ];
  if (encryption) {
    const cipher = CIPHERS.find((one) => encryption.ciphers.includes(one));
    contexts.push({ type: 'encryption', ciphers: [cipher ?? 0] });
    negotiated.cipherId = cipher;
  }
  if (signing) {
    const algorithm = SIGNING_ALGORITHMS.find((one) => signing.algorithms.includes(one));
    if (algorithm !== undefined) {
      contexts.push({ type: 'signing', algorithms: [algorithm] });
      negotiated.signingAlgorithm = algorithm;
    }
  }
  negotiated.serverCapabilities = capabilitiesOf(negotiated);
  return { negotiated, contexts };
}

/**
 * What this server can do on the connection;
 * in 3.1.1 encryption is a matter of its context alone (3.3.5.4).
 */
function capabilitiesOf({ dialect, clientCapabilities, cipherId }: Negotiated): number {
  let capabilities = 0;
  if (dialect >= Dialect.SMB_2_1) capabilities |= Capabilities.LARGE_MTU | Capabilities.LEASING;
  if (dialect >= Dialect.SMB_3_0) {
    capabilities |= Capabilities.DIRECTORY_LEASING;
    capabilities |= clientCapabilities & (Capabilities.PERSISTENT_HANDLES | Capabilities.MULTI_CHANNEL);
    if (dialect < Dialect.SMB_3_1_1 && cipherId !== undefined) capabilities |= Capabilities.ENCRYPTION;
  }
  return capabilities;
}

export function negotiate(call: Call): Reply {
  const { connection } = call;
  const { settings } = call.services;
  if ((call.header.flags & Flags.SIGNED) !== 0) return statusReply(Status.INVALID_PARAMETER);
  const choice = chooseDialect(decodeNegotiateRequest(call.message), settings.config.security);
  if ('status' in choice) return statusReply(choice.status);
  const { negotiated, contexts } = choice;
  connection.negotiationDone(negotiated);
  if (negotiated.dialect === Dialect.SMB_3_1_1) {
    connection.hashForPreauth(call.message);
    call.onResponse = (message) => connection.hashForPreauth(message);
  }
  return reply(responseBody(connection, negotiated, contexts));
}

function responseBody(connection: ConnectionHost, negotiated: Negotiated, contexts: NegotiateContext[]): Buffer {
  return encodeNegotiateResponse({
    securityMode: negotiated.serverSecurityMode,
    dialectRevision: negotiated.dialect,
    serverGuid: connection.services.settings.serverGuid,
    capabilities: negotiated.serverCapabilities,
    maxTransactSize: negotiated.maxIoSize,
    maxReadSize: negotiated.maxIoSize,
    maxWriteSize: negotiated.maxIoSize,
    systemTime: filetimeFromUnixNs(BigInt(Date.now()) * 1_000_000n),
    serverStartTime: 0n,
    securityBuffer: serverNegotiateToken(),
    negotiateContexts: contexts,
  });
}

/**
 * An SMB1 negotiate that offers SMB2 (3.3.5.3): answered with 2.0.2, or with the wildcard 0x02FF after which a NEGOTIATE follows.
 * Undefined where it offers neither, or nothing that this cluster allows.
 */
export function answerSmb1Negotiate(
  connection: ConnectionHost,
  message: Buffer,
): { dialect: number; body: Buffer } | undefined {
  if (!isSmb1Negotiate(message)) return undefined;
  const { dialects } = decodeSmb1Negotiate(message);
  const { security } = connection.services.settings.config;
  const isWildcard = dialects.includes(Smb1Dialect.SMB_2_WILDCARD);
  const allows2 = dialects.includes(Smb1Dialect.SMB_2_0_2) && security.minDialect === '2.0.2';
  if (!isWildcard && !allows2) return undefined;
  const negotiated: Negotiated = {
    dialect: isWildcard ? Dialect.SMB_2_WILDCARD : Dialect.SMB_2_0_2,
    clientGuid: Buffer.alloc(16),
    clientCapabilities: 0,
    serverCapabilities: isWildcard ? Capabilities.LARGE_MTU : 0,
    clientSecurityMode: undefined,
    serverSecurityMode:
      SecurityMode.SIGNING_ENABLED | (security.signing === 'Required' ? SecurityMode.SIGNING_REQUIRED : 0),
    clientDialects: undefined,
    cipherId: undefined,
    signingAlgorithm: signingAlgorithmOf(Dialect.SMB_2_0_2),
    maxIoSize: isWildcard ? MAX_IO_SIZE : MAX_IO_SIZE_2_0_2,
  };
  if (!isWildcard) connection.negotiationDone(negotiated);
  return { dialect: negotiated.dialect, body: responseBody(connection, negotiated, []) };
}
