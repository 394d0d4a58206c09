// What a sidecar that was started anew makes of what its file server reports.
import { afterEach, expect, test } from '@jest/globals';
import { OpenState, Outcome } from '../../proto/generated/handles.ts';
import { shardOfOpen } from '../../sidecar/table/table.ts';
import { TestCluster } from '../../sidecar/testing/cluster.ts';
import { until } from '../../sidecar/testing/redis.ts';

/** So long that nothing here depends on how fast the machine is. */
const LEASE_MS = 600_000;
const PATIENCE_MS = 20_000;
let cluster: TestCluster;
afterEach(() => cluster.stop());

test('an open that left and came back meanwhile is not the one that the file server holds', async () => {
  cluster = await TestCluster.start(2, LEASE_MS);
  const [pod, peer] = [cluster.pod(0), cluster.pod(1)];
  const { server } = pod;
  await server.session(1n);
  const { record } = await server.open('moved');
  const { record: kept } = await server.open('kept');
  pod.sidecar?.halt();
  server.detach();

  // A handoff to the peer and one back, of which this file server was told nothing.
  const table = peer.sidecar?.components.table;
  const [one, two] = [server, peer.server].map((it, i) => ({ serverId: `uid-pod-${i}/0`, epoch: it.epoch }));
  if (!table || !one || !two) throw new Error('no peer');
  const shard = shardOfOpen(record);
  expect(await table.letGo(one, shard, [record], `${two.serverId}@${two.epoch}`)).toEqual([Outcome.GRANTED]);
  const there = { ...record, ownershipVersion: record.ownershipVersion + 1n };
  expect(await table.letGo(two, shard, [there], `${one.serverId}@${one.epoch}`)).toEqual([Outcome.GRANTED]);

  const sidecar = await pod.startSidecar();
  await server.resume();
  const member = sidecar.components.cluster.memberOf(one.serverId);
  await member?.settled;
  await until(() => server.commands.some(({ $case }) => $case === 'release'), PATIENCE_MS);
  const released = server.commands.flatMap((command) => (command.$case === 'release' ? command.value.openIds : []));
  expect(released).toEqual([record.openId]);
  expect(member?.opens.get(kept.openId)?.record.ownershipVersion).toBe(kept.ownershipVersion);
  expect(member?.opens.get(record.openId)?.record).toMatchObject({
    state: OpenState.DISCONNECTED,
    ownershipVersion: record.ownershipVersion + 2n,
  });
  // Its client gets it back here, or anywhere.
  expect((await server.reclaim(record)).outcome).toBe(Outcome.GRANTED);
}, 60_000);
