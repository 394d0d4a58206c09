import { ChurningMap } from '../../common/churning-map.ts';
import type { Lease } from '../../proto/generated/handles.ts';
import type { Session } from '../session/session.ts';
import { leaseNameOf } from './lease-name.ts';
import type { OpenFile } from './open-file.ts';
import { keyOf } from './shared-file.ts';

/** A Lease (MS-SMB2 3.3.1.12) as far as this process knows it: what its opens here have in common. */
export interface SharedLease {
  /** The `lease` of the record of every open of it. */
  readonly lease: Lease;
  readonly fileId: Buffer;
  /** Lease.LeaseOpens of this process. */
  readonly opens: Set<OpenFile>;
}

/** GlobalLeaseTableList (MS-SMB2 3.3.1.11), flat: leases by client and key. */
export class Leases {
  readonly #leases = new ChurningMap<string, SharedLease>();
  /** Of each client the sessions that have opens with leases, and how many. */
  readonly #sessions = new Map<string, Map<Session, number>>();

  /** Called when the last open of a lease that was here went. */
  onEnded: (name: string) => void = () => {};

  find(clientGuid: Uint8Array, key: Uint8Array): SharedLease | undefined {
    return this.#leases.get(leaseNameOf(clientGuid, key));
  }

  /** An open of a lease came, with what the table says of the lease now. */
  join(open: OpenFile): void {
    const { record } = open;
    if (!record.lease) return;
    const name = leaseNameOf(record.clientGuid, record.lease.key);
    const known = this.#leases.get(name);
    if (!known) {
      this.#leases.set(name, { lease: record.lease, fileId: record.fileId, opens: new Set([open]) });
      return;
    }
    record.lease = Object.assign(known.lease, record.lease);
    known.opens.add(open);
  }

  leave(open: OpenFile): void {
    const { clientGuid, lease } = open.record;
    if (!lease) return;
    const name = leaseNameOf(clientGuid, lease.key);
    const known = this.#leases.get(name);
    if (known?.opens.delete(open) && known.opens.size === 0) {
      this.#leases.delete(name);
      this.onEnded(name);
    }
  }

  joinSession({ record }: OpenFile, session: Session): void {
    const client = keyOf(record.clientGuid);
    const sessions = this.#sessions.get(client);
    if (sessions) sessions.set(session, (sessions.get(session) ?? 0) + 1);
    else this.#sessions.set(client, new Map([[session, 1]]));
  }

  leaveSession({ record }: OpenFile, session: Session): void {
    const client = keyOf(record.clientGuid);
    const sessions = this.#sessions.get(client);
    const opens = sessions?.get(session);
    if (!sessions || !opens) return;
    if (opens > 1) sessions.set(session, opens - 1);
    else sessions.delete(session);
    if (sessions.size === 0) this.#sessions.delete(client);
  }

  /** The session by which a client is told of its leases: on the oldest connection that it has (MS-SMB2 3.3.4.7). */
  sessionOf(clientGuid: Buffer): Session | undefined {
    let first: Session | undefined;
    for (const session of this.#sessions.get(keyOf(clientGuid))?.keys() ?? []) {
      const { connection } = session;
      if (connection.isOpen && (!first || connection.id < first.connection.id)) first = session;
    }
    return first;
  }
}
