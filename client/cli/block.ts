import { crc32 } from 'node:zlib';

// The tagged blocks that `holdfast write-through` writes and `holdfast verify-blocks` knows again. A block says who wrote it,
// through which handle, as which write of that handle and into which slot; a checksum over all of it shows torn ones.

/** 'HFBLOCK1' */
const MAGIC = Buffer.from('HFBLOCK1', 'latin1');
const AT = { crc: 8, handle: 12, sequence: 16, slot: 24, size: 28, writer: 32, writerLength: 63, filling: 64 } as const;
export const LEAST_BLOCK_BYTES = 128;
export const MAX_WRITER_BYTES = 31;

export interface BlockTag {
  /** At most MAX_WRITER_BYTES bytes of UTF-8. */
  writer: string;
  handle: number;
  /** Counts the writes of the handle, from 1. */
  sequence: number;
  slot: number;
}

/** Writes a block over all of `into`. Its filling depends on the tag, so that no two blocks share a half. */
export function writeBlock(into: Buffer, tag: BlockTag): void {
  const writerBytes = Buffer.from(tag.writer, 'utf8');
  if (into.length < LEAST_BLOCK_BYTES) throw new RangeError(`a block has at least ${LEAST_BLOCK_BYTES} bytes`);
  if (writerBytes.length > MAX_WRITER_BYTES)
    throw new RangeError(`a writer's name has at most ${MAX_WRITER_BYTES} bytes`);
  into.fill(0, 0, AT.filling);
  MAGIC.copy(into, 0);
  into.writeUInt32LE(tag.handle, AT.handle);
  into.writeBigUInt64LE(BigInt(tag.sequence), AT.sequence);
  into.writeUInt32LE(tag.slot, AT.slot);
  into.writeUInt32LE(into.length, AT.size);
  writerBytes.copy(into, AT.writer);
  into.writeUInt8(writerBytes.length, AT.writerLength);
  const filling = Buffer.alloc(16);
  filling.writeUInt32LE(tag.handle, 0);
  filling.writeBigUInt64LE(BigInt(tag.sequence), 4);
  filling.writeUInt32LE(tag.slot, 12);
  into.fill(filling, AT.filling);
  into.writeUInt32LE(checksum(into), AT.crc);
}

/** What a block says, 'empty' when nothing was ever written there, or 'torn' when it is no whole block. */
export function readBlock(block: Buffer): BlockTag | 'empty' | 'torn' {
  if (block.length < LEAST_BLOCK_BYTES || !block.subarray(0, MAGIC.length).equals(MAGIC)) {
    return block.every((byte) => byte === 0) ? 'empty' : 'torn';
  }
  const writerLength = block.readUInt8(AT.writerLength);
  if (block.readUInt32LE(AT.crc) !== checksum(block) || writerLength > MAX_WRITER_BYTES) return 'torn';
  return {
    writer: block.toString('utf8', AT.writer, AT.writer + writerLength),
    handle: block.readUInt32LE(AT.handle),
    sequence: Number(block.readBigUInt64LE(AT.sequence)),
    slot: block.readUInt32LE(AT.slot),
  };
}

/** Over the whole block but the checksum's own field. */
function checksum(block: Buffer): number {
  return crc32(block.subarray(AT.handle), crc32(block.subarray(0, AT.crc)));
}
