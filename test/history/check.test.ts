import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { check } from './check.ts';
import { EMPTY, type HistoryEvent, TORN } from './history.ts';

const PLACE = 'file:0';

function write(value: string, calledMs: number, returnedMs?: number, client = 'w'): HistoryEvent {
  return { kind: 'write', client, place: PLACE, value, calledMs, returnedMs };
}
function read(value: string, calledMs: number, returnedMs: number, client = 'r'): HistoryEvent {
  return { kind: 'read', client, place: PLACE, value, calledMs, returnedMs };
}
function hold(client: string, fromMs: number, untilMs?: number, exclusive = true): HistoryEvent {
  return { kind: 'hold', client, resource: 'file:lock', exclusive, fromMs, untilMs };
}
function stopped(fromMs: number, untilMs: number): HistoryEvent {
  return { kind: 'stopped', server: 's', fromMs, untilMs };
}
function leave(client: string, calledMs: number, returnedMs?: number, from = 'file:lock'): HistoryEvent {
  return { kind: 'move', client, from, to: 'elsewhere', calledMs, returnedMs };
}
const found = (...events: HistoryEvent[]) => check(events).map(({ what }) => what);

describe('right histories are accepted', () => {
  test('writes one after another, and reads between them', () => {
    expect(found(read(EMPTY, 0, 1), write('a', 2, 3), read('a', 4, 5), write('b', 6, 7), read('b', 8, 9))).toEqual([]);
  });

  test('a read during a write may see the value before or after', () => {
    expect(found(write('a', 0, 1), write('b', 2, 10), read('a', 3, 4), read('b', 5, 6), read('b', 11, 12))).toEqual([]);
  });

  test('a write that never returned may show late, or never', () => {
    expect(found(write('a', 0, 1), write('b', 2), read('a', 10, 11), read('b', 12, 13))).toEqual([]);
    expect(found(write('a', 0, 1), write('b', 2), read('a', 10, 11))).toEqual([]);
  });

  test('two writes at once may end in either order, as long as all see the same', () => {
    expect(found(write('a', 0, 10), write('b', 0, 10), read('a', 11, 12), read('a', 13, 14))).toEqual([]);
    expect(found(write('a', 0, 10), write('b', 0, 10), read('b', 11, 12), read('b', 13, 14))).toEqual([]);
  });

  test('part of a write that is going on may be read', () => {
    expect(found(write('a', 0, 10), read(TORN, 5, 6), read('a', 11, 12))).toEqual([]);
  });

  test('a write that was under way when a server was stopped may come once more when it goes on', () => {
    const writes = [write('a', 0, 5), write('b', 6, 7)];
    expect(found(stopped(1, 10), ...writes, read('b', 8, 9), read('a', 11, 12), read('a', 13, 14))).toEqual([]);
    expect(found(stopped(1, 10), ...writes, read('b', 8, 9), read('b', 11, 12))).toEqual([]);
    expect(found(stopped(1, 10), write('a', 0, 11), read('a', 12, 13), read('a', 14, 15))).toEqual([]);
    expect(found(stopped(1, 10), ...writes, read('a', 11, 12), write('c', 13, 14), read('c', 15, 16))).toEqual([]);
    // Under way when two were stopped, it was sent again to the one that went on first, and came once more from the other.
    const again = [write('a', 0, 12), read('a', 13, 14), write('b', 15, 16), read('b', 17, 18), read('a', 21, 22)];
    expect(found(stopped(2, 10), stopped(1, 20), ...again)).toEqual([]);
    expect(found(stopped(1, 20), stopped(2, 10), ...again)).toEqual([]);
  });

  test('a name that was being left when a server was stopped may be left once more when it goes on', () => {
    const again = [hold('x', 0, 2), leave('x', 2, 5), hold('x', 6, 20)];
    expect(found(stopped(3, 10), ...again, hold('y', 11, 12), hold('z', 13, 14))).toEqual([]);
    expect(found(stopped(3, 10), stopped(4, 15), ...again, hold('y', 11, 12))).toEqual([]);
  });

  test('locks one after another, and shared ones together', () => {
    expect(found(hold('x', 0, 5), hold('y', 5, 7), hold('x', 8))).toEqual([]);
    expect(found(hold('x', 0, 5, false), hold('y', 2, 7, false))).toEqual([]);
  });
});

