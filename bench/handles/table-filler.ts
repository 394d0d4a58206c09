import { createLogger } from '../../common/logging.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import { SHARDS } from '../../sidecar/constants.ts';
import { createSidecarMetrics } from '../../sidecar/metrics.ts';
import { type Identity, Keys, OpenIds, shardOf } from '../../sidecar/table/keys.ts';
import { Store } from '../../sidecar/table/store.ts';
import { Table } from '../../sidecar/table/table.ts';
import type { TestCluster } from '../../sidecar/testing/cluster.ts';
import { asClientsAsk } from './requests.ts';

const AT_ONCE = 256;
/** An id block of one server has 2^20 ids. */
const OPENS_A_SERVER = 500_000;
const WAIT_MS = 60_000;

/** Lets servers that are nowhere hold so many opens: through the scripts, as their sidecars would, and without their memory. */
export async function fillTable(cluster: TestCluster, count: number): Promise<void> {
  const log = createLogger('bench');
  const store = new Store(cluster.config.store, () => undefined, log, createSidecarMetrics());
  const keys = new Keys(cluster.config.clusterId);
  const table = new Table(store, keys, WAIT_MS);
  const generation = (await store.data.get(keys.generation)) ?? '';
  const { runIds } = await store.whereabouts(Array.from({ length: SHARDS }, (_, shard) => keys.store(shard)));
  store.openWith(await store.load(runIds, generation));
  try {
    for (let from = 0; from < count; from += OPENS_A_SERVER) {
      const epoch = await store.data.incr(keys.epoch);
      const server: Identity = { serverId: `held-${epoch}/0`, epoch };
      for (let shard = 0; shard < SHARDS; shard++) await table.fence(shard, server, 'enter', 'alive');
      await fillOne(table, server, from, Math.min(count, from + OPENS_A_SERVER));
    }
  } finally {
    store.end();
  }
}

async function fillOne(table: Table, server: Identity, from: number, to: number): Promise<void> {
  const ids = new OpenIds(server.epoch, 0);
  const how = { truncates: false, again: false, guidAgain: false };
  let next = from;
  const worker = async () => {
    for (let i = next++; i < to; i = next++) {
      const record = asClientsAsk(`held/folder-${i % 1000}/document-${i}.docx`, { withLease: true });
      record.openId = ids.next(shardOf(record.fileId)) ?? 0n;
      const { outcome } = await table.open(server, record, how);
      if (outcome !== Outcome.GRANTED) throw new Error(`an open that fills the table was answered ${outcome}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
