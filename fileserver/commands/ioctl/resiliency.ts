// FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 3.3.5.15.9).
import { Durability, Outcome } from '../../../proto/generated/handles.ts';
import { Dialect } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import { decodeResiliencyRequest } from '../../../smb/wire/ioctl-payloads.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { changeStatusOf } from '../change-status.ts';
import { emptyReply } from './reply.ts';

/** MaxResiliencyTimeout, and what is meant by 0: Windows' own. */
const MAXIMUM_TIMEOUT_MS = 300_000;
const DEFAULT_TIMEOUT_MS = 120_000;

/** The open waits for its client after a disconnect, whatever it caches; answered when the table knows. */
export async function requestResiliency(request: Request, open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (request.connection.dialect <= Dialect.SMB_2_0_2) return statusReply(Status.INVALID_DEVICE_REQUEST);
  const asked = decodeResiliencyRequest(ioctl.input);
  if (asked > MAXIMUM_TIMEOUT_MS) return statusReply(Status.INVALID_PARAMETER);
  const timeoutMs = asked === 0 ? DEFAULT_TIMEOUT_MS : asked;
  const { fileId, openId } = open.record;
  const { outcome } = await request.services.handles.updateOpen({ fileId, openId, resilientTimeoutMs: timeoutMs });
  if (outcome !== Outcome.GRANTED) return statusReply(changeStatusOf(outcome));
  // A persistent open is more than that already.
  if (open.record.durability !== Durability.PERSISTENT) open.record.durability = Durability.RESILIENT;
  open.record.timeoutMs = timeoutMs;
  return emptyReply(ioctl);
}
