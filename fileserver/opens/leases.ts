import type { Lease } from '../../proto/generated/handles.ts';
import type { OpenFile } from './open-file.ts';

/** A Lease (MS-SMB2 3.3.1.12) as far as this process knows it: what its opens here have in common. */
export interface SharedLease {
  /** The `lease` of the record of every open of it. */
  readonly lease: Lease;
  readonly fileId: Buffer;
  /** Lease.LeaseOpens of this process. */
  readonly opens: Set<OpenFile>;
}

/** A lease's name among all: the client's and the key that the client chose. */
export const leaseNameOf = (clientGuid: Uint8Array, key: Uint8Array): string =>
  Buffer.concat([clientGuid, key]).toString('latin1');

/** GlobalLeaseTableList (MS-SMB2 3.3.1.11), flat: leases by client and key. */
export class Leases {
  readonly #leases = new Map<string, SharedLease>();

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
    if (known?.opens.delete(open) && known.opens.size === 0) this.#leases.delete(name);
  }
}
