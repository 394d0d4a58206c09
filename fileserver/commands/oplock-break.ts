// OPLOCK_BREAK, the client's acknowledgement (MS-SMB2 3.3.5.22).
import { Outcome, OplockLevel as TableLevel } from '../../proto/generated/handles.ts';
import { OplockLevel } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import {
  decodeOplockBreakRequest,
  encodeOplockBreakResponse,
  type LeaseBreakAck,
  type OplockBreak,
} from '../../smb/wire/oplock-break.ts';
import { statusOfOutcome } from '../handles.ts';
import { tableOplockLevel, wireOplockLevel } from '../opens/break.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';

const NO_BYTES = Buffer.alloc(0);

export async function oplockBreak(request: Request): Promise<Reply> {
  const ack = decodeOplockBreakRequest(request.message);
  return ack.kind === 'oplock' ? ofOplock(request, ack) : ofLease(request, ack);
}

/** 3.3.5.22.1. By a level that the break does not leave the oplock is lost. */
async function ofOplock(request: Request, { fileId: id, oplockLevel }: OplockBreak): Promise<Reply> {
  const open = request.services.opens.find(id, request.tree);
  if (!open) return statusReply(Status.FILE_CLOSED);
  const { fileId, openId } = open.record;
  const isLease = oplockLevel === OplockLevel.LEASE;
  const level = isLease ? TableLevel.OPLOCK_LEASE : tableOplockLevel(oplockLevel);
  const ack = { fileId, openId, level, lease: undefined, clientGuid: NO_BYTES };
  const { outcome, value } = await request.services.handles.breakAck(ack);
  switch (outcome) {
    case Outcome.GRANTED:
      open.record.oplock = value?.state ? TableLevel.OPLOCK_LEVEL_II : TableLevel.OPLOCK_NONE;
      return reply(
        encodeOplockBreakResponse({
          kind: 'oplock',
          oplockLevel: wireOplockLevel(open.record.oplock),
          fileId: open.fileId,
        }),
      );
    case Outcome.NOT_ACCEPTED:
      open.record.oplock = TableLevel.OPLOCK_NONE;
      return statusReply(isLease ? Status.INVALID_PARAMETER : Status.INVALID_OPLOCK_PROTOCOL);
    case Outcome.NOT_BREAKING:
    case Outcome.NOT_FOUND:
      return statusReply(
        open.record.oplock === TableLevel.OPLOCK_NONE || open.record.oplock === TableLevel.OPLOCK_LEVEL_II
          ? Status.INVALID_OPLOCK_PROTOCOL
          : Status.INVALID_DEVICE_STATE,
      );
    default:
      return statusReply(statusOfOutcome(outcome));
  }
}

/** 3.3.5.22.2. Any connection of the client will do. */
async function ofLease(request: Request, { leaseKey, leaseState }: LeaseBreakAck): Promise<Reply> {
  const { clientGuid } = request.connection;
  const known = request.services.opens.leases.find(clientGuid, leaseKey);
  if (!known) return statusReply(Status.OBJECT_NAME_NOT_FOUND);
  const lease = { ...known.lease, state: leaseState };
  const ack = { fileId: known.fileId, openId: 0n, level: TableLevel.OPLOCK_LEASE, lease, clientGuid };
  const { outcome, value } = await request.services.handles.breakAck(ack);
  switch (outcome) {
    case Outcome.GRANTED:
      // A break that followed at once has told already what the lease comes to.
      if (value && value.epoch === known.lease.epoch)
        Object.assign(known.lease, { state: value.state, breaking: false });
      return reply(encodeOplockBreakResponse({ kind: 'lease', leaseKey, leaseState }));
    case Outcome.NOT_ACCEPTED:
      return statusReply(Status.REQUEST_NOT_ACCEPTED);
    case Outcome.NOT_BREAKING:
      return statusReply(Status.UNSUCCESSFUL);
    default:
      return statusReply(statusOfOutcome(outcome));
  }
}
