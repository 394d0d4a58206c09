import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { AskedTraces } from '../common/asked-traces.ts';
import type { ClusterConfig } from '../common/config.ts';
import { HoldfastError, reasonOf } from '../common/errors.ts';
import type { Logger } from '../common/logging.ts';
import type { Health } from '../common/metrics.ts';
import { PeerServerCredentials, RotatedTls, readTlsMaterial } from '../common/tls.ts';
import { ControlService as ControlDefinition } from '../proto/generated/control.ts';
import { HandlesService as HandlesDefinition } from '../proto/generated/handles.ts';
import { PeerService as PeerDefinition } from '../proto/generated/peer.ts';
import { Breaks } from './breaks/breaks.ts';
import { Delivery } from './breaks/delivery.ts';
import { WaitingRoom } from './breaks/waiting-room.ts';
import { MAX_MESSAGE_BYTES, storeWaitMs, TLS_LOOK_MS } from './constants.ts';
import { Clock } from './fencing/clock.ts';
import { Custodians } from './fencing/custodians.ts';
import { isProvenDead } from './fencing/death.ts';
import { Ended } from './fencing/ended.ts';
import { Fencer } from './fencing/fencer.ts';
import { Forgetting } from './fencing/forgetting.ts';
import { Given } from './fencing/given.ts';
import { Lease } from './fencing/lease.ts';
import { Orphans } from './fencing/orphans.ts';
import { Possession } from './fencing/possession.ts';
import { Promises } from './fencing/promises.ts';
import { Reconciler } from './fencing/reconciler.ts';
import { Registry } from './fencing/registry.ts';
import { Settling } from './fencing/settling.ts';
import { Handoff } from './handoff/handoff.ts';
import { Reminding } from './handoff/reminding.ts';
import { createSidecarMetrics, type SidecarMetrics } from './metrics.ts';
import { AppInstances } from './services/app-instances.ts';
import { ChangeFeed } from './services/changes.ts';
import { ClusterView } from './services/cluster.ts';
import type { Components } from './services/components.ts';
import { ControlFace } from './services/control.ts';
import { Endings } from './services/endings.ts';
import { HandlesService } from './services/handles.ts';
import { Lasting } from './services/lasting.ts';
import { Locks } from './services/locks.ts';
import { Opens } from './services/opens.ts';
import { Ownership } from './services/ownership.ts';
import { PeerFace } from './services/peer.ts';
import { Peers } from './services/peers.ts';
import { Registration } from './services/registration.ts';
import { Renames } from './services/renames.ts';
import { Sessions } from './services/sessions.ts';
import type { PasswordSource } from './table/connection.ts';
import { Keys } from './table/keys.ts';
import { Store } from './table/store.ts';
import { Table } from './table/table.ts';

/** How long a sidecar that ends goes on fencing file servers that are dead. */
const STOP_FENCING_MS = 2000;
/** How long it passes on what waits for its clients. */
const PASSING_ON_MS = 5000;
/** So long spans that were not sent yet hold up its end. */
const TRACES_SENT_MS = 500;

export interface SidecarOptions {
  config: ClusterConfig;
  runDir: string;
  /** host:port for peers and the operator; port 0 picks a free one. */
  listen: string;
  /** host:port at which they reach it; ":0" at its end is replaced by the port it got. */
  advertise: string;
  tlsDir: string;
  /** How often rotated certificates are looked for there, ms. */
  tlsLookMs?: number;
  serverId: string;
  pod: string;
  node: string;
  storePassword: PasswordSource;
  /** The store was set up just now: nobody has state that could still come. */
  newStore: boolean;
  log: Logger;
}

/** One sidecar: put together here, in one visible place. */
export class Sidecar {
  readonly metrics: SidecarMetrics = createSidecarMetrics();
  readonly components: Components;
  readonly handoff: Handoff;
  readonly orphans = new Orphans();
  readonly given = new Given();
  readonly #options: SidecarOptions;
  readonly #store: Store;
  readonly #lease: Lease;
  readonly #promises: Promises;
  readonly #clock: Clock;
  readonly #fencer: Fencer;
  readonly #reconciler: Reconciler;
  readonly #reminding: Reminding;
  readonly #handles: HandlesService;
  readonly #changes: ChangeFeed;
  readonly #registration: Registration;
  readonly #place: { serverId: string; address: string; pod: string; node: string };
  readonly #tls: RotatedTls;
  readonly #local: Server;
  readonly #remote: Server;
  #registered = false;
  port = 0;

