import { WireError } from './errors.ts';

/** Size of a GUID on the wire, in bytes (MS-DTYP 2.3.4.2). */
export const GUID_SIZE = 16;

const GUID_TEXT = /^\{?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\}?$/i;

/** The text of a 16-byte GUID, in lower case and without braces. The first three fields are little-endian on the wire. */
export function guidToString(guid: Buffer): string {
  if (guid.length !== GUID_SIZE) throw new WireError(`a GUID has ${GUID_SIZE} bytes, this has ${guid.length}`);
  const first = guid.readUInt32LE(0).toString(16).padStart(8, '0');
  const second = guid.readUInt16LE(4).toString(16).padStart(4, '0');
  const third = guid.readUInt16LE(6).toString(16).padStart(4, '0');
  return `${first}-${second}-${third}-${guid.toString('hex', 8, 10)}-${guid.toString('hex', 10, 16)}`;
}

/** The 16 bytes of a GUID given as text, with or without braces. Throws WireError if the text is not a GUID. */
export function guidFromString(text: string): Buffer {
  const [, first, second, third, fourth, node] = GUID_TEXT.exec(text) ?? [];
  if (!first || !second || !third || !fourth || !node) throw new WireError(`not a GUID: ${JSON.stringify(text)}`);
  const guid = Buffer.alloc(GUID_SIZE);
  guid.writeUInt32LE(Number.parseInt(first, 16), 0);
  guid.writeUInt16LE(Number.parseInt(second, 16), 4);
  guid.writeUInt16LE(Number.parseInt(third, 16), 6);
  guid.write(fourth + node, 8, 'hex');
  return guid;
}
