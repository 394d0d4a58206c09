import {
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { reasonOf } from '../../common/errors.ts';
import { OPERATOR_IDENTITY, SIDECAR_IDENTITY } from '../../common/tls.ts';
import {
  type ControlServer,
  type HandedOver,
  type MigrateRequest,
  type MigrationProgress,
  type ServerEndedReply,
  type ServerEndedRequest,
  ServerStatus,
  StatusReply,
} from '../../proto/generated/control.ts';
import { OpenState } from '../../proto/generated/handles.ts';
import type { Clock } from '../fencing/clock.ts';
import type { Fencer } from '../fencing/fencer.ts';
import { isOver, type ServerRecord } from '../fencing/registry.ts';
import type { Handoff } from '../handoff/handoff.ts';
import { NotAllowedError, requireIdentity } from './authorize.ts';
import type { Components } from './components.ts';

export interface ControlParts {
  components: Components;
  handoff: Handoff;
  fencer: Fencer;
  clock: Clock;
  /** Where this sidecar is. */
  place: { address: string; pod: string; node: string };
  storeState(): { reachable: boolean; message: string; refusal: string };
  /** @returns whether that is of use */
  storeIsNew(): boolean;
}

const ALLOWED = [OPERATOR_IDENTITY, SIDECAR_IDENTITY];

/** The face towards the operator (or whoever runs the cluster). */
export class ControlFace {
  readonly #is: ControlParts;

  constructor(parts: ControlParts) {
    this.#is = parts;
  }

  implementation(): ControlServer {
    const { handoff } = this.#is;
    const server: Omit<ControlServer, keyof UntypedServiceImplementation> & UntypedServiceImplementation = {
      getStatus: this.#unary(async ({ collector }) => {
        this.#is.components.traces.collector = collector;
        return this.#status();
      }),
      prepare: this.#unary((request) => handoff.prepare(request)),
      migrate: (call: ServerWritableStream<MigrateRequest, MigrationProgress>) => void this.#migrate(call),
      cancelMigration: this.#unary(async (request) => handoff.cancel(request.migrationId)),
      serverEnded: this.#unary((request) => this.#ended(request)),
      storeIsNew: this.#unary(async () => ({ heard: this.#is.storeIsNew() }), [OPERATOR_IDENTITY]),
    };
    return server as ControlServer;
  }

  async #migrate(call: ServerWritableStream<MigrateRequest, MigrationProgress>): Promise<void> {
    try {
      requireIdentity(call, ALLOWED);
      const outcome = await this.#is.handoff.migrate(call.request, (progress) => {
        if (!call.cancelled && !progress.done) call.write(progress);
      });
      if (!call.cancelled) call.write(outcome);
      call.end();
    } catch (error) {
      const code = error instanceof NotAllowedError ? error.grpcCode : status.INTERNAL;
      call.emit('error', { code, message: reasonOf(error) });
    }
  }

  /** Proof from Kubernetes: the containers of that pod have ended. */
  async #ended({ podUid, pod }: ServerEndedRequest): Promise<ServerEndedReply> {
    const { registry } = this.#is.components;
    let serversFenced = 0;
    for (const server of await registry.list()) {
      const matches = podUid !== '' ? server.serverId.startsWith(`${podUid}/`) : pod !== '' && server.pod === pod;
      if (!matches || isOver(server)) continue;
      if (await this.#is.fencer.fenceDead(server, 'containers_ended')) serversFenced++;
    }
    return { serversFenced, message: serversFenced > 0 ? '' : 'no server of that pod is left to fence' };
  }

  #status(): StatusReply {
    const { components, storeState, clock, place } = this.#is;
    const { reachable, message, refusal } = storeState();
    const servers = [...components.cluster.members.values()].map((member) => {
      const status = statusOf(components.cluster.server(member.identity.serverId), member.identity.serverId);
      status.identity = { serverId: member.identity.serverId, epoch: BigInt(member.identity.epoch) };
      Object.assign(status, {
        address: place.address,
        pod: place.pod,
        node: place.node,
        smbAddress: member.smbAddress,
      });
      if (member.draining) status.state = 'draining';
      status.sessions = BigInt(member.sessions.size);
      status.troubles = member.troubles;
      for (const { record } of member.opens.values()) {
        if (record.state === OpenState.ACTIVE) status.opensActive++;
        else status.opensDisconnected++;
        if (record.durability === 2) status.opensPersistent++;
      }
      return status;
    });
    return StatusReply.create({
      servers,
      storeReachable: reachable && message === '',
      storeRefusal: refusal,
      storeMessage:
        message !== ''
          ? message
          : reachable
            ? ''
            : 'the store does not answer; check that Redis runs and can be reached',
      peers: [...components.cluster.servers].map((server) => statusOf(server, server.serverId)),
      orphanedOpens: BigInt(clock.orphans),
    });
  }

  #unary<A, B>(handle: (request: A) => Promise<B>, allowed: string[] = ALLOWED) {
    return (call: ServerUnaryCall<A, B>, callback: sendUnaryData<B>) => {
      (async () => {
        requireIdentity(call, allowed);
        return await handle(call.request);
      })().then(
        (reply) => callback(null, reply),
        (error: unknown) => {
          const code = error instanceof NotAllowedError ? error.grpcCode : status.INTERNAL;
          callback({ code, message: reasonOf(error) });
        },
      );
    };
  }
}

function statusOf(server: ServerRecord | undefined, serverId: string): ServerStatus {
  return ServerStatus.create({
    identity: { serverId, epoch: BigInt(server?.epoch ?? 0) },
    state: server?.state ?? 'active',
    pod: server?.pod ?? '',
    node: server?.node ?? '',
    address: server?.address ?? '',
    smbAddress: server?.smbAddress ?? '',
    handedOver: handedOverOf(server),
  });
}

function handedOverOf(server: ServerRecord | undefined): HandedOver | undefined {
  if (!server?.handedOver) return undefined;
  const { moved, released, expired, left } = server.handedOver;
  return { moved: BigInt(moved), released: BigInt(released), expired: BigInt(expired), left: BigInt(left) };
}
