import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createSidecarMetrics } from '../metrics.ts';
import type { Table } from '../table/table.ts';
import { Fencer } from './fencer.ts';
import type { Registry, ServerRecord } from './registry.ts';

const SETTLE_MS = 60;
const SHARDS = 64;
const server = { serverId: 'a', epoch: 3, counter: 9, silent: false } as ServerRecord;

/** A fencer, and what it does, in order, with the time of each. */
function observed(begins = { began: true, state: 'fencing' }) {
  const done: { what: string; atMs: number }[] = [];
  const note = async (what: string) => void done.push({ what, atMs: performance.now() });
  const registry = {
    beginFencing: async (_server: unknown, counter: number) => {
      await note(`begin ${counter}`);
      return begins;
    },
    endFencing: () => note('end'),
  } as unknown as Registry;
  const table = {
    fence: (_shard: number, _server: unknown, what: string, node: string) => note(`${what} ${node}`),
  } as unknown as Table;
  const metrics = createSidecarMetrics();
  const fencer = new Fencer(registry, table, SETTLE_MS, 'me', pino({ level: 'silent' }), metrics);
  fencer.onFenced = () => void note('told');
  /** Each thing once, and how often it was done. */
  const steps = () =>
    done.reduce<[string, number][]>((sum, { what }) => {
      const last = sum.at(-1);
      if (last?.[0] === what) last[1]++;
      else sum.push([what, 1]);
      return sum;
    }, []);
  /** How often it is said to have fenced, by the reason; others than 0. */
  const counted = async () =>
    (await metrics.fencings.get()).values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => [labels.reason, value]);
  return { fencer, done, steps, counted };
}

test('a silent server is fenced in every shard, and its last writes get their time before it is said to be', async () => {
  const { fencer, done, steps, counted } = observed();
  expect(await fencer.fenceSilent(server)).toBe(true);
  expect(await counted()).toEqual([['silent', 1]]);
  expect(steps()).toEqual([
    ['begin 9', 1],
    ['settle lost', SHARDS],
    ['told', 1],
    ['fence lost', SHARDS],
    ['end', 1],
    ['told', 1],
  ]);
  const settled = done.findIndex(({ what }) => what === 'told');
  const [before, after] = [done[settled], done[settled + 1]];
  // A timer may fire up to a millisecond early.
  expect((after?.atMs ?? 0) - (before?.atMs ?? 0)).toBeGreaterThanOrEqual(SETTLE_MS - 1);
});

test('a dead process has no more writes: its opens may be had at once, whatever its counter says', async () => {
  const { fencer, steps, counted } = observed();
  expect(await fencer.fenceDead(server, 'process_ended')).toBe(true);
  expect(await counted()).toEqual([['process_ended', 1]]);
  expect(steps()).toEqual([
    ['begin -1', 1],
    ['fence alive', SHARDS],
    ['end', 1],
    ['told', 1],
  ]);
});

test('what another began is finished as it was begun', async () => {
  const { fencer, steps } = observed();
  expect(await fencer.finish({ ...server, silent: true })).toBe(true);
  expect(steps().map(([what]) => what)).toEqual(['begin -1', 'settle lost', 'told', 'fence lost', 'end', 'told']);
});

test('who has renewed meanwhile is left alone', async () => {
  const { fencer, steps, counted } = observed({ began: false, state: 'active' });
  expect(await fencer.fenceSilent(server)).toBe(false);
  expect(await counted()).toEqual([]);
  expect(steps()).toEqual([['begin 9', 1]]);
});
