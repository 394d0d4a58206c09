import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Command, Flags } from '../constants.ts';
import { WireError } from './errors.ts';
import {
  creditChargeOf,
  decodeHeader,
  decodeTransformHeader,
  encodeHeader,
  encodeMessage,
  encodeTransformHeader,
  HEADER_SIZE,
  joinCompound,
  messageKind,
  splitCompound,
  TRANSFORM_HEADER_SIZE,
  UNSOLICITED_MESSAGE_ID,
} from './header.ts';

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });

describe('the SMB2 header', () => {
  test('what is encoded is decoded', () => {
    const arbitrary = fc.record({
      command: u16,
      creditCharge: u16,
      status: u32,
      channelSequence: u16,
      credits: u16,
      flags: u32,
      nextCommand: u32,
      messageId: fc.oneof(fc.maxSafeNat(), fc.constant(UNSOLICITED_MESSAGE_ID)),
      asyncId: u64,
      processId: u32,
      treeId: u32,
      sessionId: u64,
      signature: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(arbitrary, fc.nat({ max: 20 }), (header, at) => {
        const into = Buffer.alloc(at + HEADER_SIZE, 0xee);
        encodeHeader(header, into, at);
        const isAsync = (header.flags & Flags.ASYNC_COMMAND) !== 0;
        const status = (header.flags & Flags.SERVER_TO_REDIR) !== 0 ? header.status : header.channelSequence;
        expect(decodeHeader(into, at)).toEqual({
          ...header,
          status,
          channelSequence: status & 0xffff,
          asyncId: isAsync ? header.asyncId : undefined,
          processId: isAsync ? 0 : header.processId,
          treeId: isAsync ? 0 : header.treeId,
        });
      }),
    );
  });

  test('decodes a WRITE that Windows 8 sent', () => {
    const message = Buffer.from(
      'FE534D4240000100000000000900400008000000000000000400000000000000FFFE0000010000001100001400E40800' +
        '00000000000000000000000000000000',
      'hex',
    );
    expect(decodeHeader(message)).toMatchObject({
      command: Command.WRITE,
      creditCharge: 1,
      credits: 64,
      flags: Flags.SIGNED,
      messageId: 4,
      processId: 0xfeff,
      treeId: 1,
      sessionId: 0x8e40014000011n,
    });
  });

  test('anything that is none is refused with WireError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.integer({ min: -5, max: 100 }), (bytes, at) => {
        expect(() => decodeHeader(Buffer.from(bytes), at)).toThrow(WireError);
      }),
    );
  });
});

describe('compounds', () => {
  const one = (size: number, messageId: number) =>
    encodeMessage({ command: Command.ECHO, messageId }, Buffer.alloc(size, messageId));

  test('what is joined is split, padded to 8 bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 50 }), { minLength: 1, maxLength: 8 }), (sizes) => {
        const messages = sizes.map(one);
        const { message, parts } = joinCompound(messages);
        expect(splitCompound(message)).toEqual(parts);
        parts.forEach((part, i) => {
          expect(decodeHeader(part).messageId).toBe(i);
          expect(part.subarray(HEADER_SIZE, HEADER_SIZE + (sizes[i] ?? 0))).toEqual(messages[i]?.subarray(HEADER_SIZE));
          if (i < parts.length - 1) expect(part.length % 8).toBe(0);
        });
      }),
    );
  });

  test('a NextCommand that is unaligned, too short or leads out is refused', () => {
    for (const next of [1, 8, 56, 63, 65, 68, 136, 144, 200, 0xffff_fff8]) {
      const { message } = joinCompound([one(8, 1), one(0, 2)]);
      message.writeUInt32LE(next, 20);
      expect(() => splitCompound(message)).toThrow(WireError);
    }
  });

  test('a second message that is not aligned to 8 bytes is refused', () => {
    const message = Buffer.concat([one(4, 1), one(4, 2)]);
    message.writeUInt32LE(HEADER_SIZE + 4, 20);
    expect(() => splitCompound(message)).toThrow(WireError);
  });

  test('more messages than allowed are refused', () => {
    const { message } = joinCompound([one(4, 1), one(4, 2), one(4, 3)]);
    expect(splitCompound(message, 3)).toHaveLength(3);
    expect(() => splitCompound(message, 2)).toThrow(WireError);
  });

  test('random bytes are split or refused with WireError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), u32, (bytes, next) => {
        const { message } = joinCompound([one(8, 1), Buffer.concat([one(0, 2), Buffer.from(bytes)])]);
        message.writeUInt32LE(next % 400, 20);
        try {
          splitCompound(message);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(WireError);
        }
      }),
    );
  });
});

test('the kind of a message is told by its first four bytes', () => {
  expect(messageKind(Buffer.from([0xfe, 0x53, 0x4d, 0x42]))).toBe('smb2');
  expect(messageKind(Buffer.from([0xfd, 0x53, 0x4d, 0x42]))).toBe('transform');
  expect(messageKind(Buffer.from([0xfc, 0x53, 0x4d, 0x42]))).toBe('compressed');
  expect(messageKind(Buffer.from([0xff, 0x53, 0x4d, 0x42]))).toBe('smb1');
  expect(messageKind(Buffer.from('GET '))).toBe('unknown');
  expect(messageKind(Buffer.alloc(3))).toBe('unknown');
});

test('a transform header must say the size of what follows', () => {
  const message = Buffer.alloc(TRANSFORM_HEADER_SIZE + 10);
  encodeTransformHeader({ nonce: Buffer.alloc(12, 7), originalMessageSize: 10, sessionId: 5n }, message, 0);
  expect(decodeTransformHeader(message)).toMatchObject({ originalMessageSize: 10, sessionId: 5n, flags: 1 });
  expect(() => decodeTransformHeader(message.subarray(0, -1))).toThrow(WireError);
  expect(() => decodeTransformHeader(message.subarray(0, 30))).toThrow(WireError);
});

test('a credit pays for 64 KiB', () => {
  expect([0, 1, 65536, 65537, 131072, 1048576].map(creditChargeOf)).toEqual([1, 1, 1, 2, 2, 16]);
});
