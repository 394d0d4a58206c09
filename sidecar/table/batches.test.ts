import { describe, expect, test } from '@jest/globals';
import { Batches } from './batches.ts';
import { Packer } from './packed.ts';

const KEYS = ['hf:{c:1}:store', 'hf:{c:1}:fence', 'hf:{c:1}:file:ab'];

/** How many calls decisions of these weights come to, asked for in one turn. */
async function calls(weights: readonly (number | undefined)[]): Promise<number> {
  let made = 0;
  const batches = new Batches(async () => {
    made++;
    return new Packer().list(0).take();
  });
  const call = { script: 'close', keys: KEYS, args: [], hint: undefined };
  await Promise.all(
    weights.map((weight) => new Promise<void>((done) => batches.add({ ...call, done: () => done() }, weight))),
  );
  return made;
}

describe('decisions of one turn', () => {
  test('share a call, up to a bound', async () => {
    expect(await calls(Array.from({ length: 5 }, () => undefined))).toBe(1);
    expect(await calls(Array.from({ length: 70 }, () => undefined))).toBe(3);
  });

  test('count for several where they take long', async () => {
    expect(await calls(Array.from({ length: 8 }, () => 16))).toBe(4);
    expect(await calls([20, 20, 20])).toBe(3);
    expect(await calls([1, 100, 1])).toBe(3);
  });
});