  constructor(options: SidecarOptions) {
    this.#options = options;
    const { config, log, serverId, pod, node } = options;
    const { leaseDurationMs, writeSettleMs, maxExtensionMs } = config.failover;
    const { metrics } = this;
    this.#place = { serverId, address: options.advertise, pod, node };
    this.#store = new Store(
      config.store,
      options.storePassword,
      log,
      metrics,
      join(options.runDir, 'store-connections.json'),
      // As long as peers need to see that a server is silent: less would make connections anew to a store that only pauses.
      2 * leaseDurationMs,
    );
    const keys = new Keys(config.clusterId);
    const table = new Table(this.#store, keys, storeWaitMs(leaseDurationMs));
    const registry = new Registry(this.#store, keys);
    const cluster = new ClusterView();
    this.#tls = new RotatedTls(options.tlsDir);
    const peers = new Peers(
      () => this.#tls.material,
      (identity) => cluster.fenceOf(identity),
    );
    const patienceMs = 2 * leaseDurationMs + writeSettleMs + 1000;
    const delivery = new Delivery(cluster, peers, registry, log, metrics, patienceMs);
    const room = new WaitingRoom();
    delivery.onWake = (member, fileId) => room.wake(member, fileId);
    const breaks = new Breaks(table, cluster, delivery, room, log);
    const { orphans, given } = this;
    const custodians = new Custodians(table, registry, cluster, peers, orphans, given, log);
    const traces = new AskedTraces('holdfast-sidecar', options.pod, (error) =>
      log.warn({ reason: reasonOf(error) }, 'traces could not be sent'),
    );
    const talk = { cluster, peers, delivery, breaks, room };
    const ended = new Ended(config.handles.persistentTimeoutMs);
    this.components = { config, table, registry, custodians, ended, given, ...talk, log, metrics, traces };
    const endings = new Endings(this.components);
    this.#fencer = new Fencer(registry, table, writeSettleMs, serverId, log, metrics);
    const lasting = new Lasting(table, cluster, log);
    cluster.onLook = () => lasting.looked();
    this.#clock = new Clock(table, cluster, endings, orphans, log, metrics);
    this.#fencer.onBegun = (identity) => cluster.fencing(identity);
    this.#fencer.onFenced = (identity) => this.#clock.fenced(identity);
    this.#promises = new Promises({
      cluster,
      peers,
      log,
      metrics,
      leaseDurationMs,
      maxExtensionMs,
      readMs: () => registry.readMs,
    });
    this.#lease = new Lease({
      registry,
      store: this.#store,
      cluster,
      delivery,
      orphans,
      fencer: this.#fencer,
      forgetting: new Forgetting({ registry, table, cluster, log }),
      promises: this.#promises,
      log,
      metrics,
      leaseDurationMs,
      maxExtensionMs,
      storeKnows: (member, runId, generation) => this.#reconciler.knowsOf(member, runId, generation),
      fenceSilent: config.volumes.every((volume) => volume.fencing === 'Deadline'),
    });
    this.#registration = new Registration(this.components, this.#lease, this.#place);
    this.#registration.onReplaced = (identity) => this.#clock.fenced(identity);
    const settling = new Settling(table, log);
    this.#clock.onRefresh = async () => {
      for (const member of cluster.members.values()) {
        if (!member.isSettling && !member.over) await settling.forgetEnded(member);
      }
    };
    this.#reconciler = new Reconciler({
      store: this.#store,
      config: config.store,
      keys,
      table,
      registry,
      cluster,
      orphans,
      ended,
      given,
      settling,
      possession: new Possession({
        store: this.#store,
        config: config.store,
        keys,
        registry,
        leaseDurationMs,
        authorities: () => readTlsMaterial(options.tlsDir).ca,
      }),
      log,
      metrics,
      leaseDurationMs,
      persistentTimeoutMs: config.handles.persistentTimeoutMs,
      place: this.#place,
      newStore: options.newStore,
      maxExtensionMs,
      isAskedByAll: () => this.#lease.isAskedByAll,
      hasPromisedNothing: () => this.#promises.none,
      fenced: (member, reason) => this.#lease.fenced(member, reason),
      opened: () => this.#lease.storeOpened(),
    });
    const locks = new Locks(this.components);
    const ownership = new Ownership(this.components, endings, (member) => this.#lease.confirmAlive(member));
    const instances = new AppInstances(this.components, endings, ownership);
    const opens = new Opens(this.components, endings, instances);
    const sessions = new Sessions(this.components);
    const renames = new Renames(this.components);
    this.#changes = new ChangeFeed(this.components, this.#place);
    this.handoff = new Handoff(this.components, endings, this.#registration);
    this.#reminding = new Reminding(this.components);
    this.#handles = new HandlesService({
      components: this.components,
      registration: this.#registration,
      lease: this.#lease,
      opens,
      endings,
      locks,
      ownership,
      sessions,
      renames,
      changes: this.#changes,
      drain: (timeoutMs) => this.handoff.drain(timeoutMs),
      reported: (member) => void settling.settle(member),
      reportedAgain: (member, opens) => {
        settling
          .compareSome(member, opens)
          .catch((error: unknown) => log.warn({ err: error }, 'opens that are not known here are looked up later'));
      },
    });
    const limits = {
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    };
    this.#local = new Server(limits);
    this.#local.addService(HandlesDefinition, this.#handles.implementation());
    this.#remote = new Server(limits);
    const peer = new PeerFace({
      components: this.components,
      ownership,
      sessions,
      locks,
      renames,
      changes: this.#changes,
      handoff: this.handoff,
      promises: this.#promises,
    });
    this.#remote.addService(PeerDefinition, peer.implementation());
    const control = new ControlFace({
      components: this.components,
      handoff: this.handoff,
      fencer: this.#fencer,
      clock: this.#clock,
      place: this.#place,
      storeState: () => {
        const { message, refusal } = this.#reconciler;
        return { reachable: this.#lease.reachable, message, refusal };
      },
      storeIsNew: () => this.#reconciler.storeIsNew(),
    });
    this.#remote.addService(ControlDefinition, control.implementation());
    this.#gauge();
  }

  /** Listens, and opens the store. A store that cannot be used yet is tried again; only what a person must mend throws. */
  async start(): Promise<void> {
    const { listen, runDir, log, tlsLookMs = TLS_LOOK_MS } = this.#options;
    const credentials = new PeerServerCredentials(this.#tls.material);
    this.port = await bind(this.#remote, listen, credentials);
    this.#tls.watch(
      tlsLookMs,
      (tls) => {
        credentials.use(tls);
        this.#reconciler.authorityReplaced();
        log.info('the certificate was rotated');
      },
      (error) =>
        log.warn({ reason: reasonOf(error) }, 'the certificates cannot be read again: those that are known stay'),
    );
    this.#place.address = this.#place.address.replace(/:0$/, `:${this.port}`);
    const socket = join(runDir, 'sidecar.sock');
    rmSync(socket, { force: true });
    await bind(this.#local, `unix:${socket}`, ServerCredentials.createInsecure());
    chmodSync(socket, 0o660);
    writeFileSync(join(runDir, 'server-id'), `${this.#options.serverId}\n`);
    this.#reconciler.reconcile();
    this.#lease.start();
    this.#promises.start();
    this.#clock.start();
    void this.#fenceDeadPredecessors();
    log.info({ listen, port: this.port, socket, serverId: this.#options.serverId }, 'the sidecar listens');
  }

  /** Ends: file servers that are dead are fenced, so that anybody may claim their opens at once; then nothing is decided any more. */
  async stop(): Promise<void> {
    const { cluster, log } = this.components;
    this.#lease.stop();
    this.#promises.stop();
    this.#clock.stop();
    this.#reconciler.stop();
    this.#reminding.stop();
    for (const member of cluster.members.values()) {
      if (isProvenDead(member.lockPath)) {
        this.#fencer.fenceDead(member.identity, 'process_ended').catch(() => false);
      } else log.warn({ server: member.owner }, 'the sidecar ends before its file server: its lease will run out');
    }
    // Also what began when a file server ended a moment ago: left half done, it would take others a lease to finish.
    await Promise.race([this.#fencer.idle(), new Promise((resolve) => setTimeout(resolve, STOP_FENCING_MS))]);
    await this.components.custodians.passOnAll(PASSING_ON_MS);
    await Promise.race([this.components.traces.flush(), new Promise((resolve) => setTimeout(resolve, TRACES_SENT_MS))]);
    this.halt();
  }

  /** Ends at once, as a process that is killed would. */
  halt(): void {
    this.#lease.stop();
    this.#promises.stop();
    this.#clock.stop();
    this.#reconciler.stop();
    this.#reminding.stop();
    this.#handles.end();
    this.#changes.end();
    this.#tls.end();
    this.#local.forceShutdown();
    this.#remote.forceShutdown();
    this.components.peers.end();
    this.#store.end();
  }

  health(): Health {
    return {
      live: () => true,
      ready: () => {
        // Readiness does not depend on the store once a file server was registered: clients must reach a server that says "try again".
        for (const member of this.components.cluster.members.values()) if (member.stream) this.#registered = true;
        return this.#registered || this.#store.open || this.#reconciler.message;
      },
    };
  }

  /** Servers that this pod registered in an earlier life of its sidecar, and whose processes are dead by now. */
  async #fenceDeadPredecessors(): Promise<void> {
    const { registry, cluster, log } = this.components;
    try {
      for (const server of await registry.list()) {
        const [id, worker] = splitServerId(server.serverId);
        if (id !== this.#options.serverId || cluster.members.has(worker)) continue;
        if (server.state !== 'active' && server.state !== 'draining') continue;
        if (isProvenDead(join(this.#options.runDir, `fileserver-${worker}.lock`))) {
          await this.#fencer.fenceDead(server, 'process_ended');
        }
      }
    } catch (error) {
      log.info({ reason: reasonOf(error) }, 'earlier file servers of this pod are not looked after');
    }
  }

  #gauge(): void {
    const { opens, locks, leases, oplocks, sessions } = this.metrics;
    (opens as unknown as { collect: () => void }).collect = () => {
      const states = [0, 0];
      let held = 0;
      let stored = 0;
      let withOplock = 0;
      leases.reset();
      for (const state of LEASE_STATES) leases.labels(state).set(0);
      for (const member of this.components.cluster.members.values()) {
        for (const open of member.opens.values()) {
          const waits = open.record.state === 0 ? 0 : 1;
          states[waits] = (states[waits] ?? 0) + 1;
          held += open.record.locks.length;
          if (open.record.oplock !== 0 && !open.record.lease) withOplock++;
        }
        for (const { state, breaking } of member.leases()) {
          leases.labels(breaking ? 'breaking' : (LEASE_STATES[state] ?? 'none')).inc();
        }
        stored += member.sessions.size;
      }
      opens.labels('active').set(states[0] ?? 0);
      opens.labels('disconnected').set(states[1] ?? 0);
      locks.set(held);
      oplocks.set(withOplock);
      sessions.set(stored);
    };
  }
}

/** By the bits of Lease.state (MS-SMB2 2.2.13.2.8: 1 read, 2 handle, 4 write), and what has none of its own. */
const LEASE_STATES = ['none', 'R', 'H', 'RH', 'W', 'RW', 'WH', 'RWH', 'breaking'];

export function splitServerId(serverId: string): [string, string] {
  const slash = serverId.lastIndexOf('/');
  return [serverId.slice(0, slash), serverId.slice(slash + 1)];
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(new HoldfastError('LISTEN', `cannot listen on ${address}: ${error.message}`, { cause: error }));
      else resolve(port);
    });
  });
}
