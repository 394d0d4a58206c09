// OPLOCK_BREAK, the client's acknowledgement (MS-SMB2 3.3.5.22).
import { Outcome, OplockLevel as TableLevel } from '../../proto/generated/handles.ts';
import { OplockLevel } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { decodeOplockBreakRequest, encodeOplockBreakResponse } from '../../smb/wire/oplock-break.ts';
import { statusOfOutcome } from '../handles.ts';
import { tableOplockLevel } from '../opens/break.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';

export async function oplockBreak(request: Request): Promise<Reply> {
  const ack = decodeOplockBreakRequest(request.message);
  // Leases are not granted, so none can be acknowledged (3.3.5.22.2).
  if (ack.kind !== 'oplock') return statusReply(Status.OBJECT_NAME_NOT_FOUND);
  const open = request.services.opens.find(ack.fileId, request.tree);
  if (!open) return statusReply(Status.FILE_CLOSED);
  if (ack.oplockLevel !== OplockLevel.NONE && ack.oplockLevel !== OplockLevel.LEVEL_II) {
    return statusReply(Status.INVALID_PARAMETER);
  }
  const level = tableOplockLevel(ack.oplockLevel);
  const { fileId, openId } = open.record;
  const { outcome } = await request.services.handles.breakAck({ fileId, openId, level, lease: undefined });
  if (outcome !== Outcome.GRANTED) {
    return statusReply(
      outcome === Outcome.INVALID_OPLOCK_PROTOCOL ? Status.INVALID_OPLOCK_PROTOCOL : statusOfOutcome(outcome),
    );
  }
  open.record.oplock = level === TableLevel.OPLOCK_LEVEL_II ? TableLevel.OPLOCK_LEVEL_II : TableLevel.OPLOCK_NONE;
  return reply(encodeOplockBreakResponse({ kind: 'oplock', oplockLevel: ack.oplockLevel, fileId: open.fileId }));
}
