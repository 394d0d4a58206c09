import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FrameReceiver } from './frame-receiver.ts';

function frame(message: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(message.length);
  return Buffer.concat([header, message]);
}

/** Feeds a stream in pieces, as a socket would: never more than there is space for. */
function feed(reader: FrameReceiver, stream: Buffer, pieces: () => number): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < stream.length; ) {
    const space = reader.space();
    expect(space.length).toBeGreaterThan(0);
    const size = Math.min(space.length, stream.length - at, Math.max(1, pieces()));
    stream.copy(space, 0, at, at + size);
    reader.received(size, (message) => messages.push(message));
    at += size;
  }
  return messages;
}

describe('FrameReceiver', () => {
  test('gives the same messages however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 3000, minLength: 1 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 50 }),
        fc.integer({ min: 16, max: 4096 }),
        (contents, cuts, chunkBytes) => {
          const reader = new FrameReceiver(chunkBytes, 4096);
          const stream = Buffer.concat(contents.map((content) => frame(Buffer.from(content))));
          let i = 0;
          const messages = feed(reader, stream, () => cuts[i++ % cuts.length] ?? 1);
          expect(messages.map((message) => message.toString('hex'))).toEqual(
            contents.map((content) => Buffer.from(content).toString('hex')),
          );
        },
      ),
    );
  });

  test('refuses what is longer than allowed before taking memory for it', () => {
    const reader = new FrameReceiver(1024, 1000);
    reader.space().writeUInt32BE(1001);
    expect(() => reader.received(4, () => undefined)).toThrow(/not SMB or too long/);
  });

  test('refuses another protocol', () => {
    const reader = new FrameReceiver(1024, 0xff_ffff);
    reader.space().write('HTTP/1.1 400 Bad Request');
    expect(() => reader.received(24, () => undefined)).toThrow(/not SMB/);
  });
});
