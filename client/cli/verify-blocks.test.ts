import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readBlock, writeBlock } from './block.ts';
import { decodeTimeLine, type HandleReport, TimeLine, type WriterReport } from './report.ts';
import { verifyBlocks } from './verify-blocks.ts';

const BLOCK = 512;

function block(sequence: number, slot: number, writer = 'writer-a', handle = 0): Buffer {
  const bytes = Buffer.alloc(BLOCK);
  writeBlock(bytes, { writer, handle, sequence, slot });
  return bytes;
}

function report(handle: Partial<HandleReport>): WriterReport {
  const full: HandleReport = {
    index: 0,
    path: 'a.blocks',
    durability: 'persistent',
    ackedBlocks: 3,
    lastAcked: [3, 2],
    unsettled: [],
    ackTimes: '',
    acknowledged: [],
    pauses: [],
    maxPauseMs: 0,
    errors: [],
    ...handle,
  };
  return {
    version: 1,
    writer: 'writer-a',
    share: 'share',
    blockBytes: BLOCK,
    slots: full.lastAcked.length,
    bucketMs: 100,
    pauseThresholdMs: 50,
    startedAt: '',
    startedMonotonicNs: '0',
    elapsedMs: 0,
    ackedBlocks: 3,
    maxPauseMs: 0,
    callerErrors: 0,
    failovers: [],
    handles: [full],
  };
}

const verify = (handle: Partial<HandleReport>, content: Buffer) => verifyBlocks(report(handle), async () => content);

describe('verifyBlocks', () => {
  test('finds everything that was acknowledged', async () => {
    const verdict = await verify({}, Buffer.concat([block(3, 0), block(2, 1)]));
    expect(verdict).toMatchObject({ ackedSlots: 2, verified: 2, lost: 0, torn: 0 });
  });

  test('takes a later block for right if it was in flight at the end, and only then', async () => {
    const content = Buffer.concat([block(4, 0), block(2, 1)]);
    expect(await verify({ unsettled: [{ sequence: 4, slot: 0 }] }, content)).toMatchObject({ verified: 2, lost: 0 });
    expect(await verify({}, content)).toMatchObject({ verified: 1, lost: 1 });
  });

  test.each([
    ['an earlier block, as a late writer would leave', block(1, 0)],
    ['the block of another slot', block(3, 1)],
    ['the block of another handle', block(3, 0, 'writer-a', 7)],
    ['the block of another writer', block(3, 0, 'writer-b')],
    ['nothing', Buffer.alloc(BLOCK)],
  ])('counts a slot as lost that holds %s', async (_, first) => {
    const verdict = await verify({}, Buffer.concat([first, block(2, 1)]));
    expect(verdict).toMatchObject({ verified: 1, lost: 1, torn: 0 });
    expect(verdict.problems[0]).toContain('slot 0');
  });

  test('counts a slot as torn that holds halves of two blocks', async () => {
    const torn = Buffer.concat([block(3, 0).subarray(0, BLOCK / 2), block(2, 0).subarray(BLOCK / 2)]);
    expect(await verify({}, Buffer.concat([torn, block(2, 1)]))).toMatchObject({ verified: 1, lost: 0, torn: 1 });
  });

  test('counts all of a missing file as lost', async () => {
    const verdict = await verifyBlocks(report({}), () => Promise.reject(new Error('no such file')));
    expect(verdict).toMatchObject({ ackedSlots: 2, verified: 0, lost: 2 });
  });

  test('asks nothing of slots that were never acknowledged', async () => {
    expect(await verify({ lastAcked: [3, 0] }, block(3, 0))).toMatchObject({
      ackedSlots: 1,
      verified: 1,
      lost: 0,
      torn: 0,
    });
  });
});

describe('blocks', () => {
  test('say again what they were written with', () => {
    const tag = fc.record({
      writer: fc.stringMatching(/^[a-z0-9-]{0,31}$/),
      handle: fc.nat(),
      sequence: fc.nat(),
      slot: fc.nat(),
    });
    fc.assert(
      fc.property(tag, fc.integer({ min: 128, max: 5000 }), (tag, size) => {
        const bytes = Buffer.alloc(size);
        writeBlock(bytes, tag);
        expect(readBlock(bytes)).toEqual(tag);
      }),
    );
  });

  test('show any change of a byte', () => {
    const whole = block(3, 0);
    fc.assert(
      fc.property(fc.nat(BLOCK - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ change;
        expect(readBlock(changed)).toBe('torn');
      }),
    );
  });
});

test('a time line gives back the times that it was given', () => {
  const steps = fc.array(fc.integer({ min: 0, max: 100_000_000 }), { maxLength: 5000 });
  fc.assert(
    fc.property(steps, (steps) => {
      let ticks = 0;
      const times = steps.map((step) => {
        ticks += step;
        return ticks / 10;
      });
      const line = new TimeLine();
      for (const time of times) line.add(time);
      expect(decodeTimeLine(line.toString())).toEqual(times);
    }),
    { numRuns: 30 },
  );
});
