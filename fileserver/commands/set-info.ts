import { InfoType } from '../../smb/constants.ts';
import { Status } from '../../smb/status.ts';
import { decodeSetInfoRequest, encodeSetInfoResponse, type SetInfoRequest } from '../../smb/wire/set-info.ts';
import { tellSetInfo } from '../notify/set-info.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { onVolume, openOf } from './open-of.ts';
import { setFile } from './set-info/file.ts';
import { statusToSetFileSystem } from './set-info/file-system.ts';
import { setSecurity } from './set-info/security.ts';

/** SET_INFO (MS-SMB2 3.3.5.21). */
export const setInfo = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeSetInfoRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const { input } = wanted;
  if (input.length === 0 || input.length > request.connection.maxTransactSize || !request.paysFor(input.length)) {
    return statusReply(Status.INVALID_PARAMETER);
  }
  return change(request, open, wanted);
});

async function change(request: Request, open: OpenFile, wanted: SetInfoRequest): Promise<Reply> {
  open.begin(true);
  try {
    const status = await statusOf(request, open, wanted);
    const { changes } = request.services;
    if (status === Status.SUCCESS && changes.active) tellSetInfo(changes, request.tree.share, open, wanted);
    return status === Status.SUCCESS ? reply(encodeSetInfoResponse()) : statusReply(status);
  } finally {
    open.end(true);
  }
}

async function statusOf(request: Request, open: OpenFile, wanted: SetInfoRequest): Promise<number> {
  switch (wanted.infoType) {
    case InfoType.FILE:
      return setFile(request, open, wanted.fileInfoClass, wanted.input);
    case InfoType.FILESYSTEM:
      return statusToSetFileSystem(wanted.fileInfoClass, open.record.access, wanted.input.length);
    case InfoType.SECURITY:
      return setSecurity(request, open, wanted.additionalInformation, wanted.input);
    case InfoType.QUOTA:
      return Status.NOT_SUPPORTED;
    default:
      return Status.INVALID_PARAMETER;
  }
}
