import { Outcome } from '../../proto/generated/handles.ts';
import { Status } from '../../smb/status.ts';

/**
 * The status that MS-SMB2 and MS-FSA name for a decision of the table.
 * NOT_FOUND is STATUS_OBJECT_NAME_NOT_FOUND, as a failed reconnect is answered (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).
 */
export function statusOfOutcome(outcome: Outcome): number {
  switch (outcome) {
    case Outcome.GRANTED:
      return Status.SUCCESS;
    case Outcome.SHARING_VIOLATION:
      return Status.SHARING_VIOLATION;
    case Outcome.DELETE_PENDING:
      return Status.DELETE_PENDING;
    case Outcome.NOT_FOUND:
      return Status.OBJECT_NAME_NOT_FOUND;
    case Outcome.ACCESS_DENIED:
    case Outcome.OPENS_BENEATH:
      return Status.ACCESS_DENIED;
    case Outcome.FILE_NOT_AVAILABLE:
      return Status.FILE_NOT_AVAILABLE;
    case Outcome.DUPLICATE_OBJECTID:
      return Status.DUPLICATE_OBJECTID;
    case Outcome.LOCK_NOT_GRANTED:
      return Status.LOCK_NOT_GRANTED;
    case Outcome.RANGE_NOT_LOCKED:
      return Status.RANGE_NOT_LOCKED;
    case Outcome.CANCELLED:
      return Status.CANCELLED;
    case Outcome.NAME_BUSY:
      return Status.SHARING_VIOLATION;
    case Outcome.STORE_UNAVAILABLE:
    case Outcome.DRAINING:
    case Outcome.FENCED:
      return Status.SERVER_UNAVAILABLE;
    case Outcome.INVALID:
      return Status.INVALID_PARAMETER;
    case Outcome.CANNOT_DELETE:
      return Status.CANNOT_DELETE;
    case Outcome.INVALID_OPLOCK_PROTOCOL:
      return Status.INVALID_OPLOCK_PROTOCOL;
    case Outcome.NOT_BREAKING:
      return Status.UNSUCCESSFUL;
    case Outcome.NOT_ACCEPTED:
      return Status.REQUEST_NOT_ACCEPTED;
    case Outcome.FORCED_CLOSED:
      return Status.FILE_FORCED_CLOSED;
    case Outcome.TOO_MANY:
      return Status.INSUFFICIENT_RESOURCES;
    default:
      return Status.INTERNAL_ERROR;
  }
}
