import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from './errors.ts';
import { FRAME_PREFIX_SIZE, FrameReader, framePrefix, MAX_FRAME_SIZE } from './framing.ts';

const framed = (message: Buffer): Buffer => Buffer.concat([framePrefix(message.length), message]);

function drain(reader: FrameReader): Buffer[] {
  const messages: Buffer[] = [];
  for (let message = reader.next(); message; message = reader.next()) messages.push(message);
  return messages;
}

describe('FrameReader', () => {
  test('gives the messages however the stream is cut', () => {
    const message = fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes));
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), cuts, fc.boolean(), (messages, sizes, drainEach) => {
        const stream = Buffer.concat(messages.map(framed));
        const reader = new FrameReader(100);
        const received: Buffer[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = sizes[i % sizes.length] ?? 1;
          reader.push(stream.subarray(at, at + size));
          at += size;
          if (drainEach) received.push(...drain(reader));
        }
        received.push(...drain(reader));
        expect(received).toEqual(messages);
        expect(reader.buffered).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test('gives the same from memory that is overwritten, and where the rest of a message is received in its place', () => {
    const message = fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes));
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), cuts, fc.boolean(), (messages, sizes, drainEach) => {
        const stream = Buffer.concat(messages.map(framed));
        const reader = new FrameReader(100);
        const shared = Buffer.alloc(40);
        const received: Buffer[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const into = reader.vacancy ?? shared;
          const count = stream.copy(into, 0, at, Math.min(stream.length, at + (sizes[i % sizes.length] ?? 1)));
          at += count;
          if (into === shared) reader.pushBorrowed(shared.subarray(0, count));
          else reader.filled(count);
          if (drainEach) received.push(...drain(reader));
          reader.keep();
          shared.fill(0xee);
        }
        received.push(...drain(reader));
        expect(received).toEqual(messages);
        expect(reader.buffered).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test('there is no place for more in a message that is whole and was not taken yet', () => {
    const reader = new FrameReader(100);
    reader.push(framed(Buffer.from('hello')).subarray(0, 6));
    expect(reader.next()).toBeUndefined();
    reader.vacancy?.write('llo');
    reader.filled(3);
    expect(reader.vacancy).toBeUndefined();
    reader.pushBorrowed(framed(Buffer.from('next')));
    expect(drain(reader).map(String)).toEqual(['hello', 'next']);
  });

  test('a message within a chunk is a view on it', () => {
    const chunk = framed(Buffer.from('hello'));
    const reader = new FrameReader(100);
    reader.push(chunk);
    expect(reader.next()?.buffer).toBe(chunk.buffer);
  });

  test('refuses what is over the limit before it is there, and takes it once the limit is raised', () => {
    const reader = new FrameReader(10);
    reader.push(framePrefix(11));
    expect(() => reader.next()).toThrow(WireError);

    const raised = new FrameReader(10);
    raised.push(framed(Buffer.alloc(10)));
    expect(raised.next()).toHaveLength(10);
    raised.maxFrameSize = 11;
    raised.push(framed(Buffer.alloc(11)));
    expect(raised.next()).toHaveLength(11);
  });

  test('refuses a prefix that does not begin with zero, and an empty message', () => {
    for (const prefix of [Buffer.from('GET '), Buffer.from([0x85, 0, 0, 0]), Buffer.alloc(FRAME_PREFIX_SIZE)]) {
      const reader = new FrameReader(MAX_FRAME_SIZE);
      reader.push(prefix);
      expect(() => reader.next()).toThrow(WireError);
    }
  });

  test('a large message in small chunks is copied once, not once a chunk', () => {
    const size = 8 * 1024 * 1024;
    const reader = new FrameReader(size);
    reader.push(framePrefix(size));
    const chunk = Buffer.alloc(512, 1);
    const start = performance.now();
    for (let at = 0; at < size; at += chunk.length) {
      reader.push(chunk);
      if (at + chunk.length < size) expect(reader.next()).toBeUndefined();
    }
    expect(reader.next()).toHaveLength(size);
    // Copying all that is there for every chunk would move 64 GiB; once is 8 MiB. The bound only tells those two apart.
    expect(performance.now() - start).toBeLessThan(5000);
  });

  test('many messages in many chunks wait without being looked through', () => {
    const reader = new FrameReader(100);
    const one = framed(Buffer.alloc(4, 1));
    const count = 20_000;
    for (let i = 0; i < count; i++) reader.push(one);
    const start = performance.now();
    expect(drain(reader)).toHaveLength(count);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

test('a frame longer than 24 bits is refused', () => {
  expect(() => framePrefix(MAX_FRAME_SIZE + 1)).toThrow(WireError);
});

describe('FrameReader short of memory', () => {
  test('gives nothing until there is room, and then the whole message', () => {
    let hasRoom = false;
    const asked: number[] = [];
    const reader = new FrameReader(1000, (length) => {
      asked.push(length);
      return hasRoom;
    });
    const message = Buffer.alloc(100, 7);
    const bytes = Buffer.concat([framePrefix(100), message, framePrefix(3), Buffer.from('abc')]);
    reader.push(bytes.subarray(0, 50));
    expect(reader.next()).toBeUndefined();
    expect(reader.next()).toBeUndefined();
    hasRoom = true;
    expect(reader.next()).toBeUndefined();
    reader.push(bytes.subarray(50));
    expect(reader.next()?.equals(message)).toBe(true);
    // What has arrived as a whole needs no memory.
    expect(reader.next()?.toString()).toBe('abc');
    expect(asked).toEqual([100, 100, 100]);
  });

  test('keeps a prefix that came in pieces', () => {
    let hasRoom = false;
    const reader = new FrameReader(1000, () => hasRoom);
    const bytes = Buffer.concat([framePrefix(5), Buffer.from('abcde')]);
    for (const byte of bytes.subarray(0, 6)) reader.push(Buffer.from([byte]));
    expect(reader.next()).toBeUndefined();
    hasRoom = true;
    expect(reader.next()).toBeUndefined();
    reader.push(bytes.subarray(6));
    expect(reader.next()?.toString()).toBe('abcde');
  });
});
