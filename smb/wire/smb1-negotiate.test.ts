import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WireError } from './errors.ts';
import { decodeSmb1Negotiate, encodeSmb1Negotiate, isSmb1Negotiate, Smb1Dialect } from './smb1-negotiate.ts';

/** What a Linux client that may speak SMB1 sends first. */
const received = Buffer.from(
  'ff534d4272000000001843c80000000000000000000000000000feff00000000' +
    '002200024e54204c4d20302e31320002534d4220322e3030320002534d4220322e3f3f3f00',
  'hex',
);

test('the dialects of a client that may speak SMB1', () => {
  expect(isSmb1Negotiate(received)).toBe(true);
  expect(decodeSmb1Negotiate(received).dialects).toEqual([
    'NT LM 0.12',
    Smb1Dialect.SMB_2_0_2,
    Smb1Dialect.SMB_2_WILDCARD,
  ]);
});

test('what is encoded is decoded', () => {
  const dialect = fc.string({ maxLength: 20 }).map((text) => text.replaceAll('\0', ''));
  fc.assert(
    fc.property(fc.array(dialect, { maxLength: 6 }), (dialects) => {
      expect(decodeSmb1Negotiate(encodeSmb1Negotiate({ dialects }))).toEqual({ dialects });
    }),
  );
});

test('damaged messages are decoded or refused with WireError', () => {
  const change = fc.record({ at: fc.nat({ max: received.length - 1 }), to: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 4 }), fc.nat({ max: received.length }), (changes, keep) => {
      const message = Buffer.from(received.subarray(0, keep));
      for (const { at, to } of changes) if (at < message.length) message[at] = to;
      try {
        decodeSmb1Negotiate(message);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(WireError);
      }
    }),
    { numRuns: 500 },
  );
});
