import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Call, Packer, packCall, unpack } from './packed.ts';

const bytes = fc.uint8Array({ maxLength: 70_000, size: 'medium' }).map((array) => Buffer.from(array));
const argument = fc.oneof(fc.string({ unit: 'binary', maxLength: 400 }), fc.nat(), bytes);

/** The name of the error: Node's own errors are of another realm than the test's. */
function refusal(packed: Buffer): string | undefined {
  try {
    unpack(packed);
    return undefined;
  } catch (error) {
    return (error as Error).name;
  }
}

const KEYS = ['hf:{c:1}:store', 'hf:{c:1}:fence', 'hf:{c:1}:file:ab'];

function packed(call: Call): Buffer {
  const packer = new Packer();
  packCall(packer, call);
  return packer.take();
}

/** Values that stand one after the other, read as a list of them. */
function values(packed: Buffer, count: number): unknown[] {
  return unpack(Buffer.concat([Buffer.from([0x90 | count]), packed]));
}

describe('a packed call', () => {
  test('is read back as bytes, with the keys in two parts', () => {
    const args = ['a', 7, Buffer.from([0xff])];
    const text = (value: unknown): unknown =>
      Array.isArray(value) ? value.map(text) : (value as Buffer).toString('latin1');
    const called = text(values(packed({ script: 'open', keys: KEYS, args, hint: undefined, forget: 'gone' }), 7));
    expect(called).toEqual(['open', 'hf:{c:1}:', 'file:ab', '', '', 'gone', ['a', '7', '\xff']]);
  });

  test('holds any text, number and bytes', () => {
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 40 }), bytes, (args, value) => {
        const hint = { key: 'hf:{c:2}:create:x', value };
        const called = values(packed({ script: 'close', keys: KEYS, args, hint }), 7);
        const wanted = args.map((item) => (Buffer.isBuffer(item) ? item : Buffer.from(String(item))));
        expect(called[6]).toEqual(wanted);
        expect(called[4]).toEqual(value);
      }),
    );
  });
});

describe('packed numbers', () => {
  test.each([0, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, Number.MAX_SAFE_INTEGER])(
    '%d',
    (n) => {
      expect(values(new Packer().number(n).take(), 1)).toEqual([n]);
    },
  );
});

describe('a packed answer', () => {
  test.each([
    ['small numbers', '93007fe0', [0, 127, -32]],
    ['unsigned numbers', '94ccffcdfffeceffffffffcf0000000100000000', [255, 65534, 4294967295, 4294967296]],
    ['signed numbers', '94d080d18000d280000000d3ffffffff00000000', [-128, -32768, -2147483648, -4294967296]],
    ['floating point', '92ca3fc00000cb3ff8000000000000', [1.5, 1.5]],
    ['false and true', '93c0c2c3', [null, null, 1]],
    ['nested lists', '92dc0001019190', [[1], [[]]]],
    ['bytes of any form', '94a161d90162da000163db0000000164', [...'abcd'].map((letter) => Buffer.from(letter))],
  ])('%s', (_, hex, wanted) => {
    expect(unpack(Buffer.from(hex, 'hex'))).toEqual(wanted);
  });

  test.each([
    ['no list', '01'],
    ['nothing', ''],
    ['a list that promises more than there is', 'dd7fffffff'],
    ['bytes that end early', '91da0010aa'],
    ['a number that ends early', '91ce00'],
    ['a map', '9180'],
    ['lists without end', '91'.repeat(100_000)],
  ])('with %s is refused', (_, hex) => {
    expect(refusal(Buffer.from(hex, 'hex'))).toBe('RangeError');
  });

  test('that is garbage is refused or read, and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
        expect([undefined, 'RangeError']).toContain(refusal(Buffer.from(garbage)));
      }),
    );
  });
});
