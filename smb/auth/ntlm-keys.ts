import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import { foldCase } from '../fscc/names.ts';
import { NtlmFlag } from './ntlm-messages.ts';
import { rc4 } from './rc4.ts';

function hmacMd5(key: Buffer, ...parts: Buffer[]): Buffer {
  const hmac = createHmac('md5', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

const md5 = (...parts: Buffer[]): Buffer => hash('md5', Buffer.concat(parts), 'buffer');

/** NTOWFv2 (MS-NLMP 3.3.2): the response key, from the NT hash, the user in upper case and the domain as it stands. */
export function ntowfV2(ntHash: Buffer, user: string, domain: string): Buffer {
  return hmacMd5(ntHash, Buffer.from(foldCase(user) + domain, 'utf16le'));
}

/** What an NTLMv2 response proves and what both sides derive from it (MS-NLMP 3.3.2). */
export interface NtlmV2Proof {
  /** NTProofStr, 16 bytes. */
  ntProof: Buffer;
  /** SessionBaseKey, which with NTLMv2 is the KeyExchangeKey too (MS-NLMP 3.4.5.1), 16 bytes. */
  keyExchangeKey: Buffer;
}

/** Computes NTProofStr and the key. `clientBlob` is the response without its first 16 bytes (`temp` in MS-NLMP 3.3.2). */
export function ntlmV2Proof(responseKey: Buffer, serverChallenge: Buffer, clientBlob: Buffer): NtlmV2Proof {
  const ntProof = hmacMd5(responseKey, serverChallenge, clientBlob);
  return { ntProof, keyExchangeKey: hmacMd5(responseKey, ntProof) };
}

/** LMv2 response (MS-NLMP 3.3.2), 24 bytes. */
export function lmV2Response(responseKey: Buffer, serverChallenge: Buffer, clientChallenge: Buffer): Buffer {
  return Buffer.concat([hmacMd5(responseKey, serverChallenge, clientChallenge), clientChallenge]);
}

/** The client's part of an NTLMv2 response: NTLMv2_CLIENT_CHALLENGE (MS-NLMP 2.2.2.7) with the four zero bytes behind it. */
export function ntlmV2ClientBlob(timestamp: bigint, clientChallenge: Buffer, avPairs: Buffer): Buffer {
  const blob = Buffer.alloc(28 + avPairs.length + 4);
  blob.writeUInt8(1, 0);
  blob.writeUInt8(1, 1);
  blob.writeBigUInt64LE(timestamp, 8);
  clientChallenge.copy(blob, 16);
  avPairs.copy(blob, 28);
  return blob;
}

/** MIC over the three messages; the MIC field of `authenticate` must be zero (MS-NLMP 3.1.5.1.2). 16 bytes. */
export function messageIntegrityCode(
  exportedSessionKey: Buffer,
  negotiate: Buffer,
  challenge: Buffer,
  authenticate: Buffer,
): Buffer {
  return hmacMd5(exportedSessionKey, negotiate, challenge, authenticate);
}

/** Comparison in constant time; false for different lengths. */
export function sameSecret(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

const magic = {
  client: {
    sign: Buffer.from('session key to client-to-server signing key magic constant\0', 'latin1'),
    seal: Buffer.from('session key to client-to-server sealing key magic constant\0', 'latin1'),
  },
  server: {
    sign: Buffer.from('session key to server-to-client signing key magic constant\0', 'latin1'),
    seal: Buffer.from('session key to server-to-client sealing key magic constant\0', 'latin1'),
  },
};

/** Signing key of a direction (SIGNKEY, MS-NLMP 3.4.5.2), extended session security. */
export function signingKey(exportedSessionKey: Buffer, sender: 'client' | 'server'): Buffer {
  return md5(exportedSessionKey, magic[sender].sign);
}

/** Sealing key of a direction (SEALKEY, MS-NLMP 3.4.5.3), extended session security. */
export function sealingKey(flags: number, exportedSessionKey: Buffer, sender: 'client' | 'server'): Buffer {
  const length = flags & NtlmFlag.negotiate128 ? 16 : flags & NtlmFlag.negotiate56 ? 7 : 5;
  return md5(exportedSessionKey.subarray(0, length), magic[sender].seal);
}

/** True when the negotiated flags let GSS_GetMIC work here: signing with extended session security. */
export function canSign(flags: number): boolean {
  return (flags & NtlmFlag.sign) !== 0 && (flags & NtlmFlag.extendedSessionSecurity) !== 0;
}

/** GSS_GetMIC with sequence number 0 (MS-NLMP 3.4.4.2), used for SPNEGO's mechListMIC. 16 bytes. */
export function ntlmMic(
  flags: number,
  exportedSessionKey: Buffer,
  sender: 'client' | 'server',
  message: Buffer,
): Buffer {
  const sequenceNumber = Buffer.alloc(4);
  let checksum = hmacMd5(signingKey(exportedSessionKey, sender), sequenceNumber, message).subarray(0, 8);
  if (flags & NtlmFlag.keyExchange) checksum = rc4(sealingKey(flags, exportedSessionKey, sender), checksum);
  const version = Buffer.from([1, 0, 0, 0]);
  return Buffer.concat([version, checksum, sequenceNumber]);
}
