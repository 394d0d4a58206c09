import { WireError } from '../wire/errors.ts';

/** Negotiate flags (MS-NLMP 2.2.2.5). */
export const NtlmFlag = {
  unicode: 0x1,
  oem: 0x2,
  requestTarget: 0x4,
  sign: 0x10,
  seal: 0x20,
  ntlm: 0x200,
  anonymous: 0x800,
  alwaysSign: 0x8000,
  targetTypeDomain: 0x10000,
  targetTypeServer: 0x20000,
  extendedSessionSecurity: 0x80000,
  targetInfo: 0x800000,
  version: 0x2000000,
  negotiate128: 0x20000000,
  keyExchange: 0x40000000,
  negotiate56: 0x80000000,
} as const;

/** AvId (MS-NLMP 2.2.2.1). */
export const AvId = {
  endOfList: 0,
  netbiosComputerName: 1,
  netbiosDomainName: 2,
  dnsComputerName: 3,
  dnsDomainName: 4,
  dnsTreeName: 5,
  flags: 6,
  timestamp: 7,
  singleHost: 8,
  targetName: 9,
  channelBindings: 10,
} as const;

/** MsvAvFlags: the AUTHENTICATE message carries a MIC (MS-NLMP 2.2.2.1). */
export const avFlagMicPresent = 0x2;

export interface AvPair {
  id: number;
  value: Buffer;
}

/** More are not accepted; the specification knows eleven. */
const maximumAvPairs = 64;

/** Encodes the pairs and the end of the list behind them. */
export function encodeAvPairs(pairs: readonly AvPair[]): Buffer {
  const parts: Buffer[] = [];
  for (const { id, value } of pairs) {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(id, 0);
    head.writeUInt16LE(value.length, 2);
    parts.push(head, value);
  }
  parts.push(Buffer.alloc(4));
  return Buffer.concat(parts);
}

/** Decodes up to the end of the list; what lies behind it is ignored. Throws WireError. */
export function decodeAvPairs(buffer: Buffer): AvPair[] {
  const pairs: AvPair[] = [];
  for (let at = 0; ; ) {
    if (at + 4 > buffer.length) throw new WireError('AV_PAIR list has no end');
    const id = buffer.readUInt16LE(at);
    const length = buffer.readUInt16LE(at + 2);
    if (id === AvId.endOfList) return pairs;
    if (pairs.length === maximumAvPairs) throw new WireError(`more than ${maximumAvPairs} AV_PAIRs`);
    if (at + 4 + length > buffer.length) throw new WireError('AV_PAIR reaches beyond its list');
    pairs.push({ id, value: buffer.subarray(at + 4, at + 4 + length) });
    at += 4 + length;
  }
}

/** The first pair's value with that id. */
export function avValue(pairs: readonly AvPair[], id: number): Buffer | undefined {
  return pairs.find((pair) => pair.id === id)?.value;
}

/** MsvAvFlags, 0 when absent. */
export function avFlags(pairs: readonly AvPair[]): number {
  const value = avValue(pairs, AvId.flags);
  return value !== undefined && value.length >= 4 ? value.readUInt32LE(0) : 0;
}

const signature = Buffer.from('NTLMSSP\0', 'latin1');

/** True when a token is a bare NTLM message, without SPNEGO around it. */
export function isNtlmMessage(token: Buffer): boolean {
  return token.length >= 12 && token.subarray(0, 8).equals(signature);
}

function requireMessage(buffer: Buffer, type: number, minimumSize: number, name: string): void {
  if (!isNtlmMessage(buffer) || buffer.length < minimumSize || buffer.readUInt32LE(8) !== type) {
    throw new WireError(`not an NTLM ${name} message`);
  }
}

/** What a Len/MaxLen/BufferOffset field at `at` points to. An empty one may have any offset. */
function payload(buffer: Buffer, at: number): Buffer {
  const length = buffer.readUInt16LE(at);
  if (length === 0) return buffer.subarray(0, 0);
  const offset = buffer.readUInt32LE(at + 4);
  if (offset + length > buffer.length) throw new WireError('NTLM field points beyond the message');
  return buffer.subarray(offset, offset + length);
}

/** Builds a message: the fixed part, and behind it the payloads, each with its field at the given offset. */
function assemble(fixed: Buffer, type: number, fields: readonly (readonly [at: number, value: Buffer])[]): Buffer {
  signature.copy(fixed);
  fixed.writeUInt32LE(type, 8);
  let offset = fixed.length;
  for (const [at, value] of fields) {
    fixed.writeUInt16LE(value.length, at);
    fixed.writeUInt16LE(value.length, at + 2);
    fixed.writeUInt32LE(offset, at + 4);
    offset += value.length;
  }
  return Buffer.concat([fixed, ...fields.map(([, value]) => value)]);
}

