import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { ClusterConfig } from '../common/config.ts';
import { ShareTroubles } from './share-troubles.ts';
import { type Share, Shares } from './shares.ts';

const config = (names: string[]): Pick<ClusterConfig, 'shares' | 'volumes'> => ({
  volumes: [{ name: 'v', path: '/nowhere', fencing: 'Deadline' }],
  shares: names.map((name) => ({
    ...{ name, volume: 'v', path: `/${name}`, continuouslyAvailable: false, scaleOut: false },
    ...{ encryption: 'Off' as const, access: [{ principal: '*', permission: 'Full' as const }] },
  })),
});
const log = pino({ level: 'silent' });

test('what cannot be opened is told, as long as it cannot and the share is there', async () => {
  const shares = new Shares(config(['films', 'music']));
  const missing = new Set(['films']);
  const asked: string[] = [];
  const open = async ({ name }: Share) => {
    asked.push(name);
    if (missing.has(name)) throw new Error('there is no such folder');
  };
  const troubles = new ShareTroubles(shares, open, log);
  expect(troubles.found).toEqual([]);
  await troubles.look();
  expect(troubles.found).toEqual(['share "films": there is no such folder']);
  expect(asked).toEqual(['films', 'music']); // of IPC$ there is no folder
  missing.clear();
  await troubles.look();
  expect(troubles.found).toEqual([]);
  missing.add('music');
  await troubles.look();
  shares.update(config(['films']));
  await troubles.look();
  expect(troubles.found).toEqual([]);
});

test('a volume that hangs is asked once, and what is said is bounded', async () => {
  let asked = 0;
  let answer = () => {};
  const hanging = new ShareTroubles(
    new Shares(config(['films'])),
    () => {
      asked++;
      return new Promise<void>((resolve) => {
        answer = resolve;
      });
    },
    log,
  );
  const first = hanging.look();
  await hanging.look();
  expect(asked).toBe(1);
  answer();
  await first;
  const names = Array.from({ length: 50 }, (_, i) => `share-${i}`);
  const many = new ShareTroubles(new Shares(config(names)), () => Promise.reject(new Error('x'.repeat(1000))), log);
  await many.look();
  expect(many.found).toHaveLength(20);
  expect(Math.max(...many.found.map(({ length }) => length))).toBe(300);
});
