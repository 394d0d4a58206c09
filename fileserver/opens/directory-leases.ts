import type { Handles } from '../handles.ts';
import type { Changes } from '../notify/changes.ts';
import type { Share } from '../shares.ts';
import { leaseNameOf } from './lease-name.ts';
import type { Leases } from './leases.ts';
import type { OpenFile } from './open-file.ts';

const NO_KEY = Buffer.alloc(0);

/**
 * Leases on directories (MS-SMB2 3.3.4.20, MS-FSA 2.1.4.12 with PARENT_OBJECT): what changes in a directory ends them, here or through
 * another server, but for the one that the changing open names as its parent's.
 */
export class DirectoryLeases {
  readonly #handles: Handles;
  readonly #changes: Changes;
  readonly #leases: Leases;
  /** By the lease's name: ends the observation. */
  readonly #observed = new Map<string, Promise<() => void>>();

  constructor(handles: Handles, changes: Changes, leases: Leases) {
    this.#handles = handles;
    this.#changes = changes;
    this.#leases = leases;
    leases.onEnded = (name) => this.#ended(name);
  }

  /** An open of a directory came with a lease. Resolves when no change to the directory escapes it any more. */
  async hold(open: OpenFile, share: Share): Promise<void> {
    const { clientGuid, lease } = open.record;
    if (!lease) return;
    const name = leaseNameOf(clientGuid, lease.key);
    let observed = this.#observed.get(name);
    if (!observed) {
      observed = this.#changes.observe(share, open.path, {
        changed: (by) => this.#changed(clientGuid, lease.key, by),
        moved: () => {
          this.#changed(clientGuid, lease.key, undefined);
          this.#ended(name);
        },
      });
      this.#observed.set(name, observed);
    }
    await observed;
  }

  /** Whatever happened while its client was away: the directory is to be looked at anew. */
  async forget({ record }: OpenFile): Promise<void> {
    const { fileId: directoryId, clientGuid } = record;
    await this.#handles.breakDirectory({ directoryId, clientGuid, parentKey: NO_KEY });
  }

  #changed(clientGuid: Buffer, key: Buffer, by: OpenFile | undefined): void {
    const shared = this.#leases.find(clientGuid, key);
    if (!shared || shared.lease.state === 0 || shared.lease.breaking) return;
    const parentKey = by?.record.lease?.parentKey ?? NO_KEY;
    const isOwn = by !== undefined && parentKey.equals(key) && by.record.clientGuid.equals(clientGuid);
    if (isOwn) return;
    const { fileId: directoryId } = shared;
    void this.#handles.breakDirectory({ directoryId, clientGuid: by?.record.clientGuid ?? NO_KEY, parentKey });
  }

  #ended(name: string): void {
    const observed = this.#observed.get(name);
    this.#observed.delete(name);
    void observed?.then((end) => end());
  }
}
