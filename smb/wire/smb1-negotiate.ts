// The SMB1 negotiate (MS-CIFS 2.2.4.52.1), the one SMB1 message that a server takes: clients that may speak SMB1 begin
// with it, and are answered in SMB2 (MS-SMB2 3.3.5.3).
import { WireReader, WireWriter } from './cursor.ts';
import { messageKind } from './header.ts';

export const Smb1Dialect = {
  /** Offers 2.0.2. */
  SMB_2_0_2: 'SMB 2.002',
  /** Offers whatever the server has from 2.1 up; a second, SMB2 negotiate follows. */
  SMB_2_WILDCARD: 'SMB 2.???',
} as const;

export interface Smb1NegotiateRequest {
  /** As sent, such as "NT LM 0.12" and the two of Smb1Dialect. */
  dialects: string[];
}

const HEADER_SIZE = 32;
const COMMAND_NEGOTIATE = 0x72;
const BUFFER_FORMAT_DIALECT = 0x02;

/** Whether this is an SMB1 negotiate. All other SMB1 messages end the connection. */
export function isSmb1Negotiate(message: Buffer): boolean {
  return messageKind(message) === 'smb1' && message.length > HEADER_SIZE && message[4] === COMMAND_NEGOTIATE;
}

export function decodeSmb1Negotiate(message: Buffer): Smb1NegotiateRequest {
  if (!isSmb1Negotiate(message)) throw new WireReader(message, 'SMB1 negotiate').error('is another message');
  const reader = new WireReader(message, 'SMB1 negotiate', HEADER_SIZE);
  const wordCount = reader.u8();
  if (wordCount !== 0) throw reader.error(`WordCount is ${wordCount}`);
  const bytes = reader.view(reader.u16());
  const dialects: string[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] !== BUFFER_FORMAT_DIALECT) throw reader.error(`buffer format ${bytes[at]} at ${at}`);
    const end = bytes.indexOf(0, at + 1);
    if (end < 0) throw reader.error('a dialect has no end');
    dialects.push(bytes.toString('latin1', at + 1, end));
    at = end + 1;
  }
  return { dialects };
}

/** The whole message, header included. */
export function encodeSmb1Negotiate(request: Smb1NegotiateRequest): Buffer {
  const dialects = Buffer.concat(request.dialects.map((dialect) => Buffer.from(`\x02${dialect}\0`, 'latin1')));
  const writer = new WireWriter(HEADER_SIZE + 3 + dialects.length);
  // Flags: case-insensitive, canonical paths. Flags2: Unicode, NT status, extended security, long names.
  writer
    .raw(Buffer.from([0xff, 0x53, 0x4d, 0x42, COMMAND_NEGOTIATE]))
    .u32(0)
    .u8(0x18)
    .u16(0xc801)
    .zeros(12);
  writer.u16(0).u16(0xfeff).u16(0).u16(0);
  return writer.u8(0).u16(dialects.length).raw(dialects).finish();
}
