import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ServerRecord } from './registry.ts';
import { SilenceWatch } from './silence.ts';

const LEASE_MS = 3000;

function server(counter: number, fields: Partial<ServerRecord> = {}): ServerRecord {
  return {
    serverId: 'pod/0',
    epoch: 1,
    state: 'active',
    counter,
    address: '',
    smbAddress: '',
    pod: '',
    node: '',
    reconciled: '',
    late: '',
    by: '',
    silent: false,
    leaving: false,
    handedOver: undefined,
    extensionMs: 0,
    knows: 0,
    understands: 0,
    ...fields,
  };
}

/** Looks every tenth of a lease that take 10 ms each, at a counter. @returns what the last one named */
function look(watch: SilenceWatch, fromMs: number, toMs: number, record: ServerRecord): ServerRecord[] {
  let named: ServerRecord[] = [];
  for (let at = fromMs; at <= toMs; at += LEASE_MS / 10) named = watch.observe([record], at, at + 10);
  return named;
}

describe('a watcher of counters', () => {
  test('names a server that may go on with promises after a lease where it asks this pod, else after all of them', () => {
    const own = new Set(['own/0']);
    const name = (knows: number, atMs: number) => {
      const watch = new SilenceWatch(LEASE_MS);
      const servers = [server(5, { extensionMs: 6000, knows }), server(0, { serverId: 'own/0', epoch: 4 })];
      let named: string[] = [];
      for (let at = 0; at <= atMs; at += LEASE_MS / 10) {
        named = watch
          .observe([...servers.slice(0, 1), { ...servers[1], counter: at } as ServerRecord], at, at + 1, own)
          .map(({ serverId }) => serverId);
      }
      return named;
    };
    expect(name(4, 3300)).toEqual(['pod/0']);
    expect(name(3, 3300)).toEqual([]);
    expect(name(3, 9000)).toEqual([]);
    expect(name(3, 9300)).toEqual(['pod/0']);
  });

  test('names a server whose counter stands still for a whole lease, and not before', () => {
    const watch = new SilenceWatch(LEASE_MS);
    expect(look(watch, 0, 3000, server(5))).toEqual([]); // the last one 10 ms short: first seen at 10
    expect(watch.observe([server(5)], 3011, 3020)).toHaveLength(1);
  });

  test('looks just when a lease would be over, and often until then', () => {
    const watch = new SilenceWatch(LEASE_MS);
    expect(watch.nextLookMs(0)).toBe(300);
    look(watch, 0, 2700, server(5));
    expect(watch.nextLookMs(2710)).toBe(300);
    look(watch, 2850, 2850, server(5));
    expect(watch.nextLookMs(2860)).toBe(152);
    expect(watch.observe([server(5)], 3012, 3013)).toHaveLength(1);
    expect(watch.nextLookMs(3013)).toBe(300); // fencing it takes what it takes
  });

  test('starts anew when the counter moves or the epoch is another', () => {
    const watch = new SilenceWatch(LEASE_MS);
    look(watch, 0, 2700, server(5));
    expect(look(watch, 3000, 5700, server(6))).toEqual([]);
    expect(look(watch, 6000, 8700, server(6, { epoch: 2 }))).toEqual([]);
  });

  test('blames nobody for the time in which it could not read the store itself', () => {
    const watch = new SilenceWatch(LEASE_MS);
    look(watch, 0, 900, server(5));
    // ten seconds without a look
    expect(look(watch, 11_000, 13_900, server(5))).toEqual([]);
    expect(watch.observe([server(5)], 14_011, 14_020)).toHaveLength(1);
  });

  test('blames nobody for the time in which it stood still itself, with an answer lying there', () => {
    const watch = new SilenceWatch(LEASE_MS);
    look(watch, 0, 2400, server(5));
    expect(watch.observe([server(5)], 2700, 4000)).toEqual([]);
    expect(look(watch, 4000, 6900, server(5))).toEqual([]);
  });

  test('has no interest in servers that are fenced', () => {
    const watch = new SilenceWatch(LEASE_MS);
    expect(look(watch, 0, 9900, server(5, { state: 'fenced' }))).toEqual([]);
  });

  test('never names a server before its own deadline, whatever is late on either side', () => {
    const late = fc.integer({ min: 0, max: LEASE_MS / 6 });
    const renewal = fc.record({ pauseMs: fc.integer({ min: 1, max: 2 * LEASE_MS }), wayMs: late });
    const reading = fc.record({ pauseMs: fc.integer({ min: 1, max: LEASE_MS / 4 }), wayMs: late, backMs: late });
    fc.assert(
      fc.property(
        fc.array(renewal, { maxLength: 20 }),
        fc.array(reading, { minLength: 30, maxLength: 60 }),
        (renewals, looks) => {
          // Renewals one after the other: sent, carried out; the deadline counts from the sending.
          let atMs = 0;
          const applied = [{ atMs: 0, sentMs: 0 }];
          for (const { pauseMs, wayMs } of renewals) {
            const sentMs = atMs + pauseMs;
            atMs = sentMs + wayMs;
            applied.push({ atMs, sentMs });
          }
          const watch = new SilenceWatch(LEASE_MS);
          let nowMs = 0;
          for (const { pauseMs, wayMs, backMs } of looks) {
            const sentMs = nowMs + pauseMs;
            const counter = applied.filter((one) => one.atMs <= sentMs + wayMs).length - 1;
            nowMs = sentMs + wayMs + backMs;
            for (const named of watch.observe([server(counter)], sentMs, nowMs)) {
              expect(sentMs).toBeGreaterThanOrEqual((applied[named.counter]?.sentMs ?? 0) + LEASE_MS);
            }
          }
        },
      ),
    );
  });

  test('does not name a server that lives, however long the store was away', () => {
    const renewEveryMs = LEASE_MS / 3;
    const property = fc.property(
      fc.integer({ min: 2 * LEASE_MS, max: 3 * LEASE_MS }),
      fc.integer({ min: 0, max: 3 * LEASE_MS }),
      fc.integer({ min: 0, max: LEASE_MS / 6 }),
      (awayMs, forMs, lateMs) => {
        const backMs = awayMs + forMs;
        // Whatever was asked for while the store was away is carried out when it is back, looks before renewals.
        const carriedOutMs = (sentMs: number, late: number) =>
          sentMs >= awayMs && sentMs < backMs ? backMs + late : sentMs + late;
        const applied: number[] = [];
        for (let at = 0; at < backMs + 3 * LEASE_MS; at = Math.max(at + renewEveryMs, applied.at(-1) ?? 0)) {
          applied.push(carriedOutMs(at, lateMs));
        }
        const watch = new SilenceWatch(LEASE_MS);
        for (let at = 0; at < backMs + 2 * LEASE_MS; ) {
          const done = carriedOutMs(at, 0);
          const counter = applied.filter((one) => one <= done).length;
          expect(watch.observe([server(counter)], at, done)).toEqual([]);
          at = done + watch.nextLookMs(done);
        }
      },
    );
    fc.assert(property);
  });
});
