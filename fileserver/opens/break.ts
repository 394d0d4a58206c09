import { type Break, OplockLevel as TableLevel } from '../../proto/generated/handles.ts';
import { LeaseBreakFlags, OplockLevel } from '../../smb/constants.ts';
import type { FileId } from '../../smb/wire/cursor.ts';
import { encodeOplockBreakResponse } from '../../smb/wire/oplock-break.ts';

/** OplockLevel on the wire (MS-SMB2 2.2.13) of the table's. */
export function wireOplockLevel(level: TableLevel): number {
  switch (level) {
    case TableLevel.OPLOCK_LEVEL_II:
      return OplockLevel.LEVEL_II;
    case TableLevel.OPLOCK_EXCLUSIVE:
      return OplockLevel.EXCLUSIVE;
    case TableLevel.OPLOCK_BATCH:
      return OplockLevel.BATCH;
    case TableLevel.OPLOCK_LEASE:
      return OplockLevel.LEASE;
    default:
      return OplockLevel.NONE;
  }
}

/** The table's level of what a client asks for; levels that do not exist are none (MS-SMB2 3.3.5.9). */
export function tableOplockLevel(level: number): TableLevel {
  switch (level) {
    case OplockLevel.LEVEL_II:
      return TableLevel.OPLOCK_LEVEL_II;
    case OplockLevel.EXCLUSIVE:
      return TableLevel.OPLOCK_EXCLUSIVE;
    case OplockLevel.BATCH:
      return TableLevel.OPLOCK_BATCH;
    default:
      return TableLevel.OPLOCK_NONE;
  }
}

/** The body of the notification that tells a client of a break (MS-SMB2 2.2.23). */
export function breakBody(wanted: Break, fileId: FileId): Buffer {
  if (!wanted.lease) {
    return encodeOplockBreakResponse({ kind: 'oplock', oplockLevel: wireOplockLevel(wanted.toLevel), fileId });
  }
  return encodeOplockBreakResponse({
    kind: 'lease-break',
    newEpoch: wanted.lease.version === 2 ? wanted.lease.epoch : 0,
    flags: wanted.ackRequired ? LeaseBreakFlags.ACK_REQUIRED : 0,
    leaseKey: wanted.lease.key,
    currentLeaseState: wanted.fromState,
    newLeaseState: wanted.lease.state,
  });
}
