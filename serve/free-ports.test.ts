import { expect, test } from '@jest/globals';
import { FreePorts, freePortAt } from './free-ports.ts';

test('no port is handed out twice, and none that is somebody else has', async () => {
  const named = [4445, 7001, 7001, 4446, 7002];
  const ports = new FreePorts([4445, 4446], async () => named.shift() ?? 0);
  expect([await ports.next(), await ports.next()]).toEqual([7001, 7002]);
});

test('the kernel names a port', async () => {
  expect(await freePortAt('127.0.0.1')).toBeGreaterThan(1023);
});
