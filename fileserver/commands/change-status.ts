import { Outcome } from '../../proto/generated/handles.ts';
import { Status } from '../../smb/status.ts';
import { statusOfOutcome } from '../handles.ts';

/**
 * The status of a change through an open that the table did not grant. Where the table is out of reach, or this server gives its
 * handles away, the client is told to try again later, maybe elsewhere (handle-state.md).
 */
export function changeStatusOf(outcome: Outcome): number {
  switch (outcome) {
    case Outcome.STORE_UNAVAILABLE:
    case Outcome.DRAINING:
    case Outcome.FENCED:
      return Status.FILE_NOT_AVAILABLE;
    case Outcome.NOT_FOUND:
      return Status.FILE_CLOSED;
    default:
      return statusOfOutcome(outcome);
  }
}