/** VERSION (MS-NLMP 2.2.2.10): only for debugging, but clients expect revision 15 (NTLMSSP_REVISION_W2K3). */
const version = Buffer.from([10, 0, 0, 0, 0, 0, 0, 15]);

/** NEGOTIATE_MESSAGE (MS-NLMP 2.2.1.1); the names that it may carry have no use here. */
export interface NtlmNegotiate {
  flags: number;
}

export function encodeNegotiate({ flags }: NtlmNegotiate): Buffer {
  const fixed = Buffer.alloc(40);
  fixed.writeUInt32LE(flags >>> 0, 12);
  version.copy(fixed, 32);
  return assemble(fixed, 1, [
    [16, Buffer.alloc(0)],
    [24, Buffer.alloc(0)],
  ]);
}

/** Throws WireError. Clients of old end after the flags, so 16 bytes are enough. */
export function decodeNegotiate(buffer: Buffer): NtlmNegotiate {
  requireMessage(buffer, 1, 16, 'NEGOTIATE');
  return { flags: buffer.readUInt32LE(12) };
}

/** CHALLENGE_MESSAGE (MS-NLMP 2.2.1.2). */
export interface NtlmChallenge {
  flags: number;
  targetName: string;
  /** 8 bytes. */
  serverChallenge: Buffer;
  targetInfo: AvPair[];
}

export function encodeChallenge(challenge: NtlmChallenge): Buffer {
  const fixed = Buffer.alloc(56);
  fixed.writeUInt32LE(challenge.flags >>> 0, 20);
  challenge.serverChallenge.copy(fixed, 24, 0, 8);
  version.copy(fixed, 48);
  return assemble(fixed, 2, [
    [12, Buffer.from(challenge.targetName, 'utf16le')],
    [40, encodeAvPairs(challenge.targetInfo)],
  ]);
}

/** Throws WireError. */
export function decodeChallenge(buffer: Buffer): NtlmChallenge {
  requireMessage(buffer, 2, 48, 'CHALLENGE');
  const flags = buffer.readUInt32LE(20);
  const targetInfo = payload(buffer, 40);
  return {
    flags,
    targetName: payload(buffer, 12).toString(flags & NtlmFlag.unicode ? 'utf16le' : 'latin1'),
    serverChallenge: buffer.subarray(24, 32),
    targetInfo: targetInfo.length === 0 ? [] : decodeAvPairs(targetInfo),
  };
}

/** AUTHENTICATE_MESSAGE (MS-NLMP 2.2.1.3). */
export interface NtlmAuthenticate {
  flags: number;
  lmResponse: Buffer;
  ntResponse: Buffer;
  domain: string;
  user: string;
  workstation: string;
  encryptedRandomSessionKey: Buffer;
  /** 16 bytes; undefined when the message has no room for it. */
  mic: Buffer | undefined;
}

/** Where the MIC lies in an AUTHENTICATE message. */
export const micOffset = 72;

/** Encodes with the MIC field there (zero unless given): it is computed over the encoded message and put in afterwards. */
export function encodeAuthenticate(message: NtlmAuthenticate): Buffer {
  const fixed = Buffer.alloc(88);
  fixed.writeUInt32LE(message.flags >>> 0, 60);
  version.copy(fixed, 64);
  message.mic?.copy(fixed, micOffset, 0, 16);
  return assemble(fixed, 3, [
    [28, Buffer.from(message.domain, 'utf16le')],
    [36, Buffer.from(message.user, 'utf16le')],
    [44, Buffer.from(message.workstation, 'utf16le')],
    [12, message.lmResponse],
    [20, message.ntResponse],
    [52, message.encryptedRandomSessionKey],
  ]);
}

const authenticateFields = [12, 20, 28, 36, 44, 52];

/** Throws WireError. Text must be Unicode: that every client since 1996 negotiates. */
export function decodeAuthenticate(buffer: Buffer): NtlmAuthenticate {
  requireMessage(buffer, 3, 64, 'AUTHENTICATE');
  const flags = buffer.readUInt32LE(60);
  const offsets = authenticateFields
    .filter((at) => buffer.readUInt16LE(at) > 0)
    .map((at) => buffer.readUInt32LE(at + 4));
  const hasMic = buffer.length >= micOffset + 16 && offsets.every((offset) => offset >= micOffset + 16);
  const text = (at: number): string => {
    const value = payload(buffer, at);
    if (value.length % 2 !== 0) throw new WireError('NTLM name of odd length');
    return value.toString('utf16le');
  };
  return {
    flags,
    lmResponse: payload(buffer, 12),
    ntResponse: payload(buffer, 20),
    domain: text(28),
    user: text(36),
    workstation: text(44),
    encryptedRandomSessionKey: payload(buffer, 52),
    mic: hasMic ? buffer.subarray(micOffset, micOffset + 16) : undefined,
  };
}
