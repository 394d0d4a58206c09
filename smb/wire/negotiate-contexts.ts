// The list of negotiate contexts of dialect 3.1.1 (MS-SMB2 2.2.3.1, 2.2.4.1).
import { NegotiateContextType } from '../constants.ts';
import { WireReader, WireWriter } from './cursor.ts';

export type NegotiateContext =
  /** 2.2.3.1.1; `hashAlgorithms`: HashAlgorithm.* */
  | { type: 'preauthIntegrity'; hashAlgorithms: number[]; salt: Buffer }
  /** 2.2.3.1.2; `ciphers`: CipherId.*, the client's in order of preference. A server that shares none answers with 0. */
  | { type: 'encryption'; ciphers: number[] }
  /** 2.2.3.1.3; flags 1: chained compression. */
  | { type: 'compression'; algorithms: number[]; flags: number }
  /** 2.2.3.1.4; the server name that the client connects to. */
  | { type: 'netname'; name: string }
  /** 2.2.3.1.5; flags 1: accept transport-level security. */
  | { type: 'transport'; flags: number }
  /** 2.2.3.1.6 */
  | { type: 'rdmaTransform'; transforms: number[] }
  /** 2.2.3.1.7; `algorithms`: SigningAlgorithmId.* */
  | { type: 'signing'; algorithms: number[] }
  /** Any other, such as the POSIX extensions of Samba and Linux (0x0100). */
  | { type: 'unknown'; id: number; data: Buffer };

/** A client that sends more than this means harm: MS-SMB2 knows eight types and none may be repeated. */
const MAX_CONTEXTS = 64;

/**
 * Decodes `count` contexts that begin at byte `offset` of the message; `least` is where its fixed part ends. Each begins
 * on a multiple of 8 counted from the first. Throws WireError.
 */
export function decodeNegotiateContexts(
  message: Buffer,
  offset: number,
  count: number,
  least: number,
): NegotiateContext[] {
  if (count === 0) return [];
  const reader = new WireReader(message, 'negotiate contexts', Math.min(offset, message.length));
  if (offset < least || offset > message.length) throw reader.error(`offset ${offset} is outside of the message`);
  if (count > MAX_CONTEXTS) throw reader.error(`${count} contexts`);
  const contexts: NegotiateContext[] = [];
  for (let i = 0; i < count; i++) {
    if (i > 0) reader.skip((8 - ((reader.at - offset) % 8)) % 8);
    const id = reader.u16();
    const length = reader.u16();
    reader.skip(4);
    contexts.push(decodeContext(id, reader.view(length)));
  }
  return contexts;
}

function decodeContext(id: number, data: Buffer): NegotiateContext {
  const reader = new WireReader(data, `negotiate context ${id}`);
  switch (id) {
    case NegotiateContextType.PREAUTH_INTEGRITY_CAPABILITIES: {
      const algorithmCount = reader.u16();
      const saltLength = reader.u16();
      return {
        type: 'preauthIntegrity',
        hashAlgorithms: list16(reader, algorithmCount),
        salt: reader.view(saltLength),
      };
    }
    case NegotiateContextType.ENCRYPTION_CAPABILITIES:
      return { type: 'encryption', ciphers: list16(reader, reader.u16()) };
    case NegotiateContextType.COMPRESSION_CAPABILITIES: {
      const algorithmCount = reader.u16();
      reader.skip(2);
      const flags = reader.u32();
      return { type: 'compression', algorithms: list16(reader, algorithmCount), flags };
    }
    case NegotiateContextType.NETNAME_NEGOTIATE_CONTEXT_ID:
      return { type: 'netname', name: reader.text(data.length) };
    case NegotiateContextType.TRANSPORT_CAPABILITIES:
      return { type: 'transport', flags: reader.u32() };
    case NegotiateContextType.RDMA_TRANSFORM_CAPABILITIES: {
      const transformCount = reader.u16();
      reader.skip(6);
      return { type: 'rdmaTransform', transforms: list16(reader, transformCount) };
    }
    case NegotiateContextType.SIGNING_CAPABILITIES:
      return { type: 'signing', algorithms: list16(reader, reader.u16()) };
    default:
      return { type: 'unknown', id, data };
  }
}

function list16(reader: WireReader, count: number): number[] {
  const bytes = reader.view(count * 2);
  return Array.from({ length: count }, (_, i) => bytes.readUInt16LE(i * 2));
}

/** Appends the contexts to `writer`, which must stand on a multiple of 8 counted from the header. */
export function encodeNegotiateContexts(writer: WireWriter, contexts: readonly NegotiateContext[]): void {
  contexts.forEach((context, i) => {
    if (i > 0) writer.align(8);
    const { id, data } = encodeContext(context);
    writer.u16(id).u16(data.length).u32(0).raw(data);
  });
}

function encodeContext(context: NegotiateContext): { id: number; data: Buffer } {
  const writer = new WireWriter(64);
  switch (context.type) {
    case 'preauthIntegrity':
      writer.u16(context.hashAlgorithms.length).u16(context.salt.length);
      for (const algorithm of context.hashAlgorithms) writer.u16(algorithm);
      return { id: NegotiateContextType.PREAUTH_INTEGRITY_CAPABILITIES, data: writer.raw(context.salt).finish() };
    case 'encryption':
      writer.u16(context.ciphers.length);
      for (const cipher of context.ciphers) writer.u16(cipher);
      return { id: NegotiateContextType.ENCRYPTION_CAPABILITIES, data: writer.finish() };
    case 'compression':
      writer.u16(context.algorithms.length).u16(0).u32(context.flags);
      for (const algorithm of context.algorithms) writer.u16(algorithm);
      return { id: NegotiateContextType.COMPRESSION_CAPABILITIES, data: writer.finish() };
    case 'netname':
      return { id: NegotiateContextType.NETNAME_NEGOTIATE_CONTEXT_ID, data: writer.text(context.name).finish() };
    case 'transport':
      return { id: NegotiateContextType.TRANSPORT_CAPABILITIES, data: writer.u32(context.flags).finish() };
    case 'rdmaTransform':
      writer.u16(context.transforms.length).u16(0).u32(0);
      for (const transform of context.transforms) writer.u16(transform);
      return { id: NegotiateContextType.RDMA_TRANSFORM_CAPABILITIES, data: writer.finish() };
    case 'signing':
      writer.u16(context.algorithms.length);
      for (const algorithm of context.algorithms) writer.u16(algorithm);
      return { id: NegotiateContextType.SIGNING_CAPABILITIES, data: writer.finish() };
    case 'unknown':
      return { id: context.id, data: context.data };
  }
}
