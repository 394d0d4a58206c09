import { Durability, Outcome } from '../../../proto/generated/handles.ts';
import { Dialect } from '../../../smb/constants.ts';
import { Status } from '../../../smb/status.ts';
import type { IoctlRequest } from '../../../smb/wire/ioctl.ts';
import { decodeResiliencyRequest } from '../../../smb/wire/ioctl-payloads.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import { type Reply, type Request, statusReply } from '../../session/request.ts';
import { changeStatusOf } from '../change-status.ts';
import { emptyReply } from './reply.ts';

/** MaxResiliencyTimeout, and what a client gets that asks for no particular time, as Windows has them; ms. */
const MAX_TIMEOUT_MS = 300_000;
const DEFAULT_TIMEOUT_MS = 120_000;

/** FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 3.3.5.15.9): the open outlives its connection, whatever it caches. */
export async function requestResiliency(request: Request, open: OpenFile, ioctl: IoctlRequest): Promise<Reply> {
  if (request.connection.dialect < Dialect.SMB_2_1) return statusReply(Status.INVALID_DEVICE_REQUEST);
  const asked = decodeResiliencyRequest(ioctl.input);
  if (asked > MAX_TIMEOUT_MS) return statusReply(Status.INVALID_PARAMETER);
  // A persistent open is more than that already.
  if (open.record.durability === Durability.PERSISTENT) return emptyReply(ioctl);
  const resilientTimeoutMs = asked === 0 ? DEFAULT_TIMEOUT_MS : asked;
  const { fileId, openId } = open.record;
  const update = { fileId, openId, attachment: undefined, resilientTimeoutMs };
  const { outcome } = await request.services.handles.updateOpen(update);
  if (outcome === Outcome.INVALID) return statusReply(Status.NOT_SUPPORTED);
  if (outcome !== Outcome.GRANTED) return statusReply(changeStatusOf(outcome));
  open.record.durability = Durability.DURABLE;
  open.record.timeoutMs = resilientTimeoutMs;
  return emptyReply(ioctl);
}
