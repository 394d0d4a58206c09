import { describe, expect, test } from '@jest/globals';
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
    by: '',
    silent: false,
    leaving: false,
    ...fields,
  };
}

describe('a watcher of counters', () => {
  test('names a server whose counter stands still for a whole lease, and not before', () => {
    const watch = new SilenceWatch(LEASE_MS);
    expect(watch.observe([server(5)], 0, 10)).toEqual([]);
    expect(watch.observe([server(5)], 1000, 1010)).toEqual([]);
    expect(watch.observe([server(5)], 2000, 2010)).toEqual([]);
    expect(watch.observe([server(5)], 3000, 3010)).toEqual([]); // 10 ms short: first seen at 10
    expect(watch.observe([server(5)], 3011, 3020)).toHaveLength(1);
  });

  test('starts anew when the counter moves or the epoch is another', () => {
    const watch = new SilenceWatch(LEASE_MS);
    for (let at = 0; at < 3000; at += 1000) watch.observe([server(5)], at, at);
    expect(watch.observe([server(6)], 3000, 3000)).toEqual([]);
    for (let at = 4000; at < 6000; at += 1000) watch.observe([server(6)], at, at);
    expect(watch.observe([server(6, { epoch: 2 })], 6000, 6000)).toEqual([]);
  });

  test('blames nobody for the time in which it could not read the store itself', () => {
    const watch = new SilenceWatch(LEASE_MS);
    watch.observe([server(5)], 0, 0);
    watch.observe([server(5)], 1000, 1000);
    // ten seconds without a look, then one that took long
    expect(watch.observe([server(5)], 11_000, 11_010)).toEqual([]);
    expect(watch.observe([server(5)], 12_000, 12_010)).toEqual([]);
    expect(watch.observe([server(5)], 13_000, 13_010)).toEqual([]);
    expect(watch.observe([server(5)], 14_011, 14_020)).toHaveLength(1);
  });

  test('has no interest in servers that are fenced', () => {
    const watch = new SilenceWatch(LEASE_MS);
    for (let at = 0; at < 10_000; at += 1000) {
      expect(watch.observe([server(5, { state: 'fenced' })], at, at)).toEqual([]);
    }
  });
});
