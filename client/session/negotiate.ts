import { randomBytes } from 'node:crypto';
import {
  Capabilities,
  CipherId,
  Dialect,
  HashAlgorithm,
  SecurityMode,
  SigningAlgorithmId,
} from '../../smb/constants.ts';
import { decodeNegotiateResponse, type NegotiateRequest, type NegotiateResponse } from '../../smb/wire/negotiate.ts';
import type { NegotiateContext } from '../../smb/wire/negotiate-contexts.ts';
import { SmbError } from '../errors.ts';

/** Size of the salt of the preauthentication integrity context, in bytes, as Windows sends. */
const SALT_BYTES = 32;
const PREAUTH_MESSAGE = 'the server did not choose SHA-512 for preauthentication integrity';

export const DIALECTS = [Dialect.SMB_3_0, Dialect.SMB_3_0_2, Dialect.SMB_3_1_1] as const;

export interface NegotiateOffer {
  /** Dialect.*, 3.0 and up. */
  dialects: readonly number[];
  /** CipherId.*, best first. */
  ciphers: readonly number[];
  /** SigningAlgorithmId.*, best first. */
  signingAlgorithms: readonly number[];
}

export const DEFAULT_OFFER: NegotiateOffer = {
  dialects: DIALECTS,
  ciphers: [CipherId.AES_128_GCM, CipherId.AES_256_GCM, CipherId.AES_128_CCM, CipherId.AES_256_CCM],
  signingAlgorithms: [SigningAlgorithmId.AES_GMAC, SigningAlgorithmId.AES_CMAC, SigningAlgorithmId.HMAC_SHA256],
};

/** What NEGOTIATE settled for a connection. */
export interface Negotiated {
  /** Dialect.* */
  dialect: number;
  serverGuid: Buffer;
  securityMode: number;
  /** Capabilities.* of the server. */
  capabilities: number;
  /** Bytes. */
  maxTransactSize: number;
  maxReadSize: number;
  maxWriteSize: number;
  /** CipherId.*; 0 when nothing can be encrypted. */
  cipher: number;
  /** SigningAlgorithmId.* */
  signingAlgorithm: number;
  /** The server's GSS token. */
  securityBuffer: Buffer;
}

/** The NEGOTIATE request (MS-SMB2 3.2.4.2.2.2). `serverName` is what the user called the server. */
export function negotiateRequest(clientGuid: Buffer, serverName: string, offer: NegotiateOffer): NegotiateRequest {
  const negotiateContexts: NegotiateContext[] = [
    { type: 'preauthIntegrity', hashAlgorithms: [HashAlgorithm.SHA_512], salt: randomBytes(SALT_BYTES) },
    { type: 'encryption', ciphers: [...offer.ciphers] },
    { type: 'signing', algorithms: [...offer.signingAlgorithms] },
    { type: 'netname', name: serverName },
  ];
  return {
    securityMode: SecurityMode.SIGNING_ENABLED | SecurityMode.SIGNING_REQUIRED,
    capabilities:
      Capabilities.LEASING | Capabilities.LARGE_MTU | Capabilities.PERSISTENT_HANDLES | Capabilities.ENCRYPTION,
    clientGuid,
    dialects: [...offer.dialects],
    negotiateContexts,
  };
}

/** Checks the answer against the offer (MS-SMB2 3.2.5.2). Throws SmbError NEGOTIATION_REFUSED, or WireError. */
export function acceptNegotiateResponse(message: Buffer, offer: NegotiateOffer): Negotiated {
  const response = decodeNegotiateResponse(message);
  if (!offer.dialects.includes(response.dialectRevision)) {
    throw refused(`it answered dialect 0x${response.dialectRevision.toString(16)}, which was not offered`);
  }
  if (response.maxReadSize < 65_536 || response.maxWriteSize < 65_536 || response.maxTransactSize < 65_536) {
    throw refused('its largest read, write or transaction is below 64 KiB');
  }
  const { cipher, signingAlgorithm } =
    response.dialectRevision === Dialect.SMB_3_1_1 ? choiceOf311(response, offer) : choiceOf30(response);
  return {
    dialect: response.dialectRevision,
    serverGuid: Buffer.from(response.serverGuid),
    securityMode: response.securityMode,
    capabilities: response.capabilities,
    maxTransactSize: response.maxTransactSize,
    maxReadSize: response.maxReadSize,
    maxWriteSize: response.maxWriteSize,
    cipher,
    signingAlgorithm,
    securityBuffer: Buffer.from(response.securityBuffer),
  };
}

function choiceOf30(response: NegotiateResponse) {
  const encrypts = (response.capabilities & Capabilities.ENCRYPTION) !== 0;
  return { cipher: encrypts ? CipherId.AES_128_CCM : 0, signingAlgorithm: SigningAlgorithmId.AES_CMAC as number };
}

function choiceOf311({ negotiateContexts }: NegotiateResponse, offer: NegotiateOffer) {
  let hashed = false;
  let cipher = 0;
  let signingAlgorithm: number = SigningAlgorithmId.AES_CMAC;
  for (const context of negotiateContexts) {
    if (context.type === 'preauthIntegrity') {
      if (context.hashAlgorithms.length !== 1 || context.hashAlgorithms[0] !== HashAlgorithm.SHA_512) {
        throw refused(PREAUTH_MESSAGE);
      }
      hashed = true;
    } else if (context.type === 'encryption') {
      cipher = only(context.ciphers, [0, ...offer.ciphers], 'cipher');
    } else if (context.type === 'signing') {
      signingAlgorithm = only(context.algorithms, offer.signingAlgorithms, 'signing algorithm');
    }
  }
  if (!hashed) throw refused(PREAUTH_MESSAGE);
  return { cipher, signingAlgorithm };
}

function only(chosen: readonly number[], offered: readonly number[], what: string): number {
  const [one] = chosen;
  if (chosen.length !== 1 || one === undefined || !offered.includes(one)) {
    throw refused(`it chose the ${what} ${chosen.join(', ') || 'none'}, which was not offered`);
  }
  return one;
}

function refused(why: string): SmbError {
  return new SmbError('NEGOTIATION_REFUSED', `NEGOTIATE failed: ${why}`);
}
