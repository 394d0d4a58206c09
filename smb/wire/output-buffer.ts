// The body that the responses of QUERY_DIRECTORY, CHANGE_NOTIFY and QUERY_INFO share (MS-SMB2 2.2.34, 2.2.36, 2.2.38).
import { openBody, variablePartAt } from './body.ts';
import { EMPTY, WireWriter } from './cursor.ts';

export interface OutputBuffer {
  output: Buffer;
}

const RESPONSE_SIZE = 9;

/** Where the output of these responses lies, counted from the SMB2 header: a server may fill it in place. */
export const OUTPUT_BUFFER_OFFSET = variablePartAt(RESPONSE_SIZE);

export function decodeOutputBuffer(message: Buffer, what: string): OutputBuffer {
  const reader = openBody(message, RESPONSE_SIZE, what);
  const offset = reader.u16();
  const length = reader.u32();
  return { output: reader.range(offset, length, OUTPUT_BUFFER_OFFSET) };
}

/** Writes the 8 fixed bytes at `at`, 64 bytes behind the header; the output follows at once. Allocates nothing. */
export function writeOutputBufferFixed(into: Buffer, at: number, outputLength: number): void {
  into.writeUInt16LE(RESPONSE_SIZE, at);
  into.writeUInt16LE(outputLength === 0 ? 0 : OUTPUT_BUFFER_OFFSET, at + 2);
  into.writeUInt32LE(outputLength, at + 4);
}

export function encodeOutputBuffer(response: OutputBuffer = { output: EMPTY }): Buffer {
  const writer = new WireWriter(8 + response.output.length);
  writer
    .u16(RESPONSE_SIZE)
    .u16(response.output.length === 0 ? 0 : OUTPUT_BUFFER_OFFSET)
    .u32(response.output.length);
  return writer.raw(response.output).finish();
}