describe('wrong histories are found', () => {
  test('an acknowledged write that is not there', () => {
    expect(found(write('a', 0, 1), read(EMPTY, 2, 3))).toEqual(['lost']);
    expect(found(write('a', 0, 1), write('b', 2, 3), read('a', 4, 5))).toEqual(['lost']);
  });

  test('a write that comes back though no server was stopped while it was under way', () => {
    const writes = [write('a', 0, 5), write('b', 6, 7)];
    expect(found(stopped(6, 10), ...writes, read('a', 11, 12))).toEqual(['lost']);
    expect(found(stopped(1, 10), ...writes, read('a', 8, 9))).toEqual(['lost']);
    expect(found(stopped(1, 10), ...writes, read('a', 11, 12), read('b', 13, 14))).toEqual(['unexplained']);
    expect(found(stopped(1, 10), ...writes, read('a', 11, 12), write('c', 13, 14), read('a', 15, 16))).not.toEqual([]);
    const twice = [write('a', 0, 12), read('a', 13, 14), write('b', 15, 16), read('b', 17, 18), read('a', 21, 22)];
    const more = [write('c', 23, 24), read('c', 25, 26), read('a', 27, 28)];
    expect(found(stopped(2, 10), stopped(1, 20), ...twice, ...more)).not.toEqual([]);
    expect(found(stopped(2, 10), ...twice)).not.toEqual([]);
  });

  test('an older value that comes back after a newer one was read', () => {
    expect(
      found(write('a', 0, 10), write('b', 0, 10), read('b', 11, 12), read('a', 13, 14), read('b', 15, 16)),
    ).toEqual(['unexplained']);
  });

  test('a stale writer: the old server writes over the new one', () => {
    const events = [write('a', 0, 1), write('stale', 2), write('b', 3, 4), read('b', 5, 6), read('a', 7, 8)];
    expect(found(...events)).toEqual(['lost']);
  });

  test('a write that never returned shows, goes, and shows again', () => {
    expect(found(write('a', 0, 1), write('b', 2), read('b', 3, 4), read('a', 5, 6))).not.toEqual([]);
    expect(
      found(write('a', 0, 1), write('b', 2), write('c', 3, 4), read('b', 5, 6), read('c', 7, 8), read('b', 9, 10)),
    ).not.toEqual([]);
  });

  test('a value from the future, or from nowhere', () => {
    expect(found(read('a', 0, 1), write('a', 2, 3))).toEqual(['unexplained']);
    expect(found(read('x', 0, 1))).toEqual(['unexplained']);
  });

  test('a torn block that nobody was writing', () => {
    expect(found(write('a', 0, 1), read(TORN, 2, 3))).toEqual(['torn']);
  });

  test('a lock or an open that two hold at once', () => {
    expect(found(hold('x', 0, 5), hold('y', 4, 7))).toEqual(['held twice']);
    expect(found(hold('x', 0), hold('y', 4, 7, false))).toEqual(['held twice']);
    expect(found(hold('x', 0, 9, false), hold('y', 1, 2, false), hold('z', 3, 4))).toEqual(['held twice']);
  });

  test('a name that two hold though nobody was leaving it when a server was stopped, or not for that long', () => {
    const again = [hold('x', 0, 2), leave('x', 2, 5), hold('x', 6, 20)];
    const twice = ['held twice'];
    expect(found(...again, hold('y', 11, 12))).toEqual(twice);
    expect(found(stopped(3, 10), ...again, hold('y', 9, 12))).toEqual(twice); // before it went on
    expect(found(stopped(6, 10), ...again, hold('y', 11, 12))).toEqual(twice);
    expect(found(stopped(1, 10), ...again, hold('y', 11, 12))).toEqual(twice);
    expect(found(stopped(3, 10), ...again, hold('y', 11, 15), hold('z', 12, 13))).toEqual(twice); // it was x's that was taken away
    expect(found(stopped(3, 10), hold('w', 0, 2), leave('w', 2, 5), hold('x', 6, 20), hold('y', 11, 12))).toEqual(
      twice,
    );
    const other = leave('x', 2, 5, 'file:other');
    expect(found(stopped(3, 10), other, hold('x', 6, 20), hold('y', 11, 12))).toEqual(twice);
    expect(found(stopped(3, 10), leave('x', 2, 5), hold('x', 2000, 2020), hold('y', 2011, 2012))).toEqual(twice);
    expect(found(stopped(3, 10), ...again, hold('y', 11, 21), hold('x', 22, 30), hold('y', 23, 24))).toEqual(twice); // once alone
  });

  test('a handle that was lost, and an error that a caller saw', () => {
    expect(found({ kind: 'lost', client: 'x', path: 'f', reason: 'gone', atMs: 1 })).toEqual(['handle lost']);
    expect(found({ kind: 'error', client: 'x', doing: 'writing', reason: 'no', atMs: 1 })).toEqual(['caller error']);
  });

  test('two writes of the same value, which it could not tell apart', () => {
    expect(found(write('a', 0, 1), write('a', 2, 3))).toEqual(['bad history']);
  });
});

/** All interleavings that a register allows, by brute force: is there an order of `ops` that respects time and explains all reads? */
function explainable(ops: readonly HistoryEvent[], value = EMPTY): boolean {
  const left = ops.filter((op) => op.kind === 'read' || op.kind === 'write');
  if (left.every((op) => op.kind === 'write' && op.returnedMs === undefined)) return true;
  const end = (op: (typeof left)[number]) => op.returnedMs ?? Number.POSITIVE_INFINITY;
  return left.some((op) => {
    if (left.some((other) => other !== op && end(other) < op.calledMs)) return false;
    const rest = left.filter((other) => other !== op);
    if (op.kind === 'read') return op.value === value && explainable(rest, value);
    return explainable(rest, op.value);
  });
}

test('agrees with trying out every order, on random small histories', () => {
  const time = fc.integer({ min: 0, max: 30 });
  const interval = fc.tuple(time, fc.integer({ min: 1, max: 12 }));
  const histories = fc.tuple(
    fc.array(fc.tuple(interval, fc.boolean()), { minLength: 1, maxLength: 4 }),
    fc.array(fc.tuple(interval, fc.integer({ min: 0, max: 4 })), { maxLength: 5 }),
  );
  let wrong = 0;
  let right = 0;
  fc.assert(
    fc.property(histories, ([writes, reads]) => {
      // Every time differs, so that "before" is never a matter of taste.
      let tie = 0;
      const at = (ms: number) => ms + ++tie / 1000;
      const values = [EMPTY, ...writes.map((_, i) => `v${i}`)];
      const events = [
        ...writes.map(([[from, length], returns], i) =>
          write(`v${i}`, at(from), returns ? at(from + length) : undefined),
        ),
        ...reads.map(([[from, length], which]) =>
          read(values[which % values.length] ?? EMPTY, at(from), at(from + length)),
        ),
      ];
      const isRight = explainable(events);
      if (isRight) right++;
      else wrong++;
      expect(check(events).length === 0).toBe(isRight);
    }),
    { numRuns: 3000 },
  );
  expect(Math.min(wrong, right)).toBeGreaterThan(300);
});
