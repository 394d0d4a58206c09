import { Durability, Outcome } from '../../../proto/generated/handles.ts';
import { Status } from '../../../smb/status.ts';
import { encodeAttachment } from '../../opens/attachment.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import type { Request } from '../../session/request.ts';
import { changeStatusOf } from '../change-status.ts';

/** What SET_INFO set of an open itself goes with it to another server, also from one that dies. Gives the status. */
export async function storeAttachment({ services }: Request, open: OpenFile): Promise<number> {
  const { fileId, openId, durability } = open.record;
  if (durability === Durability.NOT_DURABLE) return Status.SUCCESS;
  const attachment = encodeAttachment(open.attachment);
  const { outcome } = await services.handles.updateOpen({ fileId, openId, attachment });
  if (outcome !== Outcome.GRANTED) return changeStatusOf(outcome);
  open.record.attachment = attachment;
  return Status.SUCCESS;
}
