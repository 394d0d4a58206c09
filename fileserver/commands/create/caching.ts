// What a CREATE asks to cache, and what it is answered: oplocks (MS-SMB2 3.3.5.9), leases (3.3.5.9.8, 3.3.5.9.11).
import { type Lease, OplockLevel as TableLevel } from '../../../proto/generated/handles.ts';
import { LeaseFlags, LeaseState, OplockLevel } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import { type CreateContext, encodeRqLs, CreateContextName as Name } from '../../../smb/wire/create-contexts.ts';
import { tableOplockLevel } from '../../opens/break.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { StatusError } from '../../session/request.ts';
import type { CreateAsk } from './create-ask.ts';

const NO_BYTES = Buffer.alloc(0);
const NOTHING = { oplock: TableLevel.OPLOCK_NONE, lease: undefined };

/**
 * What the table is asked for. On a scale-out share reads alone are cached, as Windows has it; a directory is cached by leases of
 * version 2 only. Throws StatusError where the lease's key is another file's (3.3.5.9.8).
 */
export function cachingFor(
  ask: CreateAsk,
  file: { fileId: Buffer; isDirectory: boolean },
): { oplock: TableLevel; lease: Lease | undefined } {
  const { request, wire, wishes } = ask;
  const readsOnly = request.tree.share.scaleOut;
  if (wishes.lease) {
    const { leaseKey, leaseState, version } = wishes.lease;
    const { clientGuid } = request.connection;
    const known = request.services.opens.leases.find(clientGuid, leaseKey);
    if (known && !known.fileId.equals(file.fileId)) throw new StatusError(Status.INVALID_PARAMETER);
    if (file.isDirectory && version === 1) return NOTHING;
    const hasParent = wishes.lease.version === 2 && (wishes.lease.flags & LeaseFlags.PARENT_LEASE_KEY_SET) !== 0;
    const lease: Lease = {
      key: Buffer.from(leaseKey),
      state: leaseState & (readsOnly ? LeaseState.READ_CACHING : ANY),
      epoch: wishes.lease.version === 2 ? wishes.lease.epoch : 0,
      version,
      parentKey: wishes.lease.version === 2 && hasParent ? Buffer.from(wishes.lease.parentLeaseKey) : NO_BYTES,
      breaking: false,
    };
    return { oplock: TableLevel.OPLOCK_LEASE, lease };
  }
  if (file.isDirectory || wire.requestedOplockLevel === OplockLevel.NONE) return NOTHING;
  const level = tableOplockLevel(wire.requestedOplockLevel);
  const most = readsOnly ? TableLevel.OPLOCK_LEVEL_II : TableLevel.OPLOCK_BATCH;
  return { oplock: Math.min(level, most) as TableLevel, lease: undefined };
}

const ANY = LeaseState.READ_CACHING | LeaseState.HANDLE_CACHING | LeaseState.WRITE_CACHING;

/** The RqLs context of the answer (2.2.14.2.10, 2.2.14.2.11), of the version that the lease has. */
export function leaseContextOf({ record }: OpenFile): CreateContext | undefined {
  const { lease } = record;
  if (!lease) return undefined;
  const { key, state, version, epoch, parentKey, breaking } = lease;
  const flags = breaking ? LeaseFlags.BREAK_IN_PROGRESS : 0;
  const common = { leaseKey: key, leaseState: state };
  if (version === 1) return { name: Name.REQUEST_LEASE, data: encodeRqLs({ version: 1, ...common, flags }) };
  const parent = parentKey.length > 0 ? LeaseFlags.PARENT_LEASE_KEY_SET : 0;
  const parentLeaseKey = parentKey.length > 0 ? parentKey : NO_PARENT;
  const data = encodeRqLs({ version: 2, ...common, flags: flags | parent, parentLeaseKey, epoch });
  return { name: Name.REQUEST_LEASE, data };
}

const NO_PARENT = Buffer.alloc(16);
