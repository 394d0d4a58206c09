import type { AskedTraces } from '../../common/asked-traces.ts';
import type { ClusterConfig } from '../../common/config.ts';
import type { Logger } from '../../common/logging.ts';
import type { Breaks } from '../breaks/breaks.ts';
import type { Delivery } from '../breaks/delivery.ts';
import type { WaitingRoom } from '../breaks/waiting-room.ts';
import type { Custodians } from '../fencing/custodians.ts';
import type { Ended } from '../fencing/ended.ts';
import type { Given } from '../fencing/given.ts';
import type { Registry } from '../fencing/registry.ts';
import type { SidecarMetrics } from '../metrics.ts';
import type { Table } from '../table/table.ts';
import type { ClusterView } from './cluster.ts';
import type { Peers } from './peers.ts';

/** What the services of a sidecar are made of; put together in sidecar.ts. */
export interface Components {
  config: ClusterConfig;
  table: Table;
  registry: Registry;
  custodians: Custodians;
  ended: Ended;
  given: Given;
  cluster: ClusterView;
  peers: Peers;
  delivery: Delivery;
  breaks: Breaks;
  room: WaitingRoom;
  log: Logger;
  metrics: SidecarMetrics;
  traces: AskedTraces;
}
