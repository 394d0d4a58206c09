import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { CreateOptions, FileAccess } from '../../smb/constants.ts';
import { eventually } from '../cluster/shell.ts';
import { Network } from './network.ts';
import { Pods } from './pods.ts';
import { READ_WRITE } from './raw-client.ts';
import { SOON_MS } from './stage.ts';

const LEASE_MS = 1500;
const TIMEOUT_MS = 10_000;

let network: Network;
let pods: Pods;
beforeAll(async () => {
  network = await Network.enter();
  pods = await Pods.start(network, 3, { leaseMs: LEASE_MS });
}, 240_000);
afterAll(async () => {
  await pods?.stop();
  network?.leave();
}, 60_000);

test('a pod is lost, and then the one that fenced it: the last one has its handles, and ends them when their time is over', async () => {
  // Given two handles of pod 0
  const first = await pods.raw(pods.pod(0));
  const held = await first.open('held', { shareAccess: 0 });
  expect(await first.lock(held, 0, 10)).toBe('STATUS_SUCCESS');
  const doomed = await first.open('doomed', {
    access: READ_WRITE | FileAccess.DELETE,
    options: CreateOptions.NON_DIRECTORY_FILE | CreateOptions.DELETE_ON_CLOSE,
    timeoutMs: TIMEOUT_MS,
  });
  await first.write(doomed, 0, Buffer.from('here'));

  // When pod 0 is lost without a word, and its custodian too
  const since = pods.log.length;
  const lostMs = performance.now();
  await pods.pod(0).end('SIGKILL');
  const fenced = await eventually('pod 0 is fenced', SOON_MS, () =>
    pods.log.slice(since).find(({ msg }) => msg?.startsWith('fenced a server') === true),
  );
  const custodian = pods.list.find(({ name }) => name === fenced.pod);
  await custodian?.end('SIGKILL');
  const last = pods.list.find((pod) => pod !== custodian && pod !== pods.pod(0));
  if (!custodian || !last) throw new Error(`nobody known fenced it: ${JSON.stringify(fenced)}`);

  // Then the last pod lets nobody else in, gives the client its handle back with its lock, and ends the other one in time, not before
  const newcomer = await pods.raw(last);
  expect(await newcomer.refusal('held')).toBe('STATUS_FILE_NOT_AVAILABLE');
  const back = await pods.raw(last, { clientGuid: first.clientGuid });
  const reclaim = { fileId: held.fileId, createGuid: held.createGuid ?? Buffer.alloc(16) };
  const again = await eventually('the handle is reclaimed', SOON_MS, async () => {
    const answer = await back.tryOpen('held', { reclaim });
    if (typeof answer === 'string') throw new Error(answer);
    return answer;
  });
  expect(await newcomer.refusal('held')).toBe('STATUS_SHARING_VIOLATION');
  expect(await back.unlock(again, 0, 10)).toBe('STATUS_SUCCESS');
  expect(await back.closeFile(again)).toBe('STATUS_SUCCESS');

  const onVolume = join(pods.volume, 'doomed');
  await eventually('the file is removed', SOON_MS, () => !existsSync(onVolume) || undefined, 20);
  expect(performance.now() - lostMs).toBeGreaterThanOrEqual(TIMEOUT_MS);
  await eventually('nothing is left', SOON_MS, async () => (await pods.filesInStore()).length === 0 || undefined);
}, 120_000);
